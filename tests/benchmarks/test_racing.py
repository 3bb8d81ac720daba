"""The comparison of racing with full scoring: what it counts, on a part of a shipped pool."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.racing import MOST, pool, run


def test_both_arms_see_the_same_merges_and_items_are_counted() -> None:
    whole = pool("paths-wren")
    assert len(whole.rows) == 729
    part = replace(whole, rows=whole.rows[::5])
    found = run(part, 0)
    assert found == replace(run(part, 0), seconds=found.seconds)
    assert 0 < found.full <= 1
    assert 0 < found.stopped < MOST
    assert 0.25 < found.spent < 1
    assert found.merges * found.spent / MOST < 0.75  # half of the items, or little more
    never = run(part, 0, rungs=[1000])
    assert (never.stopped, never.spent, never.merges) == (0, 1.0, MOST // 2)

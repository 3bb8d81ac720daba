"""What a front gains over the best sources, all of it judged at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mergekit_mo.advances import advances, joint_quantile
from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.intervals import critical
from mergekit_mo.space import Candidate
from mergekit_mo.trial import Goal, Measurement

ITEMS = 100
GOALS = [Goal("quiz", True), Goal("cost", False)]


def outcome(right: Sequence[int], cost: float) -> Outcome:
    """A trial that answers some items right."""
    values = np.zeros(ITEMS)
    values[list(right)] = 1
    error = float(values.std(ddof=1) / math.sqrt(ITEMS))
    scores = {"quiz": Measurement(float(values.mean()), error, ITEMS), "cost": Measurement(cost)}
    return Outcome(scores, {"quiz": {"values": {"acc,none": values.tolist()}}}, "d", None, 1.0)


def planted(*rights: Sequence[int], held: bool = True) -> Archive:
    """Two sources, who answer 50 and 30 items, and candidates."""
    facts = {"measures": {"quiz": ["quiz", "acc,none"], "cost": None}}
    archive = Archive.create(":memory:", GOALS, facts)
    archive.propose("reference", [("models/a", {}), ("models/b", {})])
    for i, right in enumerate(rights):
        archive.propose("candidate", [(Candidate((i / 8,), "sobol"), {})])
        del right
    rows = [(range(50), 5.0), (range(30), 3.0)]
    rows += [(right, 4.0 - i) for i, right in enumerate(rights)]  # type: ignore[misc]
    for number, (right, cost) in enumerate(rows):
        archive.finish(number, outcome(right, cost), 0.0)
        if held:
            archive.finish(number, outcome(right, cost), 0.0, "holdout")
    return archive


def test_a_gain_that_luck_could_give_is_not_significant() -> None:
    archive = planted(range(80), range(53))
    found = advances(archive)
    assert found.split == "holdout"
    first, cost = found.of(2)
    assert first.source == "models/a"
    assert first.significant
    assert round(first.gain, 9) == 0.3
    assert cost.source == "models/b"
    assert cost.gain == -1
    assert cost.interval is None
    second, _ = found.of(3)
    assert not second.significant
    assert second.text().endswith("not significant")
    lines = list(found.lines())
    assert lines[0].startswith("quiz: 1 of 2 on the front beat the best source, a;")
    assert "all 4 gains at once" in lines[-1]
    assert any("not significant" in line for line in found.told(3))


def test_the_more_are_compared_the_wider_each_interval() -> None:
    rng = np.random.default_rng(0)
    rights = [rng.permutation(ITEMS)[: 62 - i].tolist() for i in range(8)]
    (alone, _) = advances(planted(rights[0])).of(2)
    many = advances(planted(*rights))
    (among, _) = many.of(2)
    assert among.interval is not None
    assert alone.interval is not None
    assert among.interval.low < alone.interval.low
    assert among.interval.high > alone.interval.high
    with planted(*rights) as archive:
        assert joint_quantile(archive, archive.front()) > critical() + 0.3


def test_without_a_hold_out_it_says_that_the_items_flatter() -> None:
    found = advances(planted(range(80), held=False))
    assert found.split == "search"
    assert "which flatter" in list(found.lines())[-1]


def test_a_trial_off_the_front_is_judged_with_the_front() -> None:
    archive = planted(range(80), range(53))
    (extra,) = archive.propose("candidate", [(Candidate((0.9,), "sobol"), {})])
    extra = archive.finish(extra.number, outcome(range(40), 9.0), 0.0)
    assert extra not in archive.front()
    assert len(advances(archive, extra).of(extra.number)) == 2
    assert advances(archive).of(extra.number) == ()


def test_nothing_is_told_of_an_empty_front() -> None:
    archive = planted()
    assert list(advances(archive).lines()) == []
    assert list(advances(archive).told(0)) == []

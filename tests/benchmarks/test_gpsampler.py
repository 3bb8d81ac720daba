from __future__ import annotations

import pytest
from numpy.random import SeedSequence

from benchmarks._gpsampler import GPSampler
from mergekit_mo.testing.planted import make_goals, plain_space, planted, ridge

pytest.importorskip("optuna", reason="the benchmark's rival is an extra")


@pytest.mark.parametrize("threshold", [None, 0.8])
def test_it_gives_new_snapped_points_the_same_for_a_seed(threshold: float | None) -> None:
    space = plain_space(3)
    with planted(space, make_goals(2, [threshold]), ridge(2), 10, failed=[4], waiting=1) as archive:
        found = GPSampler().ask(space, archive, 2, SeedSequence((0, 3)))
        again = GPSampler().ask(space, archive, 2, SeedSequence((0, 3)))
        known = {t.unit for t in archive.candidates}
    assert found == again
    assert len({c.unit for c in found} - known) == 2
    assert all(space.snap(c.unit) == c.unit for c in found)
    assert {c.origin for c in found} == {"optuna"}


def test_it_heeds_a_threshold() -> None:
    space = plain_space(
        1
    )  # g0 is best at .1 and g1 at .9; with g0 at least .98 only x < .2 will do
    at = {}
    for threshold in (None, 0.98):
        with planted(space, make_goals(2, [threshold]), ridge(2), 12) as archive:
            found = GPSampler().ask(space, archive, 1, SeedSequence((0, 3)))
            at[threshold] = found[0].unit[0]
    assert at[0.98] < 0.201
    assert at[None] > 0.5

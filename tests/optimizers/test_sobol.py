import numpy as np
import pytest
from numpy.random import SeedSequence

from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers.sobol import Sobol, run_seed, spread
from mergekit_mo.testing.optimizers import OptimizerSuite
from mergekit_mo.testing.planted import (
    make_goals,
    plain_space,
    planted,
    ridge,
    scored,
)


class TestConformance(OptimizerSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return Sobol()


def walk(sizes: list[int], seed: int = 3) -> list[tuple[float, ...]]:
    """The points of a run whose asks have these sizes."""
    space, goals = plain_space(3), make_goals(2)
    with planted(space, goals, ridge(2), 0) as archive:
        for k, size in enumerate(sizes):
            found = Sobol().ask(space, archive, size, SeedSequence((seed, k)))
            entries = [(c, space.config(c.unit)) for c in found]
            for trial in archive.propose("candidate", entries, k):
                archive.finish(trial.number, scored(goals, ridge(2)(trial.unit or ())), 0.0)
        return [t.unit or () for t in archive.candidates]


def test_asks_of_any_size_walk_one_sequence() -> None:
    assert walk([8]) == walk([1] * 8) == walk([3, 5])


def test_runs_with_other_seeds_walk_other_sequences() -> None:
    assert walk([8], seed=1) != walk([8], seed=2)


def test_sixteen_points_fall_into_sixteen_stretches_of_every_axis() -> None:
    stretches = np.floor(np.array(walk([4] * 4)) * 16)
    assert all(sorted(column) == list(range(16)) for column in stretches.T)


def test_points_that_are_taken_besides_are_left_out() -> None:
    space = plain_space(2)
    with planted(space, make_goals(1), ridge(1), 0) as archive:
        first, second = spread(space, archive, 2, SeedSequence(1), "sobol")
        taken = [first.unit]
        assert spread(space, archive, 1, SeedSequence(1), "sobol", taken) == [second]


@pytest.mark.parametrize(
    ("seed", "expected"),
    [(SeedSequence((5, 9)), 5), (SeedSequence(5), 5), (SeedSequence([5, 1, 2]), 5)],
)
def test_the_runs_seed_is_the_first_word(seed: SeedSequence, expected: int) -> None:
    assert run_seed(seed) == expected

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.random import SeedSequence

from mergekit_mo.archive import Outcome
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers.qlognehvi import QLogNEHVI, closed, default_initial
from mergekit_mo.optimizers.sobol import Sobol
from mergekit_mo.testing.optimizers import OptimizerSuite
from mergekit_mo.testing.planted import (
    make_goals,
    plain_space,
    planted,
    ridge,
    scored,
)
from mergekit_mo.trial import Goal

QUICK = QLogNEHVI(
    initial=4, samples=16, restarts=2, raw_samples=16, iterations=10, fit_iterations=20
)


class TestConformance(OptimizerSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return QUICK


@pytest.mark.parametrize(
    "settings",
    [
        {"initial": 1},
        {"samples": 0},
        {"restarts": 0},
        {"raw_samples": -1},
        {"iterations": 0},
        {"fit_iterations": 0},
        {"restarts": 8, "raw_samples": 4},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        QLogNEHVI(**settings)


def test_the_first_trials_fill_the_space_and_the_surrogate_follows() -> None:
    space, goals, origins = plain_space(2), make_goals(2), []
    with planted(space, goals, ridge(2), 2) as archive:
        for k in range(4):
            (found,) = QUICK.ask(space, archive, 1, SeedSequence((0, k)))
            origins.append(found.origin)
            (trial,) = archive.propose("candidate", [(found, {})], k)
            archive.finish(trial.number, scored(goals, ridge(2)(found.unit)), 0.0)
    assert origins == ["sobol", "sobol", "qlognehvi", "qlognehvi"]


def test_failed_trials_do_not_count_as_first_ones() -> None:
    with planted(plain_space(2), make_goals(2), ridge(2), 6, failed=range(3)) as archive:
        (found,) = QUICK.ask(plain_space(2), archive, 1, SeedSequence(0))
    assert found.origin == "sobol"


def test_the_surrogate_waits_until_half_of_the_first_trials_have_finished() -> None:
    optimizer = QLogNEHVI(initial=8, samples=16, restarts=2, raw_samples=16, iterations=10)
    for finished, origin in ((3, "sobol"), (4, "qlognehvi")):
        with planted(
            plain_space(2), make_goals(2), ridge(2), finished, waiting=8 - finished
        ) as archive:
            (found,) = optimizer.ask(plain_space(2), archive, 1, SeedSequence(0))
        assert found.origin == origin


def test_waiting_and_failed_points_are_closed() -> None:
    with planted(plain_space(2), make_goals(2), ridge(2), 4, failed=[1], waiting=2) as archive:
        trials = archive.candidates
        assert closed(archive) == [trials[1].unit, trials[4].unit, trials[5].unit]


def test_the_surroundings_of_a_failed_trial_are_left() -> None:
    space, goals = plain_space(2), make_goals(1)
    optimizer = QLogNEHVI(initial=4)
    with planted(space, goals, ridge(1), 8) as archive:
        spots = []
        for k in range(3):
            (found,) = optimizer.ask(space, archive, 1, SeedSequence((0, k)))
            (trial,) = archive.propose("candidate", [(found, {})], k)
            archive.finish(trial.number, Outcome({}, {}, None, "planted", 0.0), 0.0)
            spots.append(np.array(found.unit))
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(spots) for b in spots[:i])


def test_a_killed_run_resumes_to_the_same_candidates() -> None:
    def walk(breaks: Sequence[int]) -> list[tuple[float, ...]]:
        space, goals = plain_space(2), make_goals(2)
        units: list[tuple[float, ...]] = []
        archive = planted(space, goals, ridge(2), 5)
        for k in range(4):
            if k in breaks:  # nothing is left but what was written
                again = planted(space, goals, ridge(2), 5)
                for j, unit in enumerate(units):
                    candidate = space.candidate(unit, "qlognehvi")
                    (trial,) = again.propose("candidate", [(candidate, {})], j)
                    again.finish(trial.number, scored(goals, ridge(2)(unit)), 0.0)
                archive = again
            (found,) = QUICK.ask(space, archive, 1, SeedSequence((0, k)))
            (trial,) = archive.propose("candidate", [(found, {})], k)
            archive.finish(trial.number, scored(goals, ridge(2)(found.unit)), 0.0)
            units.append(found.unit)
        return units

    assert walk([]) == walk([1, 3])


@pytest.mark.parametrize(("dim", "goals", "count"), [(1, 1, 4), (3, 2, 8), (6, 2, 10), (40, 3, 12)])
def test_the_first_trials_suit_dimensions_and_objectives(dim: int, goals: int, count: int) -> None:
    assert default_initial(dim, goals) == count


def dtlz2(unit: Sequence[float]) -> list[float]:
    """Two goals to minimise, the front a quarter of a circle (Deb et al. 2002)."""
    far = 1 + sum((u - 0.5) ** 2 for u in unit[1:])
    return [far * math.cos(unit[0] * math.pi / 2), far * math.sin(unit[0] * math.pi / 2)]


def share(optimizer: Optimizer, budget: int, seed: int, dim: int = 4) -> float:
    """The share of the greatest hypervolume that a run reaches, from the corner (1.1, 1.1)."""
    space, goals = plain_space(dim), [Goal("one", False), Goal("other", False)]
    with planted(space, goals, dtlz2, 0, references=[[1, 1], [0, 0]]) as archive:
        for k in range(budget):
            (found,) = optimizer.ask(space, archive, 1, SeedSequence((seed, k)))
            (trial,) = archive.propose("candidate", [(found, {})], k)
            archive.finish(trial.number, scored(goals, dtlz2(found.unit)), 0.0)
        return archive.hypervolume(archive.front()) / (1.1**2 - math.pi / 4)


@pytest.mark.slow
def test_it_is_clearly_better_than_chance() -> None:
    optimizer = QLogNEHVI(initial=6, samples=32, restarts=2, raw_samples=64, iterations=20)
    informed = sum(share(optimizer, 20, seed) for seed in range(2))
    blind = sum(share(Sobol(), 20, seed) for seed in range(2))
    assert informed > 1.3 * blind


def test_it_climbs_a_hill_in_a_few_steps() -> None:
    def hill(unit: Sequence[float]) -> list[float]:
        return [ridge(2)(unit)[1]]

    space, goals = plain_space(4), make_goals(1)
    with planted(space, goals, hill, 6) as archive:
        for k in range(8):
            (found,) = QUICK.ask(space, archive, 1, SeedSequence((0, k)))
            (trial,) = archive.propose("candidate", [(found, {})], k)
            archive.finish(trial.number, scored(goals, hill(found.unit)), 0.0)
        scores = archive.data().Y[:, 0]
    assert 1 - scores.max() < 0.5 * (1 - scores[:6].max())

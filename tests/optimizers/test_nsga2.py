from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers._standing import told
from mergekit_mo.optimizers.nsga2 import NSGA2
from mergekit_mo.optimizers.random import Random
from mergekit_mo.pareto import hypervolume
from mergekit_mo.space import Space
from mergekit_mo.testing.optimizers import OptimizerSuite
from mergekit_mo.testing.planted import (
    MIXED,
    Function,
    make_goals,
    plain_space,
    planted,
    ridge,
    scored,
    small_space,
)

SMALL = NSGA2(population=6)

TWO = """
merge_method: linear
models:
  - {model: a/one, parameters: {weight: {value: 0.5, low: 0, high: 1}}}
  - {model: a/two, parameters: {weight: {value: 0.5, low: 0, high: 1}}}
"""


class TestConformance(OptimizerSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return NSGA2(population=4)


def go_on(
    optimizer: Optimizer,
    space: Space,
    archive: Archive,
    function: Function,
    sizes: Sequence[int],
    seed: int = 0,
) -> list[str]:
    """Asks and finishes so many candidates at a time; who proposed them."""
    origins = []
    for size in sizes:
        k = archive.asks
        found = optimizer.ask(space, archive, size, SeedSequence((seed, k)))
        origins += [c.origin for c in found]
        for trial in archive.propose("candidate", [(c, {}) for c in found], k):
            archive.finish(trial.number, scored(archive.goals, function(trial.unit or ())), 0.0)
    return origins


def units(archive: Archive) -> list[tuple[float, ...] | None]:
    return [t.unit for t in archive.candidates]


@pytest.mark.parametrize(
    "settings",
    [
        {"population": 3},
        {"crossover": 1.5},
        {"crossover": -0.1},
        {"crossover_eta": 0.0},
        {"mutation_eta": 101.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        NSGA2(**settings)


@pytest.mark.parametrize(("budget", "told"), [(5, True), (6, True), (7, False)])
def test_a_budget_within_the_first_population_is_refused(budget: int, told: bool) -> None:
    assert bool(SMALL.refusal(budget, plain_space(2), 2)) is told


def test_the_first_generation_fills_the_space_and_children_follow() -> None:
    space = plain_space(3)
    with planted(space, make_goals(2), ridge(2), 2) as archive:
        assert go_on(SMALL, space, archive, ridge(2), [1] * 6) == ["sobol"] * 4 + ["nsga2"] * 2


def test_asks_within_a_generation_walk_one_sequence_whatever_their_size() -> None:
    space, found = plain_space(3), []
    for sizes in ([6] * 4, [1] * 24, [2, 4] * 4):
        with planted(space, make_goals(2), ridge(2), 0) as archive:
            go_on(SMALL, space, archive, ridge(2), sizes)
            found.append(units(archive))
    assert found[0] == found[1] == found[2]


def test_failed_trials_are_missing_from_their_generation() -> None:
    space = plain_space(3)
    with planted(space, make_goals(2), ridge(2), 8, failed=[1, 3, 5]) as archive:
        origins = go_on(SMALL, space, archive, ridge(2), [1, 1])
    assert origins == ["sobol", "nsga2"]


def test_what_fails_in_a_later_generation_is_replaced_by_the_next_child() -> None:
    space = plain_space(3)
    with planted(space, make_goals(2), ridge(2), 6) as archive:
        expected = SMALL.ask(space, archive, 3, SeedSequence((0, 0)))
        (first,) = archive.propose("candidate", [(expected[0], {})], 0)
        archive.finish(first.number, Outcome({}, {}, None, "planted", 0.0), 0.0)
        assert SMALL.ask(space, archive, 2, SeedSequence((0, 1))) == expected[1:]


def test_pending_trials_neither_block_nor_breed() -> None:
    space = plain_space(3)
    with planted(space, make_goals(2), ridge(2), 3, waiting=3) as archive:
        found = SMALL.ask(space, archive, 2, SeedSequence(0))
    assert [c.origin for c in found] == ["nsga2"] * 2


def test_a_feasible_trial_is_preferred_to_any_that_is_not() -> None:
    """Scores are best where the threshold is broken, so children go there without it."""

    def function(unit: Sequence[float]) -> list[float]:
        return [unit[0], 1 - unit[0] - 0.3 * abs(unit[1] - 0.5)]

    space, means = plain_space(2), []
    for threshold in (None, 0.7):
        with planted(space, make_goals(2, [None, threshold]), function, 0) as archive:
            go_on(SMALL, space, archive, function, [6] * 10)
            means.append(np.mean([(t.unit or ())[0] for t in archive.candidates[30:]]))
    assert means[1] < 0.35 < means[0]


def test_sources_that_the_space_expresses_are_among_the_first_parents() -> None:
    space, goals = small_space(TWO), make_goals(2)
    with Archive.memory(goals) as archive:
        for name, values in (("a/one", [1.0, 0.0]), ("a/two", [0.0, 1.0])):
            (trial,) = archive.propose("reference", [(name, {})])
            archive.finish(trial.number, scored(goals, values), 0.0)
        assert [t.unit for t in told(space, archive)] == [(1.0, 0.0), (0.0, 1.0)]
        origins = go_on(SMALL, space, archive, ridge(2), [1] * 6)
        again = SMALL.ask(space, archive, 60, SeedSequence(0))
    assert origins == ["sobol"] * 4 + ["nsga2"] * 2
    assert not {(1.0, 0.0), (0.0, 1.0)} & {c.unit for c in again}


def test_choices_are_drawn_anew_now_and_then() -> None:
    space = small_space(MIXED)
    method = next(i for i, axis in enumerate(space.axes) if axis.name == "method")
    own = space.starts()[0].unit

    with Archive.memory(make_goals(2)) as archive:
        rng = np.random.default_rng(0)
        for _ in range(6):  # all of one method
            drawn = [own[method] if i == method else rng.random() for i in range(space.dim)]
            (trial,) = archive.propose("candidate", [(space.candidate(drawn, "test"), {})])
            archive.finish(trial.number, scored(archive.goals, ridge(2)(trial.unit or ())), 0.0)
        found = SMALL.ask(space, archive, 40, SeedSequence(0))
    other = sum(c.unit[method] != own[method] for c in found)
    assert 0 < other < 20


def test_two_hundred_trials_beat_chance() -> None:
    def gap(unit: Sequence[float]) -> list[float]:
        far = 1 + 3 * float(np.mean([(u - 0.4) ** 2 for u in unit[1:]]))
        return [1 - unit[0] * far, 1 - (1 - unit[0]) ** 2 * far]

    space, goals = plain_space(6), make_goals(2)
    found: dict[str, list[float]] = {"nsga2": [], "random": []}
    for name, optimizer in (("nsga2", NSGA2()), ("random", Random())):
        for seed in range(3):
            with planted(space, goals, gap, 0) as archive:
                go_on(optimizer, space, archive, gap, [20] * 10, seed)
                found[name].append(hypervolume(archive.matrix(archive.front()), np.zeros(2)))
    assert min(found["nsga2"]) > max(found["random"])

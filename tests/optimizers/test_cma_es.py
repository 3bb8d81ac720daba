from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers.cma_es import CMAES
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
from mergekit_mo.trial import Trial

SMALL = CMAES(population=6)


class TestConformance(OptimizerSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return CMAES(population=4)


def bowls(unit: Sequence[float]) -> list[float]:
    """Two goals, each best (0) at a place of its own: at 0.3 and at 0.7 on every axis."""
    return [-10 * float(np.mean([(u - spot) ** 2 for u in unit])) for spot in (0.3, 0.7)]


def go_on(
    optimizer: Optimizer,
    space: Space,
    archive: Archive,
    function: Function,
    asks: int,
    size: int = 6,
    behind: int = 0,
) -> None:
    """Asks for so many candidates at a time; each finishes when so many others are under way."""
    waiting: list[Trial] = []
    for _ in range(asks):
        k = archive.asks
        found = optimizer.ask(space, archive, size, SeedSequence((0, k)))
        waiting += archive.propose("candidate", [(c, {}) for c in found], k)
        while len(waiting) > behind:
            trial = waiting.pop(0)
            archive.finish(trial.number, scored(archive.goals, function(trial.unit or ())), 0.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"population": 3},
        {"sigma": 0.0},
        {"sigma": 1.5},
        {"weights": [1.0, -1.0]},
        {"weights": [0, 0]},
        {"weights": []},
        {"weights": 0.5},
        {"weights": ["one", "two"]},
        {"weights": [True, False]},
        {"weights": [1.0, float("nan")]},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        CMAES(**settings)


def test_weights_for_other_objectives_are_refused() -> None:
    assert "2 weights for 3 objectives" in CMAES(weights=(1, 2)).refusal(99, plain_space(2), 3)
    assert not CMAES(weights=(1, 2, 3)).refusal(99, plain_space(2), 3)


def test_a_budget_within_the_first_population_is_refused() -> None:
    assert SMALL.refusal(6, plain_space(2), 2)
    assert not SMALL.refusal(7, plain_space(2), 2)
    assert CMAES().refusal(10, plain_space(10), 2)  # 4 + 3 ln 10
    assert not CMAES().refusal(11, plain_space(10), 2)


@pytest.mark.parametrize(("size", "behind"), [(6, 0), (2, 3)])
@pytest.mark.parametrize(
    ("weights", "best"), [(None, 0.5), ((1.0, 0.0), 0.3), ((1.0, 3.0), 0.6)], ids=str
)
def test_the_optimum_of_the_weighted_sum_is_found(
    weights: tuple[float, ...] | None, best: float, size: int, behind: int
) -> None:
    space = plain_space(3)
    with planted(space, make_goals(2), bowls, 0) as archive:
        (start,) = archive.propose("candidate", [(space.candidate([0.9] * 3, "recipe"), {})])
        archive.finish(start.number, scored(archive.goals, bowls(start.unit or ())), 0.0)
        optimizer = CMAES(weights=weights, population=6)
        go_on(optimizer, space, archive, bowls, 120 // size, size, behind)
        late = [t.unit or () for t in archive.candidates[-20:]]
    assert np.abs(np.mean(late, axis=0) - best).max() < 0.04


def test_each_objective_weighs_the_same_whatever_its_unit() -> None:
    def stretched(unit: Sequence[float]) -> list[float]:
        first, second = bowls(unit)
        return [1e6 * first, second]

    space = plain_space(2)
    parents = [[-1e6, 0.0], [0.0, -1.0]]
    for references in (parents, []):
        with planted(space, make_goals(2), stretched, 6, references=references) as archive:
            go_on(SMALL, space, archive, stretched, 14)
            late = np.mean([t.unit or () for t in archive.candidates[-10:]], axis=0)
        assert np.abs(late - 0.5).max() < 0.15


def test_no_infeasible_trial_is_preferred_to_a_feasible_one() -> None:
    space, goals = plain_space(2), make_goals(2, [-0.1])  # within 0.1 of (0.3, 0.3)
    with planted(space, goals, bowls, 0) as archive:
        go_on(CMAES(weights=(0.0, 1.0), population=6), space, archive, bowls, 17)
        late = [t for t in archive.candidates[-20:] if archive.feasible(t)]
        best = max(t.scores["g1"].value for t in archive.front())
    assert len(late) > 5
    assert best > -10 * (0.4 - 0.1 + 0.03) ** 2  # (0.4, 0.4), on the edge, gives -0.9


def test_an_ask_goes_on_where_the_last_one_ended() -> None:
    space, found = plain_space(3), []
    for sizes in ([6] * 4, [1] * 24, [4, 2] * 4):
        with planted(space, make_goals(2), ridge(2), 0) as archive:
            for k, size in enumerate(sizes):
                asked = SMALL.ask(space, archive, size, SeedSequence((0, k)))
                for trial in archive.propose("candidate", [(c, {}) for c in asked], k):
                    values = ridge(2)(trial.unit or ())
                    archive.finish(trial.number, scored(archive.goals, values), 0.0)
            found.append([t.unit for t in archive.candidates])
    assert found[0] == found[1] == found[2]


def test_failed_trials_are_missing_and_the_next_draw_takes_their_place() -> None:
    space = plain_space(3)
    with planted(space, make_goals(2), ridge(2), 6) as archive:
        expected = SMALL.ask(space, archive, 3, SeedSequence((0, 0)))
        (first,) = archive.propose("candidate", [(expected[0], {})], 0)
        archive.finish(first.number, Outcome({}, {}, None, "planted", 0.0), 0.0)
        assert SMALL.ask(space, archive, 2, SeedSequence((0, 1))) == expected[1:]


def test_a_generation_is_told_only_when_all_of_it_has_finished() -> None:
    space, goals = plain_space(3), make_goals(2)
    with planted(space, goals, ridge(2), 5, waiting=1) as archive:
        before = SMALL.ask(space, archive, 1, SeedSequence(0))
        (last,) = (t for t in archive.candidates if t.status == "waiting")
        archive.finish(last.number, scored(goals, ridge(2)(last.unit or ())), 0.0)
        after = SMALL.ask(space, archive, 1, SeedSequence(0))
    with planted(space, goals, ridge(2), 0) as archive:
        assert before == SMALL.ask(space, archive, 1, SeedSequence(0))
    assert before != after


def test_it_begins_at_the_recipes_own_values() -> None:
    space = plain_space(4)
    with planted(space, make_goals(1), ridge(1), 0) as archive:
        drawn = CMAES(population=50, sigma=0.01).ask(space, archive, 50, SeedSequence(0))
    assert np.abs(np.array([c.unit for c in drawn]) - 0.5).max() < 0.06


def test_one_dimension_is_enough() -> None:
    space = plain_space(1)
    with planted(space, make_goals(2), bowls, 1) as archive:
        go_on(CMAES(weights=(1.0, 0.0)), space, archive, bowls, 7)
        assert {t.origin for t in archive.candidates[1:]} == {"cma-es"}
        assert abs(np.mean([(t.unit or ())[0] for t in archive.candidates[-8:]]) - 0.3) < 0.05


def test_the_better_one_of_two_choices_is_settled_on() -> None:
    space = small_space(MIXED)
    at = next(i for i, axis in enumerate(space.axes) if axis.name == "normalize")

    def function(unit: Sequence[float]) -> list[float]:
        return [v + float(unit[at] > 0.5) for v in ridge(2)(unit)]

    with planted(space, make_goals(2), function, 2) as archive:
        go_on(CMAES(), space, archive, function, 17)
        late = [space.values(t.unit or ())[at] for t in archive.candidates[-20:]]
    assert late.count(False) > 15


def test_weights_of_another_number_than_the_objectives_end_in_an_error() -> None:
    with (
        planted(plain_space(2), make_goals(3), ridge(3), 4) as archive,
        pytest.raises(ValueError, match="2 weights for 3 objectives"),
    ):
        CMAES(weights=(1.0, 1.0)).ask(plain_space(2), archive, 1, SeedSequence(0))

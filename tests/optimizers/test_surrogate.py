from collections.abc import Sequence

import numpy as np
import pytest
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement, qLogProbabilityOfFeasibility
from botorch.acquisition.multi_objective import logei
from botorch.acquisition.multi_objective.parego import qLogNParEGO

from mergekit_mo.optimizers._acquisition import Effort, best_new, evaluate, make_acquisition
from mergekit_mo.optimizers._improvement import OneMore
from mergekit_mo.optimizers._surrogate import (
    Learning,
    Surrogate,
    learn,
    private_randomness,
    tamed,
)
from mergekit_mo.testing.planted import (
    MIXED,
    Function,
    constant,
    make_goals,
    plain_space,
    planted,
    ridge,
    small_space,
)
from mergekit_mo.trial import Goal

NO_BOUND = np.array([-np.inf, -np.inf])
EFFORT = Effort(restarts=2, raw_samples=16, iterations=20)


def learnt(goals: list[Goal], function: Function, n: int = 16) -> Surrogate | None:
    with planted(plain_space(2), goals, function, n) as archive, private_randomness(1):
        return learn(archive.data(), archive.scales, Learning(30))


def test_the_fused_kernel_is_never_compiled() -> None:
    # A private name: should botorch drop it, asks would compile for a minute and might hang.
    assert callable(logei._try_load_fused_kernel)
    assert logei._load_attempted is True
    logei._try_load_fused_kernel()
    assert logei._C is None


def test_what_was_learnt_predicts_what_was_seen() -> None:
    surrogate = learnt(make_goals(2), ridge(2))
    assert surrogate is not None
    mean, variance = surrogate.predict(surrogate.X)
    assert mean.shape == variance.shape == surrogate.Y.shape == (16, 2)
    assert (mean - surrogate.Y).abs().max() < 0.2
    assert surrogate.X.dtype == mean.dtype == torch.double


def test_scores_reference_and_bounds_are_in_standard_deviations() -> None:
    def stretched(unit: Sequence[float]) -> list[float]:
        return [v * 1e6 for v in ridge(2)(unit)]

    small = learnt(make_goals(2, [0.8]), ridge(2))
    large = learnt(make_goals(2, [0.8e6]), stretched)
    assert small is not None
    assert large is not None
    assert torch.allclose(small.Y, large.Y)
    assert torch.allclose(small.Y.mean(0), torch.zeros(2).double(), atol=1e-9)
    assert [i for i, _ in small.bounds] == [0]
    assert small.bounds[0][1] == pytest.approx(large.bounds[0][1])


def test_objectives_that_never_varied_are_left_out() -> None:
    surrogate = learnt(make_goals(2), lambda unit: [0.3, *ridge(1)(unit)])
    assert surrogate is not None
    assert surrogate.m == 1
    assert learnt(make_goals(2), constant(2)) is None


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_trials_teach_nothing(n: int) -> None:
    assert learnt(make_goals(2), ridge(2), n) is None


def test_a_ruined_trial_is_lifted_to_a_fence() -> None:
    Y = np.array([[float(i), float(-i)] for i in range(9)] + [[-1e6, 0.0]])
    lifted = tamed(Y, NO_BOUND)
    assert (lifted[:9] == Y[:9]).all()
    assert -30 < lifted[9, 0] < 0


def test_nothing_infeasible_becomes_feasible_by_lifting() -> None:
    Y = np.array([[float(i)] for i in range(9)] + [[-1e6]])
    assert (tamed(Y, np.array([-1e3]))[9] < -1e3).all()


@pytest.mark.parametrize(
    ("goals", "kind"),
    [
        (make_goals(1), qLogNoisyExpectedImprovement),
        (make_goals(2), OneMore),
        (make_goals(4), OneMore),
        (make_goals(5), qLogNParEGO),
        (make_goals(2, [2.0]), qLogProbabilityOfFeasibility),
    ],
    ids=["one", "two", "four", "five", "infeasible"],
)
def test_the_acquisition_suits_what_is_known(goals: list[Goal], kind: type) -> None:
    surrogate = learnt(goals, ridge(len(goals)))
    assert surrogate is not None
    with private_randomness(1):
        assert type(make_acquisition(surrogate, [], 4, 1)) is kind


def test_points_that_break_a_threshold_are_worth_less() -> None:
    def function(unit: Sequence[float]) -> list[float]:
        return [unit[0], 1 - unit[0] + 0.1 * unit[1]]

    free, bound = learnt(make_goals(2), function), learnt(make_goals(2, [0.6]), function)
    assert free is not None
    assert bound is not None
    with private_randomness(1):
        values = [
            evaluate(make_acquisition(s, [], 64, 1), [[0.05, 1.0], [0.9, 1.0]])
            for s in (free, bound)
        ]
    lost = values[0] - values[1]
    assert lost[0] > 3
    assert values[1][1] > values[1][0]


def test_a_pending_point_is_worth_less_than_before() -> None:
    surrogate = learnt(make_goals(2), ridge(2))
    assert surrogate is not None
    point = (0.31, 0.62)
    with private_randomness(1):
        before = evaluate(make_acquisition(surrogate, [], 64, 1), [point])
        after = evaluate(make_acquisition(surrogate, [point], 64, 1), [point])
    assert after < before


def test_a_point_that_is_taken_gives_way_to_the_next_best() -> None:
    surrogate, space = learnt(make_goals(2), ridge(2)), plain_space(2)
    assert surrogate is not None
    found: list[tuple[float, ...]] = []
    for _ in range(2):
        with private_randomness(1):
            unit = best_new(make_acquisition(surrogate, [], 16, 1), space, found, EFFORT)
        assert unit is not None
        found.append(unit)
    assert len(set(found)) == 2


def test_choices_are_tried_that_no_gradient_leads_to() -> None:
    space = small_space(MIXED)
    choice = next(i for i, axis in enumerate(space.axes) if axis.name == "normalize")

    def function(unit: Sequence[float]) -> list[float]:
        on = unit[choice] < 0.5
        return [v + float(on) for v in ridge(2)(unit)]

    with planted(space, make_goals(2), function, 16) as archive, private_randomness(1):
        surrogate = learn(archive.data(), archive.scales, Learning(30))
        assert surrogate is not None
        unit = best_new(make_acquisition(surrogate, [], 16, 1), space, set(), EFFORT)
    assert unit is not None
    assert space.values(unit)[choice] is True


def test_randomness_is_given_back_even_after_an_error() -> None:
    before = torch.random.get_rng_state()

    def fail() -> None:
        with private_randomness(1):
            torch.rand(3)
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_asking_works_where_gradients_are_off() -> None:
    with torch.inference_mode():
        surrogate = learnt(make_goals(2), ridge(2))
        assert surrogate is not None
        with private_randomness(1):
            acquisition = make_acquisition(surrogate, [], 4, 1)
            assert best_new(acquisition, plain_space(2), set(), EFFORT) is not None

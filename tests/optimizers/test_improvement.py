from collections.abc import Callable

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import (
    GenericMCMultiOutputObjective,
    MCMultiOutputObjective,
)
from botorch.acquisition.multi_objective.utils import prune_inferior_points_multi_objective
from botorch.sampling.normal import SobolQMCNormalSampler
from torch import Tensor

from mergekit_mo.optimizers._improvement import OneMore, contenders
from mergekit_mo.optimizers._surrogate import Learning, Surrogate, learn, private_randomness
from mergekit_mo.pareto import ever_nondominated
from mergekit_mo.testing.planted import make_goals, plain_space, planted, ridge

DIM, TRIALS = 4, 18
POINTS = torch.rand(5, 1, DIM, dtype=torch.double, generator=torch.Generator().manual_seed(2))


def learnt(m: int, *, matern: bool = False) -> Surrogate:
    with planted(plain_space(DIM), make_goals(m), ridge(m), TRIALS) as archive:
        found = learn(archive.data(), archive.scales, Learning(30, matern=matern))
    assert found is not None
    return found


def both(surrogate: Surrogate, **given: object) -> list[tuple[Tensor, Tensor]]:
    """Values at `POINTS` and their gradients, by botorch and by ours."""
    found = []
    for kind in (qLogNoisyExpectedHypervolumeImprovement, OneMore):
        with private_randomness(1):
            acquisition = kind(
                surrogate.model,
                ref_point=surrogate.reference,
                X_baseline=surrogate.X,
                sampler=SobolQMCNormalSampler(torch.Size([16]), seed=3),
                **given,
            )
            points = POINTS.clone().requires_grad_(True)
            values = acquisition(points)
            (gradient,) = torch.autograd.grad(values.sum(), points)
            found.append((values.detach(), gradient))
    return found


def bent(samples: Tensor, X: Tensor | None = None) -> Tensor:
    return samples.exp()


CASES: dict[str, dict[str, object]] = {
    "plain": {},
    "pending": {"X_pending": torch.full((2, DIM), 0.3, dtype=torch.double)},
    "warped": {"objective": GenericMCMultiOutputObjective(bent)},
    "threshold": {"constraints": [lambda samples: 0.1 - samples[..., 0]]},
}


@pytest.mark.parametrize("matern", [False, True], ids=["rbf", "matern"])
@pytest.mark.parametrize("case", CASES)
def test_two_objectives_have_botorchs_values_and_gradients(case: str, matern: bool) -> None:
    theirs, ours = both(learnt(2, matern=matern), **CASES[case])
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("m", [3, 4])
def test_more_objectives_have_botorchs_values_but_for_its_smoothing(m: int) -> None:
    (theirs, _), (ours, _) = both(learnt(m))
    likely = theirs > theirs.max() - 3
    torch.testing.assert_close(theirs[likely], ours[likely], rtol=0, atol=0.02)


def test_several_points_at_once_go_botorchs_way() -> None:
    surrogate = learnt(2)
    values = []
    for kind in (qLogNoisyExpectedHypervolumeImprovement, OneMore):
        with private_randomness(1):
            sampler = SobolQMCNormalSampler(torch.Size([16]), seed=3)
            acquisition = kind(surrogate.model, surrogate.reference, surrogate.X, sampler)
            values.append((acquisition(POINTS[:2, 0]).detach(), acquisition(POINTS).detach()))
    torch.testing.assert_close(values[0], values[1])


@pytest.mark.parametrize(
    ("objective", "constraints"),
    [
        (None, []),
        (GenericMCMultiOutputObjective(bent), []),
        (None, [lambda samples: 0.1 - samples[..., 0]]),
    ],
    ids=["plain", "warped", "threshold"],
)
def test_those_that_may_be_on_the_front_are_those_that_botorch_keeps(
    objective: MCMultiOutputObjective | None, constraints: list[Callable[[Tensor], Tensor]]
) -> None:
    surrogate = learnt(2)
    with private_randomness(1):
        theirs = prune_inferior_points_multi_objective(
            surrogate.model,
            surrogate.X,
            surrogate.reference,
            objective=objective,
            constraints=constraints or None,
        )
        ours = contenders(surrogate, objective, constraints, 1)
    assert 0 < len(ours) < TRIALS
    # Points that are on one front in two thousand are a matter of luck.
    shared = (ours.unsqueeze(1) == theirs.unsqueeze(0)).all(dim=-1).any(dim=1).sum()
    assert len(ours) - shared <= 1
    assert len(theirs) - shared <= 1


def test_a_trial_is_on_a_front_that_some_draw_gives_it() -> None:
    draws = np.array(
        [
            [[1.0, 1.0], [2.0, 2.0], [-1.0, 9.0], [0.5, 0.5]],
            [[3.0, 1.0], [2.0, 2.0], [-1.0, 9.0], [0.5, 0.5]],
        ]
    )
    assert ever_nondominated(draws, np.zeros(2)).tolist() == [True, True, False, False]

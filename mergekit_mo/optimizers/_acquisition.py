"""Where a surrogate expects most: acquisition functions, and their best points that are new.

Rule: an acquisition is judged at snapped points, the only ones that can be tried, and points that
are pending belong to it from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition.logei import qLogNoisyExpectedImprovement, qLogProbabilityOfFeasibility
from botorch.acquisition.multi_objective.objective import (
    GenericMCMultiOutputObjective,
    MCMultiOutputObjective,
)
from botorch.acquisition.multi_objective.parego import qLogNParEGO
from botorch.acquisition.objective import GenericMCObjective, MCAcquisitionObjective
from botorch.optim import optimize_acqf
from botorch.optim.initializers import gen_batch_initial_conditions
from botorch.sampling.normal import SobolQMCNormalSampler
from torch import Tensor

from mergekit_mo.optimizers._improvement import OneMore, contenders
from mergekit_mo.optimizers._surrogate import Surrogate
from mergekit_mo.pareto import Matrix
from mergekit_mo.space import Space

MOST_OBJECTIVES = 4
"""Above this many, hypervolumes cost too much and random scalarisations take their place."""

_SAMPLES = {1: 256, 2: 64, 3: 32, 4: 16}
_SAMPLES_SCALARISED = 128
_BATCH = 8  # points that are improved together

Unit = tuple[float, ...]


@dataclass(frozen=True)
class Effort:
    """How hard an acquisition is maximised.

    Attributes:
        restarts: starting points.
        raw_samples: points among which these are chosen.
        iterations: the most that improving them may take.
    """

    restarts: int
    raw_samples: int
    iterations: int


def make_acquisition(
    surrogate: Surrogate,
    pending: Sequence[Unit],
    samples: int | None,
    seed: int,
    *,
    scalarised: bool = False,
    weights: Matrix | None = None,
) -> AcquisitionFunction | None:
    """The acquisition function that suits what is known.

    The noisy expected hypervolume improvement (Daulton et al. 2021) in its logarithmic form
    (Ament et al. 2023); with one objective, the improvement; with more than `MOST_OBJECTIVES`, or
    where it is asked for, the improvement of a random scalarisation (Knowles 2006), another one at
    each call. While no trial is feasible, the probability of feasibility. It depends on torch's
    random state, see `private_randomness`.

    Args:
        surrogate: what is known.
        pending: points that count as tried, with scores yet unknown.
        samples: from the posterior; None for a number that suits the objectives.
        seed: of these samples.
        scalarised: takes a random scalarisation of two objectives or more, however few.
        weights: the weights of a scalarisation that takes the hypervolume's place, one for each
            objective that was told, those that never varied included.

    Returns:
        The function; None where no trial is feasible and no model tells why.
    """
    waiting = torch.tensor(pending, dtype=torch.double) if pending else None  # k x d
    constraints = [_constraint(*bound) for bound in surrogate.bounds] or None
    chosen = None if weights is None else torch.tensor(weights[list(surrogate.columns)])  # m
    preferred = chosen is not None and bool(chosen.sum() > 0)
    scalarised = surrogate.m > MOST_OBJECTIVES or ((scalarised or preferred) and surrogate.m > 1)
    count = samples or (_SAMPLES_SCALARISED if scalarised else _SAMPLES[surrogate.m])
    sampler = SobolQMCNormalSampler(torch.Size([count]), seed=seed)
    if not surrogate.feasible:
        if constraints is None:
            return None
        return qLogProbabilityOfFeasibility(
            surrogate.model, constraints, sampler=sampler, X_pending=waiting
        )
    common: dict[str, Any] = {
        "X_baseline": surrogate.X,
        "sampler": sampler,
        "constraints": constraints,
        "X_pending": waiting,
        "prune_baseline": True,
    }
    if any(warp.strength for warp in surrogate.warps):
        common["objective"] = _scores_of(surrogate)
    if surrogate.m == 1:
        return qLogNoisyExpectedImprovement(surrogate.model, **common)
    if scalarised:
        return qLogNParEGO(
            surrogate.model, scalarization_weights=chosen if preferred else None, **common
        )
    common |= {
        "X_baseline": contenders(surrogate, common.get("objective"), constraints or (), seed),
        "prune_baseline": False,
    }
    return OneMore(surrogate.model, ref_point=surrogate.reference, **common)


def best_new(
    acquisition: AcquisitionFunction, space: Space, taken: Collection[Unit], effort: Effort
) -> Unit | None:
    """The best point that was not tried yet, of those that maximising an acquisition comes upon.

    Args:
        acquisition: what to maximise, one point at a time.
        space: where the point comes from.
        taken: snapped points that are out of the question.
        effort: how hard to try.

    Returns:
        A snapped point; None where all that were found are taken.
    """
    found = ranked(acquisition, space, maximise(acquisition, space.dim, effort))
    return next((unit for unit, _ in found if unit not in taken), None)


def ranked(
    acquisition: AcquisitionFunction, space: Space, points: Sequence[Sequence[float]]
) -> list[tuple[Unit, float]]:
    """Points as they can be tried, each once, with their values, the best first.

    Those that differ from the best in one choice are among them.
    """
    units = list(dict.fromkeys(space.snap(point) for point in points))
    best = units[int(evaluate(acquisition, units).argmax())]
    units = list(dict.fromkeys([*units, *_other_choices(space, best)]))
    values = evaluate(acquisition, units)
    order = torch.argsort(values, descending=True, stable=True).tolist()
    return [(units[i], float(values[i])) for i in order]


def maximise(
    acquisition: AcquisitionFunction,
    dim: int,
    effort: Effort,
    starts: Sequence[Sequence[float]] = (),
) -> list[list[float]]:
    """Local maxima of an acquisition over the unit cube.

    Args:
        acquisition: what to maximise.
        dim: the number of coordinates.
        effort: how hard to try.
        starts: points to start from besides those that `effort` finds.

    Returns:
        A point for each start, `restarts + len(starts)` of `dim` coordinates.
    """
    baseline = getattr(acquisition, "X_baseline", None)
    bounds = torch.tensor([[0.0], [1.0]], dtype=torch.double).expand(2, dim)
    options = {
        "maxiter": effort.iterations,
        "batch_limit": _BATCH,
        "init_batch_limit": 4 * _BATCH,
        # There is no best where all of it was pruned.
        "sample_around_best": baseline is None or len(baseline) > 0,
    }
    begin = gen_batch_initial_conditions(
        acquisition,
        bounds,
        q=1,
        num_restarts=effort.restarts,
        raw_samples=effort.raw_samples,
        options=options,
    )  # restarts x 1 x d
    if starts:
        extra = torch.tensor(starts, dtype=torch.double).unsqueeze(-2)  # starts x 1 x d
        begin = torch.cat([begin, extra])
    points, _ = optimize_acqf(
        acquisition,
        bounds=bounds,
        q=1,
        num_restarts=len(begin),
        batch_initial_conditions=begin,
        options=options,
        retry_on_optimization_warning=False,
        return_best_only=False,
    )  # starts x 1 x d
    found: list[list[float]] = points.squeeze(-2).tolist()
    return found


def evaluate(acquisition: AcquisitionFunction, units: Sequence[Sequence[float]]) -> Tensor:
    """An acquisition's value at each of `k` points; the least one where it has none."""
    points = torch.tensor(units, dtype=torch.double).unsqueeze(-2)  # k x 1 x d
    with torch.no_grad():
        values = torch.cat([acquisition(part) for part in torch.split(points, 4 * _BATCH)])
    return values.nan_to_num(nan=float("-inf"))


def _scores_of(surrogate: Surrogate) -> MCAcquisitionObjective | MCMultiOutputObjective:
    """Samples of the model as scores, where the model is warped."""

    def several(samples: Tensor, X: Tensor | None = None) -> Tensor:  # noqa: ARG001
        return surrogate.scores(samples)

    def one(samples: Tensor, X: Tensor | None = None) -> Tensor:  # noqa: ARG001
        return surrogate.scores(samples)[..., 0]

    if surrogate.m == 1:
        return GenericMCObjective(one)
    return GenericMCMultiOutputObjective(several)


def _other_choices(space: Space, unit: Unit) -> Iterator[Unit]:
    """The points that differ in one choice: gradients see little of the others."""
    for i, axis in enumerate(space.axes):
        for choice in axis.choices:
            yield space.snap([*unit[:i], axis.encode(choice), *unit[i + 1 :]])


def _constraint(column: int, least: float) -> Callable[[Tensor], Tensor]:
    """A threshold as botorch reads it: negative where it is kept."""
    return lambda samples: least - samples[..., column]

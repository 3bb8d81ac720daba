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
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.parego import qLogNParEGO
from botorch.optim import optimize_acqf
from botorch.sampling.normal import SobolQMCNormalSampler
from torch import Tensor

from mergekit_mo.optimizers._surrogate import Surrogate
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
    surrogate: Surrogate, pending: Sequence[Unit], samples: int | None, seed: int
) -> AcquisitionFunction | None:
    """The acquisition function that suits what is known.

    The noisy expected hypervolume improvement (Daulton et al. 2021) in its logarithmic form
    (Ament et al. 2023); with one objective, the improvement; with more than `MOST_OBJECTIVES`,
    the improvement of a random scalarisation (Knowles 2006), another one at each call. While no
    trial is feasible, the probability of feasibility. It depends on torch's random state, see
    `private_randomness`.

    Args:
        surrogate: what is known.
        pending: points that count as tried, with scores yet unknown.
        samples: from the posterior; None for a number that suits the objectives.
        seed: of these samples.

    Returns:
        The function; None where no trial is feasible and no model tells why.
    """
    waiting = torch.tensor(pending, dtype=torch.double) if pending else None  # k x d
    constraints = [_constraint(*bound) for bound in surrogate.bounds] or None
    count = samples or _SAMPLES.get(surrogate.m, _SAMPLES_SCALARISED)
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
    if surrogate.m == 1:
        return qLogNoisyExpectedImprovement(surrogate.model, **common)
    if surrogate.m > MOST_OBJECTIVES:
        return qLogNParEGO(surrogate.model, **common)
    return qLogNoisyExpectedHypervolumeImprovement(
        surrogate.model, ref_point=surrogate.reference, **common
    )


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
    units = [space.snap(point) for point in maximise(acquisition, space.dim, effort)]
    units = list(dict.fromkeys(units))
    best = units[int(evaluate(acquisition, units).argmax())]
    units = list(dict.fromkeys([*units, *_other_choices(space, best)]))
    values = evaluate(acquisition, units)
    order = torch.argsort(values, descending=True, stable=True).tolist()
    return next((units[i] for i in order if units[i] not in taken), None)


def maximise(acquisition: AcquisitionFunction, dim: int, effort: Effort) -> list[list[float]]:
    """Local maxima of an acquisition over the unit cube, `restarts` points of `dim` coordinates."""
    baseline = getattr(acquisition, "X_baseline", None)
    bounds = torch.tensor([[0.0], [1.0]], dtype=torch.double).expand(2, dim)
    points, _ = optimize_acqf(
        acquisition,
        bounds=bounds,
        q=1,
        num_restarts=effort.restarts,
        raw_samples=effort.raw_samples,
        options={
            "maxiter": effort.iterations,
            "batch_limit": _BATCH,
            "init_batch_limit": 4 * _BATCH,
            # There is no best where all of it was pruned.
            "sample_around_best": baseline is None or len(baseline) > 0,
        },
        retry_on_optimization_warning=False,
        return_best_only=False,
    )  # restarts x 1 x d
    found: list[list[float]] = points.squeeze(-2).tolist()
    return found


def evaluate(acquisition: AcquisitionFunction, units: Sequence[Sequence[float]]) -> Tensor:
    """An acquisition's value at each of `k` points; the least one where it has none."""
    points = torch.tensor(units, dtype=torch.double).unsqueeze(-2)  # k x 1 x d
    with torch.no_grad():
        values = torch.cat([acquisition(part) for part in torch.split(points, 4 * _BATCH)])
    return values.nan_to_num(nan=float("-inf"))


def _other_choices(space: Space, unit: Unit) -> Iterator[Unit]:
    """The points that differ in one choice: gradients see little of the others."""
    for i, axis in enumerate(space.axes):
        for choice in axis.choices:
            yield space.snap([*unit[:i], axis.encode(choice), *unit[i + 1 :]])


def _constraint(column: int, least: float) -> Callable[[Tensor], Tensor]:
    """A threshold as botorch reads it: negative where it is kept."""
    return lambda samples: least - samples[..., column]

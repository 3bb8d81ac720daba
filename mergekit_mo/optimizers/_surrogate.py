"""What the finished trials teach: one Gaussian process for each objective that ever varied.

Rule: inside a surrogate everything is in standard deviations of the finished trials, reference
point and thresholds included; two units beside each other make an acquisition blind.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from botorch.acquisition.multi_objective import logei
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import BadInitialCandidatesWarning, OptimizationWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.errors import NanError, NotPSDError
from linear_operator.utils.warnings import NumericalWarning
from numpy.typing import NDArray
from torch import Tensor

from mergekit_mo.archive import Data
from mergekit_mo.pareto import Matrix, nondominated
from mergekit_mo.scales import REFERENCE, Scale

# The fused kernel takes a minute to compile, its lock hangs whoever comes after a killed process,
# and its bits differ from those of the Python path.
logei._load_attempted = True

NUMERICAL_ERRORS = (NanError, NotPSDError)
"""What linear algebra raises where a surrogate is too ill-conditioned to be used."""

_FENCE = 3.0
"""Tukey's outer fence, in interquartile ranges."""


@dataclass(frozen=True)
class Surrogate:
    """A fitted model of the objectives that varied.

    Attributes:
        model: `ModelListGP` with `m` outputs, in standard deviations, all maximised.
        X: `n x d` points that it learnt from.
        Y: `n x m` scores that it learnt from.
        reference: `m`, the working reference point.
        bounds: a column and the least value that its threshold allows, for each threshold.
        feasible: whether some trial keeps every threshold.
    """

    model: ModelListGP
    X: Tensor
    Y: Tensor
    reference: Tensor
    bounds: tuple[tuple[int, float], ...]
    feasible: bool

    @property
    def m(self) -> int:
        """The number of objectives that varied."""
        return self.Y.shape[1]

    def predict(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior means and variances of the objectives without their noise, `k x m` each."""
        with torch.no_grad():
            posterior = self.model.posterior(X)
        return posterior.mean, posterior.variance


@contextmanager
def private_randomness(seed: int) -> Iterator[None]:
    """Seeds torch for a block, gives the caller's state back, and keeps botorch's chatter inside.

    `torch.manual_seed` would reseed the accelerators too, where models are being scored.
    """
    quiet = (BadInitialCandidatesWarning, OptimizationWarning, NumericalWarning)
    with (
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(False),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        for category in quiet:
            warnings.simplefilter("ignore", category)
        torch.default_generator.manual_seed(seed)
        yield


def learn(data: Data, scales: Sequence[Scale], iterations: int) -> Surrogate | None:
    """Fits a surrogate.

    An objective that never varied is left out: it cannot tell one candidate from another. The
    result depends on torch's random state, see `private_randomness`.

    Args:
        data: `n` finished trials.
        scales: of the `m` columns of `data.Y`.
        iterations: the most that fitting an objective's hyperparameters may take.

    Returns:
        The surrogate; None where fewer than two trials or no varying objective are known.
    """
    rows = np.isfinite(data.Y).all(axis=1)
    if rows.sum() < 2:
        return None
    X, Y, feasible = data.X[rows], data.Y[rows], data.feasible[rows]
    columns = np.flatnonzero(np.ptp(Y, axis=0) > 1e-9 * np.abs(Y).max(axis=0))
    if len(columns) == 0:
        return None
    kept = [scales[int(i)] for i in columns]
    least = np.array([_least(scale) for scale in kept])  # m
    Y = tamed(Y[:, columns], least)
    reference = working_reference(Y, feasible, np.array([s.anchored for s in kept]))
    centre, width = Y.mean(axis=0), Y.std(axis=0, ddof=1)  # m, m
    points = torch.tensor(X, dtype=torch.double)  # n x d
    scores = torch.tensor((Y - centre) / width, dtype=torch.double)  # n x m
    units = (least - centre) / width
    return Surrogate(
        model=ModelListGP(*(_fit(points, column, iterations) for column in scores.T)),
        X=points,
        Y=scores,
        reference=torch.tensor((reference - centre) / width, dtype=torch.double),
        bounds=tuple((i, float(u)) for i, u in enumerate(units) if np.isfinite(u)),
        feasible=bool(feasible.any()),
    )


def tamed(Y: Matrix, least: Matrix) -> Matrix:
    """Lifts far outliers on the worse side to a fence, so that a ruined merge is not all.

    Args:
        Y: `n x m` scores.
        least: `m`, the least feasible value of each objective, -inf where there is no threshold;
            nothing infeasible is lifted to it.
    """
    low, high = np.quantile(Y, [0.25, 0.75], axis=0)  # m, m
    middle = high - low
    fence = low - _FENCE * middle
    fence = np.where(np.isfinite(least), np.minimum(fence, least - middle), fence)
    return np.where(middle > 0, np.maximum(Y, fence), Y)


def working_reference(
    Y: Matrix, feasible: NDArray[np.bool_], anchored: NDArray[np.bool_]
) -> Matrix:
    """The reference point for an acquisition, on the scales of its scores.

    On anchored objectives it is the reporting one, so that what is reported is what is improved,
    once some trial exceeds it there. Else it lies a tenth of the scores' range below the front's
    worst: a corner far above all scores would be blind, one far below would favour extremes.

    Args:
        Y: `n x m` scores.
        feasible: `n` marks.
        anchored: `m` marks.
    """
    able = Y[feasible] if feasible.any() else Y
    front = able[nondominated(able)]
    inferred = front.min(axis=0) - 0.1 * np.ptp(Y, axis=0)  # m
    reached = anchored & (able > REFERENCE).any(axis=0)  # m
    return np.where(reached, REFERENCE, inferred)


def _least(scale: Scale) -> float:
    """The least feasible value of an objective on its anchored scale."""
    bound = scale.goal.threshold
    return float("-inf") if bound is None else scale.up(bound)


def _fit(X: Tensor, y: Tensor, iterations: int) -> SingleTaskGP:
    """A Gaussian process for one objective; where fitting fails, one with its priors' values."""
    model = SingleTaskGP(X, y.unsqueeze(-1), outcome_transform=None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options = {"options": {"maxiter": iterations}}  # unlimited, twenty dimensions take 9 to 24 s
    try:
        fit_gpytorch_mll(
            ExactMarginalLogLikelihood(model.likelihood, model), optimizer_kwargs=options
        )
    except (ModelFittingError, *NUMERICAL_ERRORS):
        model.load_state_dict(before)
    return model.eval()

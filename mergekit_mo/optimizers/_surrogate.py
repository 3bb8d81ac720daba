"""What the finished trials teach: one Gaussian process for each objective that ever varied.

Rule: inside a surrogate everything is in standard deviations of the finished trials, reference
point and thresholds included; two units beside each other make an acquisition blind.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from botorch.acquisition.multi_objective import logei
from botorch.exceptions.warnings import BadInitialCandidatesWarning, OptimizationWarning
from botorch.models import SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from linear_operator.utils.errors import NanError, NotPSDError
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from mergekit_mo.archive import Data
from mergekit_mo.optimizers._fit import Hyperparameters, Kernel, fit
from mergekit_mo.optimizers._private import private_torch
from mergekit_mo.optimizers._reference import working_reference
from mergekit_mo.optimizers._warp import Warp, warps
from mergekit_mo.pareto import Matrix
from mergekit_mo.scales import REFERENCE, Scale

# The fused kernel takes a minute to compile, its lock hangs whoever comes after a killed process,
# and its bits differ from those of the Python path.
logei._load_attempted = True

NUMERICAL_ERRORS = (NanError, NotPSDError)
"""What linear algebra raises where a surrogate is too ill-conditioned to be used."""

_FENCE = 3.0
"""Tukey's outer fence, in interquartile ranges."""

_STRENGTH = 1.0
"""Of a warp: with 10, nothing could be hoped for beyond .3 standard deviations above the best."""

_EVIDENCE = 5.0
"""Nats of log-likelihood that a warp has to gain: scores that need none are better left alone."""

_ON_THE_WAY = 2 / 3
"""The share of trials above the reporting reference point from which scores may be warped.

As long as most are worth nothing, the low scores are those that show the way: on DTLZ2, where few
trials get above it, a warp that the likelihood favours costs up to a third of the hypervolume.
"""

_EXACT = 1e-6
"""The noise variance of scores that have no error, for the sake of a Cholesky factor."""

Noise = Literal["learnt", "items"]


@dataclass(frozen=True)
class Learning:
    """How a surrogate learns.

    Attributes:
        iterations: the most that fitting an objective's hyperparameters may take.
        noise: `learnt`, one variance for each objective; or `items`, the variances that the data
            bring, where they do.
        matern: Matern-5/2 kernels in place of squared exponentials.
        stretch: `d` factors on the lengthscales that are expected; empty for none.
        warp: lets each objective's low scores be compressed, as far as that makes its trials more
            probable.
    """

    iterations: int
    noise: Noise = "learnt"
    matern: bool = False
    stretch: tuple[float, ...] = ()
    warp: bool = False


@dataclass(frozen=True)
class Surrogate:
    """A fitted model of the objectives that varied.

    Attributes:
        model: Gaussian processes with `m` outputs, in standard deviations, all maximised; warped
            where `warps` say so.
        X: `n x d` points that it learnt from.
        Y: `n x m` scores that it learnt from, not warped.
        reference: `m`, the working reference point, in units of `Y`.
        bounds: a column and the least output that its threshold allows, for each threshold.
        feasible: whether some trial keeps every threshold.
        warps: what the model's outputs are of the scores, by column.
        columns: which objectives they are.
        centre: `m`, the anchored score that is 0 in `Y`.
        width: `m`, what one unit of `Y` is worth on the anchored scales.
    """

    model: SingleTaskGP
    X: Tensor
    Y: Tensor
    reference: Tensor
    bounds: tuple[tuple[int, float], ...]
    feasible: bool
    warps: tuple[Warp, ...]
    columns: tuple[int, ...]
    centre: Matrix
    width: Matrix

    @property
    def m(self) -> int:
        """The number of objectives that varied."""
        return self.Y.shape[1]

    def predict(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior means and variances of the objectives without their noise, `k x m` each."""
        with torch.no_grad():
            posterior = self.model.posterior(X)
        return posterior.mean, posterior.variance

    def bounded(self, least: Matrix) -> Surrogate:
        """The same with a reference point that is raised to bounds.

        Args:
            least: a bound for each column that was learnt from, anchored; -inf for none.
        """
        wanted = torch.tensor((least[list(self.columns)] - self.centre) / self.width)  # m
        return replace(self, reference=torch.maximum(self.reference, wanted))

    def scores(self, outputs: Tensor) -> Tensor:
        """Scores in units of `Y` from outputs of the model, `… x m` both."""
        columns = zip(self.warps, outputs.unbind(-1), strict=True)
        return torch.stack([warp.back(column) for warp, column in columns], dim=-1)


@contextmanager
def private_randomness(seed: int) -> Iterator[None]:
    """`private_torch`, with botorch's chatter kept inside."""
    with private_torch(seed), warnings.catch_warnings():
        for category in (BadInitialCandidatesWarning, OptimizationWarning, NumericalWarning):
            warnings.simplefilter("ignore", category)
        yield


def learn(data: Data, scales: Sequence[Scale], learning: Learning) -> Surrogate | None:
    """Fits a surrogate.

    An objective that never varied is left out: it cannot tell one candidate from another.

    Args:
        data: `n` finished trials.
        scales: of the `m` columns of `data.Y`.
        learning: how to.

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
    anchored = np.array([scale.anchored for scale in kept])  # m
    able = feasible if feasible.any() else np.ones(len(Y), dtype=bool)  # n
    reference = working_reference(Y, able, anchored)
    centre, width = Y.mean(axis=0), Y.std(axis=0, ddof=1)  # m, m
    points = torch.tensor(X, dtype=torch.double)  # n x d
    scores = torch.tensor((Y - centre) / width, dtype=torch.double)  # n x m
    variances = torch.tensor(data.Yvar[rows][:, columns] / width**2, dtype=torch.double)  # n x m
    partial = torch.from_numpy(data.partial[rows]) if len(data.partial) else None  # n
    units = (least - centre) / width
    if (Y[:, anchored] > REFERENCE).all(axis=1).mean() < _ON_THE_WAY:
        learning = replace(learning, warp=False)
    fits = [
        _fitted(points, y, variance, learning, partial)
        for y, variance in zip(scores.T, variances.T, strict=True)
    ]
    outputs = torch.stack([warp.there(y) for (warp, _), y in zip(fits, scores.T, strict=True)], -1)
    return Surrogate(
        model=assembled(points, outputs, [h for _, h in fits], matern=learning.matern),
        X=points,
        Y=scores,
        reference=torch.tensor((reference - centre) / width, dtype=torch.double),
        bounds=tuple(
            (i, float(fits[i][0].there(torch.tensor(u))))
            for i, u in enumerate(units)
            if np.isfinite(u)
        ),
        feasible=bool(feasible.any()),
        warps=tuple(warp for warp, _ in fits),
        columns=tuple(columns.tolist()),
        centre=centre,
        width=width,
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


def _least(scale: Scale) -> float:
    """The least feasible value of an objective on its anchored scale."""
    bound = scale.goal.threshold
    return float("-inf") if bound is None else scale.up(bound)


def _fitted(
    X: Tensor, y: Tensor, variances: Tensor, learning: Learning, partial: Tensor | None = None
) -> tuple[Warp, Hyperparameters]:
    """The most probable warp of an objective, and its process' hyperparameters.

    Args:
        X: `n x d` points.
        y: `n` scores in standard deviations.
        variances: `n`, of the scores; NaN where unknown.
        learning: how to.
        partial: `n` marks of estimates, whose variances come on top of a learnt noise.
    """
    kernel = Kernel(learning.stretch or (1.0,) * X.shape[1], learning.matern)
    noise = _known_noise(variances, learning.noise)
    more = None
    if noise is None and partial is not None and bool(partial.any()):
        more = torch.where(partial & variances.isfinite(), variances, 0.0)
    best = None
    for warp in warps(y, [_STRENGTH] if learning.warp else []):
        stretched = None if noise is None else noise * warp.slope(y).square()
        above = None if more is None else more * warp.slope(y).square()
        h = fit(X, warp.there(y), kernel, learning.iterations, stretched, above)
        # The density of the scores themselves, so that warps can be compared.
        evidence = len(y) * (float(warp.slope(y).log().mean()) - h.loss)
        if best is None or evidence >= best[0] + _EVIDENCE:
            best = evidence, warp, h
    assert best is not None
    return best[1], best[2]


def _known_noise(variances: Tensor, noise: Noise) -> Tensor | None:
    """An objective's `n` noise variances; None where they are to be learnt."""
    if bool((variances == 0).all()) or (noise == "items" and bool(variances.isfinite().all())):
        return variances.clamp(min=_EXACT)
    return None


def assembled(
    X: Tensor, Y: Tensor, fitted: Sequence[Hyperparameters], *, matern: bool
) -> SingleTaskGP:
    """A botorch model with hyperparameters that are known; its noise is fixed at theirs."""
    m, d = Y.shape[1], X.shape[1]
    batch = torch.Size([m]) if m > 1 else torch.Size()
    model = SingleTaskGP(
        X,
        Y,
        train_Yvar=torch.stack([h.noise for h in fitted], dim=-1),  # n x m
        covar_module=get_covar_module_with_dim_scaled_prior(
            ard_num_dims=d, batch_shape=batch, use_rbf_kernel=not matern
        ),
        outcome_transform=None,
    )
    lengthscales = torch.stack([h.lengthscales for h in fitted]).view(*batch, 1, d)  # (m x) 1 x d
    model.covar_module.lengthscale = lengthscales
    means = torch.tensor([h.mean for h in fitted], dtype=torch.double)
    model.mean_module.initialize(constant=means.view(batch) if m > 1 else means[0])
    return model.eval()

"""MM-MO's rounds as its authors' code runs them (Li et al. 2024), with its units clash or without.

Rule: nothing is improved here but, where it is asked for, the reference point's units; what is
improved is `mm_mo`'s default.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from botorch.exceptions.warnings import NumericsWarning
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.sampling.normal import SobolQMCNormalSampler
from numpy.random import Generator
from torch import Tensor

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers._children import bred
from mergekit_mo.optimizers._fit import Kernel, fit
from mergekit_mo.optimizers._one_by_one import OneByOne
from mergekit_mo.optimizers._surrogate import assembled
from mergekit_mo.pareto import Matrix
from mergekit_mo.space import Space

INITIAL = 10
PROPOSED = 10
EVALUATED = 5

_SAMPLES, _RESTARTS, _RAW, _ITERATIONS = 128, 10, 512, 200
_MARGIN = 0.001  # values of exactly 0 or 1 are moved off the edge

Unit = tuple[float, ...]


@dataclass(frozen=True)
class Round:
    """One round's rules.

    Attributes:
        mended: whether the reference point is put into the surrogate's units.
        weak_to_strong: whether candidates are crossed with elites.
        fisher: whether those with the least Fisher information are kept; else the first ones.
        elites: how many configurations are strong.
        scale: the weight of a difference of elites, F.
        crossover: the probability of a coordinate to come from the mutant, CR.
        fit_iterations: the most that fitting an objective's hyperparameters may take.
    """

    mended: bool
    weak_to_strong: bool
    fisher: bool
    elites: int
    scale: float
    crossover: float
    fit_iterations: int

    def propose(self, space: Space, archive: Archive, rng: Generator) -> list[Unit]:
        """The round's candidates, the least known first, `PROPOSED` at most.

        It depends on torch's random state, see `private_randomness`.
        """
        X, Y, first = _known(archive)
        if len(X) < 2:
            return []
        reference = _reference(Y[:first] if first else Y)
        centre, width = Y.mean(axis=0), Y.std(axis=0, ddof=1)  # m, m
        width = np.where(width > 0, width, 1.0)
        model = self._model(X, (Y - centre) / width)
        point = (reference - centre) / width if self.mended else reference
        points = _maximised(model, torch.tensor(X), torch.tensor(point), int(rng.integers(2**31)))
        if self.weak_to_strong and len(X) >= 3:
            sums = Y[:, : len(archive.goals)].sum(axis=1)  # n, the auxiliary ones left out
            strong = X[np.argsort(-sums, kind="stable")[: self.elites]]
            points = bred(points, strong, rng, self.scale, self.crossover)
        if self.fisher:
            variances = model.posterior(torch.tensor(points)).variance  # k x m
            information = (1 / variances).sum(dim=-1)  # k
            points = points[information.argsort(stable=True).numpy()]
        return list(dict.fromkeys(space.snap(p) for p in np.clip(points, _MARGIN, 1 - _MARGIN)))

    def _model(self, X: Matrix, Y: Matrix) -> SingleTaskGP:
        """A process for each of the z-scored objectives."""
        points, scores = torch.tensor(X), torch.tensor(Y)
        kernel = Kernel((1.0,) * X.shape[1])
        fits = [fit(points, column, kernel, self.fit_iterations) for column in scores.T]
        return assembled(points, scores, fits, matern=False)


def _known(archive: Archive) -> tuple[Matrix, Matrix, int]:
    """Finished points, their raw scores, all maximised, and how many are of the initial design.

    Accuracies are in percent, as the authors' are.
    """
    goals = (*archive.goals, *archive.auxiliary)
    done = [t for t in archive.candidates if t.status == "done" and t.unit]
    rows = [[g.sign * t.scores[g.name].value for g in goals] for t in done]
    Y = np.array(rows, dtype=float).reshape(len(done), len(goals))
    tasks = np.arange(len(goals)) < len(archive.goals)
    percent = tasks & np.all(np.abs(Y) <= 1, axis=0)
    initial = {t.number for t in archive.candidates[:INITIAL]}
    X = np.array([t.unit for t in done], dtype=float)  # n x d
    return X, Y * np.where(percent, 100.0, 1.0), sum(t.number in initial for t in done)


def _reference(Y: Matrix) -> Matrix:
    """A tenth below the worst raw scores of the initial design."""
    worst = Y.min(axis=0)  # m
    found: Matrix = np.where(worst > 0, 0.9 * worst, 1.1 * worst)
    return found


def _maximised(model: SingleTaskGP, X: Tensor, reference: Tensor, seed: int) -> Matrix:
    """`PROPOSED` points, one after the other, of the largest expected hypervolume improvement."""
    with torch.no_grad():
        means = model.posterior(X).mean  # n x m
    sampler = SobolQMCNormalSampler(torch.Size([_SAMPLES]), seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericsWarning)  # that its logarithm would be better
        acquisition = OneByOne(model, reference, means, sampler)
        points, _ = optimize_acqf(
            acquisition,
            bounds=torch.tensor([[0.0], [1.0]], dtype=torch.double).expand(2, X.shape[1]),
            q=PROPOSED,
            num_restarts=_RESTARTS,
            raw_samples=_RAW,
            options={"batch_limit": _RESTARTS, "init_batch_limit": _RAW, "maxiter": _ITERATIONS},
            sequential=True,
        )
    found: list[list[float]] = points.tolist()
    return np.array(found)

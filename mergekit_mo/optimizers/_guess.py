"""A cheap guess of what a path would score: a Gaussian process for each objective.

Rule: two paths are alike where they take the same layers from the same members and join them alike;
every kernel here is a sum or product of such counts, so that paths of any length can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from mergekit_mo.layers import Layers, Path, Step
from mergekit_mo.optimizers._lessons import Lessons
from mergekit_mo.optimizers._paths import Point
from mergekit_mo.optimizers._warp import Warp, warps
from mergekit_mo.pareto import Matrix

_MOST = 400  # trials that are learnt from: the latest, and the best
_ITERATIONS = 8  # of fitting an objective's hyperparameters
_JITTER = 1e-6
_STRENGTHS = (1.0, 10.0)  # of warps
_EVIDENCE = 3.0  # nats that a warp has to gain, with the hyperparameters that are expected
_NOISE, _NOISE_SPREAD = math.log(1e-3), 2.0  # expected logarithm of the noise variance, and its sd
_NEAR = 0.4  # expected lengthscale of holes, in the unit cube

Parameters = dict[str, Tensor]

NUMERICAL_ERROR: type[RuntimeError] = torch.linalg.LinAlgError  # type: ignore[attr-defined]
"""What linear algebra raises where trials are too alike."""


class Likeness:
    """How alike points are, part by part.

    Args:
        layers: the paths; None where layers are not searched.
        points: those that are learnt from.
    """

    def __init__(self, layers: Layers | None, points: Sequence[Point]) -> None:
        self._layers = layers
        self._joins: dict[tuple[Step, Step], int] = {}
        if layers:
            for _, path in points:
                for pair in _pairs(path):
                    self._joins.setdefault(pair, len(self._joins))
        self.depth = max(layers.depths) if layers else 0
        self.points = self.features(points)

    def features(self, points: Sequence[Point]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Layers taken (`n x K x L`), joins (`n x J`), joins never seen (`n`), holes (`n x d`)."""
        n = len(points)
        members = len(self._layers.pool) if self._layers else 0
        counts = np.zeros((n, members, self.depth))
        joins = np.zeros((n, len(self._joins)))
        unseen = np.zeros(n)
        for i, (_, path) in enumerate(points):
            for member, layer in path or ():
                counts[i, member, layer] += 1
            for pair in _pairs(path):
                if pair in self._joins:
                    joins[i, self._joins[pair]] += 1
                else:
                    unseen[i] += 1
        units = np.array([unit for unit, _ in points], dtype=float).reshape(n, -1)
        return tuple(map(torch.from_numpy, (counts, joins, unseen, units)))  # type: ignore[return-value]

    def parts(self, points: Sequence[Point] | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Points beside those that are learnt from; these beside themselves by default.

        Returns:
            Layers in common and layers that differ, `p x n x L` each; joins that differ, `p x n`;
            squared distances of holes, `p x n`.
        """
        counts, joins, unseen, units = self.points if points is None else self.features(points)
        known, known_joins, _, known_units = self.points
        shared = torch.einsum("pml,nml->pnl", counts, known)
        by_layer = [torch.cdist(counts[..., i], known[..., i], p=1) for i in range(self.depth)]
        nothing = torch.zeros((len(counts), len(known), 0), dtype=torch.double)
        differing = torch.stack(by_layer, dim=-1) if by_layer else nothing
        joined = torch.cdist(joins, known_joins, p=1) + unseen[:, None]
        apart = torch.cdist(units, known_units) ** 2 if units.shape[1] else torch.zeros_like(joined)
        return shared, differing / 2, joined / 2, apart

    def itself(self, points: Sequence[Point]) -> Tensor:
        """Of each point, the layers that it has in common with itself, `p x L`."""
        counts = self.features(points)[0]
        return (counts**2).sum(dim=1)


def _pairs(path: Path | None) -> list[tuple[Step, Step]]:
    return list(pairwise(path)) if path else []


@dataclass(frozen=True)
class _Fitted:
    """One objective's process."""

    parameters: Parameters
    warp: Warp
    centre: float
    width: float
    factor: Tensor
    weights: Tensor


class Guess:
    """What finished candidates say of others.

    Args:
        layers: the paths; None where layers are not searched.
        known: the trials, two or more.
    """

    def __init__(self, layers: Layers | None, known: Lessons) -> None:
        rows = _kept(known)
        self._points: list[Point] = [(known.units[i], known.paths[i]) for i in rows]
        self._likeness = Likeness(layers, self._points)
        self._layers = layers
        parts = self._likeness.parts()
        self._fits = [_fitted(parts, torch.from_numpy(y)) for y in _tamed(known.Y[rows]).T.copy()]

    def predict(self, points: Sequence[Point]) -> tuple[Tensor, Tensor]:
        """Means and standard deviations in the processes' own units, `p x m` each."""
        with torch.no_grad():
            parts, own = self._likeness.parts(points), self._likeness.itself(points)
            columns = [_predicted(fit, parts, own) for fit in self._fits]
        means, deviations = zip(*columns, strict=True)
        return torch.stack(means, dim=-1), torch.stack(deviations, dim=-1)

    def scores(self, points: Sequence[Point], optimism: float = 0.0) -> Matrix:
        """Scores that are expected, `p x m`, or so many standard deviations better ones."""
        means, deviations = self.predict(points)
        return self._back(means + optimism * deviations)

    def samples(self, points: Sequence[Point], normals: Matrix) -> Matrix:
        """Scores that may be, `s x p x m`.

        Args:
            points: `p` of them.
            normals: `s x m` standard normal numbers, the same for all points.
        """
        means, deviations = self.predict(points)
        drawn = means[None] + deviations[None] * torch.from_numpy(normals)[:, None]
        return self._back(drawn)

    def believing(self, point: Point) -> None:
        """Learns a point as if it had scored what is expected: the next one is chosen elsewhere."""
        means, _ = self.predict([point])
        fits = self._fits
        outputs = [
            torch.cat([fit.factor @ (fit.factor.T @ fit.weights), mean])
            for fit, mean in zip(fits, means[0].unbind(), strict=True)
            for mean in [mean[None]]
        ]
        self._points.append(point)
        self._likeness = Likeness(self._layers, self._points)
        parts = self._likeness.parts()
        self._fits = [_assembled(parts, y, fit) for fit, y in zip(fits, outputs, strict=True)]

    def _back(self, outputs: Tensor) -> Matrix:
        columns = zip(self._fits, outputs.unbind(-1), strict=True)
        back = [fit.warp.back(column) * fit.width + fit.centre for fit, column in columns]
        return torch.stack(back, dim=-1).numpy()


def _kept(known: Lessons) -> list[int]:
    """Rows that are learnt from."""
    if known.n <= _MOST:
        return list(range(known.n))
    best = np.argsort(-known.worth(np.full((1, known.goals), 1 / known.goals))[0], kind="stable")
    half = _MOST // 2
    return sorted({*range(known.n - half, known.n), *best[:half].tolist()})


def _tamed(Y: Matrix) -> Matrix:
    """Lifts far outliers on the worse side to Tukey's outer fence: ruined is ruined."""
    low, high = np.quantile(Y, [0.25, 0.75], axis=0)  # m, m
    return np.where(high > low, np.maximum(Y, low - 3 * (high - low)), Y)


def _fitted(parts: Sequence[Tensor], y: Tensor) -> _Fitted:
    """A process with the warp that makes its trials most probable, before it has learnt."""
    centre, width = float(y.mean()), float(y.std())
    if not width > 1e-9:
        width = 1.0
    standard = (y - centre) / width
    start, gains = _start(parts), {}
    with torch.no_grad():
        for warp in warps(standard, _STRENGTHS):
            # The density of scores is that of the outputs times the warp's slope.
            slope = float(warp.slope(standard).log().sum())
            likelihood = float(_likelihood(parts, warp.there(standard), start))
            gains[warp] = likelihood + slope - (_EVIDENCE if warp.strength else 0.0)
    best = max(gains, key=lambda warp: gains[warp])
    outputs = best.there(standard)
    bare = _Fitted(_learnt(parts, outputs), best, centre, width, y, y)
    return _assembled(parts, outputs, bare)


def _start(parts: Sequence[Tensor]) -> Parameters:
    """Logarithms: each layer's weight, that of joins, the two shares, holes' scale, noise."""
    depth = parts[0].shape[-1]
    start = {
        "layers": torch.full((depth,), math.log(2 / max(1, depth))),
        "joins": torch.tensor(math.log(0.5 / max(1, depth))),
        "sum": torch.tensor(math.log(0.5)),
        "product": torch.tensor(math.log(0.5)),
        "holes": torch.tensor(math.log(_NEAR)),
        "noise": torch.tensor(_NOISE),
    }
    return {name: value.double() for name, value in start.items()}


def _kernel(parts: Sequence[Tensor], at: Parameters) -> Tensor:
    """Covariances, `p x n`: a weighted sum of equal layers, and a product over all that differs."""
    shared, differing, joined, apart = parts
    weights = at["layers"].exp()  # L
    added = shared @ (weights / weights.sum()) if len(weights) else 1.0
    far = differing @ weights + joined * at["joins"].exp()
    near = torch.exp(-0.5 * apart / at["holes"].exp() ** 2)
    mixed: Tensor = at["sum"].exp() * added + at["product"].exp() * torch.exp(-far)
    return mixed * near


def _learnt(parts: Sequence[Tensor], y: Tensor) -> Parameters:
    """The most probable hyperparameters."""
    start = _start(parts)
    free = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.LBFGS(
        list(free.values()),
        max_iter=_ITERATIONS,
        max_eval=2 * _ITERATIONS,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -_likelihood(parts, y, free) + sum(
            0.5 * (((value - start[name]) / (_NOISE_SPREAD if name == "noise" else 1.0)) ** 2).sum()
            for name, value in free.items()
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    try:
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    except NUMERICAL_ERROR:
        free = start
    found = {name: value.detach() for name, value in free.items()}
    whole = all(torch.isfinite(value).all() for value in found.values())
    return found if whole else start


def _factor(parts: Sequence[Tensor], at: Parameters) -> Tensor:
    covariance = _kernel(parts, at)
    noise = at["noise"].exp() + _JITTER * (1 + covariance.diagonal().mean())
    factor: Tensor = torch.linalg.cholesky(covariance + noise * torch.eye(len(covariance)))
    return factor


def _likelihood(parts: Sequence[Tensor], y: Tensor, at: Parameters) -> Tensor:
    factor = _factor(parts, at)
    white = torch.linalg.solve_triangular(factor, y[:, None], upper=False)[:, 0]
    found: Tensor = -0.5 * (white**2).sum() - factor.diagonal().log().sum()
    return found


def _assembled(parts: Sequence[Tensor], outputs: Tensor, like: _Fitted) -> _Fitted:
    """The process of some outputs, with another one's hyperparameters."""
    with torch.no_grad():
        factor = _factor(parts, like.parameters)
        weights = torch.cholesky_solve(outputs[:, None], factor)[:, 0]
    return _Fitted(like.parameters, like.warp, like.centre, like.width, factor, weights)


def _predicted(fit: _Fitted, parts: Sequence[Tensor], own: Tensor) -> tuple[Tensor, Tensor]:
    across = _kernel(parts, fit.parameters)  # p x n
    weights = fit.parameters["layers"].exp()
    added = own @ (weights / weights.sum()) if len(weights) else torch.ones(len(across)).double()
    prior = fit.parameters["sum"].exp() * added + fit.parameters["product"].exp()  # p
    white = torch.linalg.solve_triangular(fit.factor, across.T, upper=False)  # n x p
    variance = (prior - (white**2).sum(dim=0)).clamp(min=1e-12)
    return across @ fit.weights, variance.sqrt()

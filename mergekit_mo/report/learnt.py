"""What a surrogate learnt of a run: its leave-one-out check, and which holes mattered.

Rule: importance is read off the surrogate, so it is worth no more than the check says; both are
made together, goal by goal, and shown together.

Importance is the total-order Sobol index of the posterior mean over the whole box (Jansen's
estimator, as in Saltelli et al. 2010, table 2): the share of the model's variance that a hole, or
all holes of a group together, take part in. An interaction counts for every partner. The check uses
the closed form of Rasmussen and Williams 2006, equations 5.10 to 5.12, at hyperparameters that were
fitted with the trial in question, so it is a little kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mergekit_mo.archive import Archive, Data
from mergekit_mo.pareto import Matrix, nondominated
from mergekit_mo.report.columns import Column, read_columns
from mergekit_mo.scales import Scale

if TYPE_CHECKING:
    from mergekit_mo.optimizers._surrogate import Surrogate

LEAST = 6
"""Trials below which nothing is said."""

MOST = 200
"""Trials that are learnt from: an exact process takes cubic time."""

Function = Callable[[Matrix], Matrix]
"""`k x d` points to `k` values."""

_ITERATIONS = 50
_SAMPLES = 512
_BATCH = 8192
_INTERVAL = 1.96  # standard deviations, 95 %


@dataclass(frozen=True)
class Lesson:
    """What there is to learn from, free of the archive's file.

    Attributes:
        finished: the numbers of the scored candidates, in the order of the data's rows.
        data: theirs.
        scales: of the goals.
        columns: of the space.
    """

    finished: tuple[int, ...]
    data: Data
    scales: tuple[Scale, ...]
    columns: tuple[Column, ...]


def lesson_of(archive: Archive) -> Lesson:
    """What an archive has to teach."""
    finished = tuple(t.number for t in archive.candidates if t.status == "done")
    return Lesson(finished, archive.data(), archive.scales, read_columns(archive)[0])


def learnt_facts(lesson: Lesson) -> dict[str, Any]:
    """Fits a surrogate to every goal of a run; takes seconds, and loads torch.

    Returns:
        `finished`, how many trials there were; `numbers`, those that were learnt from; `goals`, for
        each goal either `why` nothing can be said, or `check` and `importance`.
    """
    count, scales = len(lesson.finished), lesson.scales
    if count < LEAST:
        why = f"too few trials to learn from: {count}, and it takes {LEAST}"
        return {"finished": count, "numbers": [], "goals": [{"why": why}] * len(scales)}
    rows = chosen_rows(lesson.data.Y)
    goals = [_goal(lesson.data, rows, i, scale, lesson.columns) for i, scale in enumerate(scales)]
    numbers = [lesson.finished[int(row)] for row in rows]
    return {"finished": count, "numbers": numbers, "goals": goals}


def chosen_rows(Y: Matrix, most: int = MOST) -> np.ndarray:
    """Which of `n` trials are learnt from: all, or the front and an even choice of the others."""
    n = len(Y)
    if n <= most:
        return np.arange(n)
    front = np.flatnonzero(nondominated(Y))[:most]
    others = np.setdiff1d(np.arange(n), front)
    spread = np.linspace(0, len(others) - 1, most - len(front)).round().astype(int)
    return np.sort(np.concatenate([front, others[np.unique(spread)]]))


def _goal(
    data: Data, rows: np.ndarray, i: int, scale: Scale, columns: Sequence[Column]
) -> dict[str, Any]:
    """What can be said of one goal."""
    from mergekit_mo.optimizers import _surrogate as surrogates

    own = replace(
        data,
        X=data.X[rows],
        Y=data.Y[rows][:, [i]],
        Yvar=data.Yvar[rows][:, [i]],
        feasible=data.feasible[rows],
        partial=data.partial[rows] if len(data.partial) else data.partial,
    )
    with surrogates.private_randomness(0):
        try:
            surrogate = surrogates.learn(own, [scale], surrogates.Learning(_ITERATIONS))
            if surrogate is None:
                return {"why": "every trial has the same score"}
            process = process_of(surrogate)
            check = _check(process, own.Y[:, 0], scale)
            importance = _importance(process.predict, columns)
        except (*surrogates.NUMERICAL_ERRORS, RuntimeError, ValueError) as error:
            return {"why": f"the surrogate could not be fitted ({type(error).__name__})"}
    return {"check": check, "importance": importance}


def _check(process: Process, Y: Matrix, scale: Scale) -> dict[str, Any]:
    """Each trial as the others predict it, in the goal's own units where these can be told."""
    z = process.y
    mean, sd = process.leave_one_out()
    explained = 1 - float(((z - mean) ** 2).sum() / ((z - z.mean()) ** 2).sum())
    inside = int((np.abs(z - mean) <= _INTERVAL * sd).sum())
    centre, width = _units(z, Y)
    sign = scale.goal.sign * scale.width
    start = scale.worst + sign * centre
    rows = [
        [start + sign * width * m, abs(sign) * width * _INTERVAL * s, start + sign * width * o]
        for m, s, o in zip(mean.tolist(), sd.tolist(), z.tolist(), strict=True)
    ]
    return {
        "rows": [[float(f"{v:.6g}") for v in row] for row in rows],
        "inside": inside,
        "explained": explained,
    }


def _units(z: Matrix, Y: Matrix) -> tuple[float, float]:
    """Centre and width of the surrogate's standard deviations on the anchored scale.

    The better half of the scores is never tamed, so two of it tell.
    """
    half = np.flatnonzero(np.median(Y) <= Y)
    high, low = half[np.argmax(Y[half])], half[np.argmin(Y[half])]
    if z[high] - z[low] < 1e-9:  # half of the trials are equal: the best against the worst
        low = int(np.argmin(Y))
    width = float((Y[high] - Y[low]) / (z[high] - z[low]))
    return float(Y[high] - width * z[high]), width


@dataclass(frozen=True)
class Process:
    """The Gaussian process of one goal, as plain arrays.

    Attributes:
        y: `n` scores, in the surrogate's standard deviations.
        constant: `n`, the prior mean.
        inverse: `n x n`, of the scores' covariance, noise included.
        kernel: the covariance of `k x d` points with those that were learnt from, `k x n`.
    """

    y: Matrix
    constant: Matrix
    inverse: Matrix
    kernel: Function

    @property
    def weights(self) -> Matrix:
        """What each score adds to a posterior mean, `n`."""
        weights: Matrix = self.inverse @ (self.y - self.constant)
        return weights

    def leave_one_out(self) -> tuple[Matrix, Matrix]:
        """Means and standard deviations of each score by the others, noise included, `n` each."""
        precision = np.diag(self.inverse)  # n
        return self.y - self.weights / precision, 1 / np.sqrt(precision)

    def predict(self, X: Matrix) -> Matrix:
        """The posterior mean at `k x d` points; botorch's own makes their covariance as well."""
        mean: Matrix = self.constant[0] + self.kernel(X) @ self.weights
        return mean


def process_of(surrogate: Surrogate) -> Process:
    """The process of a surrogate of one goal."""
    import torch

    model, n = surrogate.model, len(surrogate.X)

    def kernel(X: Matrix) -> Matrix:
        with torch.no_grad():
            between = model.covar_module(torch.tensor(X, dtype=torch.double), surrogate.X)
        dense: Matrix = between.to_dense().reshape(len(X), n).numpy()
        return dense

    model.train()  # its prior, not its posterior
    try:
        with torch.no_grad():
            prior = model.likelihood(model(surrogate.X))
            K = prior.covariance_matrix.reshape(n, n).numpy()
            constant = prior.mean.reshape(n).numpy()
    finally:
        model.eval()
    return Process(surrogate.Y[:, 0].numpy(), constant, np.linalg.inv(K), kernel)


def _importance(predict: Function, columns: Sequence[Column]) -> dict[str, Any] | None:
    """Total-order indices by hole and by group; None where the model is flat."""
    kinds: dict[str, dict[str, list[int]]] = {}
    for i, column in enumerate(columns):
        for kind, group in column.groups.items():
            kinds.setdefault(kind, {}).setdefault(group, []).append(i)
    kinds = {kind: groups for kind, groups in kinds.items() if len(groups) > 1}
    sets = [[i] for i in range(len(columns))]
    sets += [members for groups in kinds.values() for members in groups.values()]
    indices = total_indices(predict, sets, [column.count for column in columns])
    if indices is None:
        return None
    values = iter(float(f"{v:.4g}") for v in indices)
    holes = [next(values) for _ in columns]
    groups = {kind: {name: next(values) for name in own} for kind, own in kinds.items()}
    return {"holes": holes, "groups": groups}


def total_indices(
    predict: Function,
    sets: Sequence[Sequence[int]],
    counts: Sequence[int],
    samples: int = _SAMPLES,
) -> Matrix | None:
    """Total-order Sobol indices of sets of coordinates, over the unit cube.

    Args:
        predict: the function.
        sets: coordinates that change together.
        counts: for each of the `d` coordinates its number of choices, 0 for a number.
        samples: a power of two.

    Returns:
        One index a set, 0 or more; None where the function does not vary.
    """
    from scipy.stats import qmc

    d = len(counts)
    draws = qmc.Sobol(2 * d, rng=np.random.default_rng(0)).random(samples)
    A, B = _settled(draws[:, :d], counts), _settled(draws[:, d:], counts)  # samples x d, twice
    base, other = predict(A), predict(B)  # samples, samples
    variance = float(np.concatenate([base, other]).var())
    if variance < 1e-12:
        return None
    indices = []
    for step in range(0, len(sets), max(1, _BATCH // samples)):
        batch = sets[step : step + max(1, _BATCH // samples)]
        mixed = np.tile(A, (len(batch), 1, 1))  # batch x samples x d
        for k, members in enumerate(batch):
            mixed[k][:, list(members)] = B[:, list(members)]
        changed = predict(mixed.reshape(-1, d)).reshape(len(batch), samples)
        indices.append(((base - changed) ** 2).mean(axis=1) / (2 * variance))
    return np.concatenate(indices)


def _settled(U: Matrix, counts: Sequence[int]) -> Matrix:
    """Points whose choices stand in the middle of their stretches, as candidates have them."""
    settled = U.copy()
    for i, count in enumerate(counts):
        if count:
            settled[:, i] = (np.floor(U[:, i] * count) + 0.5) / count
    return settled

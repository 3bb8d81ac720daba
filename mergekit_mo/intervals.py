"""Intervals about scores: of one score, and of several that are to hold all at once.

Rule: nobody is told a width that was not measured to cover; `benchmarks/coverage.py` measures it.
A share of right answers has an interval that respects 0 and 1, any other mean Student's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri, stdtrit

from mergekit_mo.pareto import Matrix
from mergekit_mo.trial import Measurement

LEVEL = 0.95
DRAWS = 2000
"""Resamples of items behind an interval for several scores at once."""

_SEED = 0  # the same table, however often it is asked for
_BATCH = 250  # resamples that are in memory together
_EXACT = 1e-9


@dataclass(frozen=True)
class Interval:
    """The ends of an interval."""

    low: float
    high: float

    def plain(self) -> list[float]:
        """As JSON."""
        return [self.low, self.high]


def critical(level: float = LEVEL) -> float:
    """The normal quantile of a two-sided interval: 1.96 for 95 %."""
    return float(ndtri((1 + level) / 2))


def interval(measured: Measurement, quantile: float | None = None) -> Interval | None:
    """The interval of a score over its items.

    Args:
        measured: the score.
        quantile: the critical value that a normal score would have; None for that of 95 %.

    Returns:
        For a share of right answers Jeffreys' interval (Brown, Cai and DasGupta 2001): its tails
        are even, where Wilson's err on one side near 0 and 1. For any other mean, and for ratios by
        their jackknifed error, Student's. None where the score is exact or its error unknown.
    """
    z = critical() if quantile is None else quantile
    value, error, n = measured.value, measured.stderr, measured.n
    if error is None or (error == 0 and n is None):
        return None
    if n is not None and is_share(measured):
        return _jeffreys(round(value * n), n, z)
    if error == 0:
        return None
    half = error * student(z, None if n is None else n - 1)
    return Interval(value - half, value + half)


def is_share(measured: Measurement) -> bool:
    """Whether a score is the mean of answers that are all right or all wrong.

    Values between 0 and 1 have the error of such a mean only where all of them are 0 or 1.
    """
    p, error, n = measured.value, measured.stderr, measured.n
    if error is None or n is None or n < 2 or not 0 <= p <= 1:
        return False
    whole = abs(p * n - round(p * n)) < 1e-6
    return whole and math.isclose(error**2, p * (1 - p) / (n - 1), rel_tol=1e-6, abs_tol=1e-12)


def student(z: float, df: float | None) -> float:
    """Student's quantile with the tail of the normal one `z`; `z` itself without degrees."""
    if df is None or df < 1:
        return z
    return float(-stdtrit(df, ndtr(-z)))


def difference(values: NDArray[np.float64], z: float) -> Interval:
    """The interval of a mean of paired differences between two trials' items.

    Args:
        values: `n` differences.
        z: the normal critical value.

    Returns:
        Student's; between right and wrong answers half an item is added to each of the four ways in
        which two can answer (Agresti and Min 2005), without which a few items would be certainty.
    """
    n = len(values)
    if np.isin(values, (-1.0, 0.0, 1.0)).all():
        total, apart = float(values.sum()), float(np.abs(values).sum()) + 1
        mean = total / (n + 2)
        half = student(z, n - 1) * math.sqrt(max(apart - total * mean, 0.0)) / (n + 2)
        return Interval(mean - half, mean + half)
    mean, error = float(values.mean()), float(values.std(ddof=1) / math.sqrt(n))
    half = student(z, n - 1) * error
    return Interval(mean - half, mean + half)


def joint_critical(
    blocks: Sequence[Matrix], alone: int = 0, *, level: float = LEVEL, draws: int = DRAWS
) -> float:
    """The critical value at which several intervals hold all at once: of the largest error of all.

    Items are resampled for all scores together, since what is hard for one is hard for another;
    the fewer separate errors there are in truth, the narrower this gets.

    Args:
        blocks: of each task, `k x n` item values of its `k` scores or differences.
        alone: scores without item values, of which nothing is assumed but that they are others.
        level: with which all hold.
        draws: resamples.

    Returns:
        Not below the quantile of one, and not above that of independent scores (Sidak 1967), with
        Student's tails.
    """
    kept = [_standard(block) for block in blocks]
    kept = [block for block in kept if len(block)]
    count = sum(map(len, kept)) + alone
    if count <= 1:
        return critical(level)
    highest = float(ndtri(0.5 + 0.5 * level ** (1 / count)))
    rng = np.random.default_rng(_SEED)
    largest = np.abs(rng.standard_normal((draws, alone))).max(axis=1, initial=0.0)
    for block in kept:
        largest = np.maximum(largest, _largest(block, draws, rng))
    found = min(max(float(np.quantile(largest, level)), critical(level)), highest)
    # Few items, and right answers above all, have longer tails than a resample can show.
    return float(student(found, min((b.shape[1] for b in kept), default=10**6) - 1))


def _standard(block: Matrix) -> Matrix:
    """Rows that vary, each with mean 0 and the mean's error 1."""
    block = np.asarray(block, dtype=float)
    rest = block - block.mean(axis=1, keepdims=True)
    spread = np.sqrt((rest**2).sum(axis=1))  # k
    varied = spread > _EXACT * np.maximum(1.0, np.abs(block).max(axis=1, initial=0.0))
    found: Matrix = rest[varied] / spread[varied, None]
    return found


def _largest(block: Matrix, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Of each resample, the largest error of `k x n` standardised item values."""
    n = block.shape[1]
    found = []
    for at in range(0, draws, _BATCH):
        size = min(_BATCH, draws - at)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        found.append(np.abs(weights @ block.T).max(axis=1))
    return np.concatenate(found)


def _jeffreys(right: int, n: int, z: float) -> Interval:
    """The equal-tailed interval of a share under Jeffreys' prior."""
    tail = float(ndtr(-z))
    low = 0.0 if right == 0 else float(betaincinv(right + 0.5, n - right + 0.5, tail))
    high = 1.0 if right == n else float(betaincinv(right + 0.5, n - right + 0.5, 1 - tail))
    return Interval(low, high)


def text(measured: Measurement | None, quantile: float | None = None) -> str:
    """A score with its interval, for people: `0.6125 [0.571, 0.652]`; a dash for none."""
    if measured is None:
        return "-"
    large = abs(measured.value) >= 1e4
    value = f"{measured.value:.5g}" if large else f"{measured.value:.4f}"
    found = interval(measured, quantile)
    return value if found is None else f"{value} {ends(found)}"


def with_ends(scores: Mapping[str, Measurement]) -> dict[str, dict[str, Any]]:
    """Scores by goal as plain JSON, each with the ends of its interval; null where it has none."""
    both = {goal: (m, interval(m)) for goal, m in scores.items()}
    return {
        goal: {**vars(m), "low": found and found.low, "high": found and found.high}
        for goal, (m, found) in both.items()
    }


def ends(found: Interval) -> str:
    """An interval for people, in two digits of its width or more: `[0.571, 0.652]`."""
    digits = 1 - math.floor(math.log10(max(found.high - found.low, 1e-12) / 2))
    digits = max(0, min(6, digits))
    return f"[{found.low:.{digits}f}, {found.high:.{digits}f}]"

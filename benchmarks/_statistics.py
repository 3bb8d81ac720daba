"""Averages of runs with their uncertainty: bootstrap intervals, and evaluations to a target.

Rule: seeds are resampled within each problem, pairs stay pairs, and the resampling is seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DRAWS = 10_000
_LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean with the ends of its 95 % interval, from `n` values."""

    value: float
    low: float
    high: float
    n: int


def bootstrap(groups: Sequence[Sequence[float]], seed: int = 0) -> Estimate:
    """The mean of the groups' means, with a percentile interval (Efron 1979).

    Args:
        groups: the values of each problem, one for each seed; resampled within the group.
        seed: of the resampling.

    Raises:
        ValueError: a group is empty.
    """
    if not groups or any(len(group) == 0 for group in groups):
        raise ValueError("there is no mean of nothing")
    rng = np.random.default_rng(seed)
    totals = np.zeros(_DRAWS)
    for group in groups:
        values = np.asarray(group, dtype=float)
        drawn = rng.integers(len(values), size=(_DRAWS, len(values)))
        totals += values[drawn].mean(axis=1) / len(groups)
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(totals, [tail, 1 - tail])
    value = float(np.mean([np.mean(group) for group in groups]))
    return Estimate(value, float(low), float(high), sum(map(len, groups)))


def evaluations_to(trace: Sequence[float], target: float) -> int:
    """After how many evaluations a trace reaches a target; all of them where it never does."""
    return next((i for i, v in enumerate(trace, 1) if v >= target), len(trace))


def quantiles(traces: Sequence[Sequence[float]], at: Sequence[float]) -> Floats:
    """Quantiles over runs after each evaluation, `len(at) x budget`; a short trace stays put."""
    longest = max(map(len, traces))
    padded = [[*trace, *[trace[-1]] * (longest - len(trace))] for trace in traces]
    return np.asarray(np.quantile(np.array(padded, dtype=float), list(at), axis=0))


def paired(
    ours: dict[int, float],
    theirs: dict[int, float],
    difference: Callable[[float, float], float] = lambda a, b: a - b,
) -> list[float]:
    """A figure for each seed that both have."""
    return [difference(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]

"""Scores item by item: what each item adds to a score, and what is left when all trials' is known.

Rule: an item's value is such that a score is the mean of its items' values, exactly for means and
to first order for ratios; a metric of which that cannot be said has no item values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mergekit_mo.archive import Archive
from mergekit_mo.pareto import Matrix
from mergekit_mo.problems import UserError
from mergekit_mo.trial import Split, Trial

_RATIOS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "bits_per_byte": (lambda r: -r / math.log(2), lambda _: -1 / math.log(2)),
    "byte_perplexity": (lambda r: math.exp(-r), lambda r: -math.exp(-r)),
    "word_perplexity": (lambda r: math.exp(-r), lambda r: -math.exp(-r)),
    "kl": (lambda r: r, lambda _: 1.0),
}
"""Functions of a ratio of sums over items, with their derivatives, by metric."""

_PERPLEXITY = "perplexity"  # exp(-mean)


def item_values(
    archive: Archive, trial: Trial, goal: str, split: Split = "search"
) -> NDArray[np.float64] | None:
    """The `n` values, in the goal's units, that a trial's score is the mean of.

    Ratios of sums (bits per byte) are linearised at their value: the item's share of the
    numerator's excess over its share of the denominator. So is the exponential of a mean
    (perplexity). None where there are no such values.
    """
    measured = (archive.fact("measures") or {}).get(goal)
    scores = trial.scores if split == "search" else trial.holdout
    if measured is None or goal not in scores:
        return None
    task, metric = measured
    try:
        values = archive.answers(trial.number, split, task)["values"][metric]
        array = np.asarray(values, dtype=float)
    except (UserError, KeyError, ValueError, TypeError):
        return None
    value, name = scores[goal].value, metric.partition(",")[0]
    if array.ndim == 2 and array.shape[1] == 2 and name in _RATIOS:
        array = _linearised(array, *_RATIOS[name])
    elif array.ndim == 1 and name == _PERPLEXITY:
        array = value * (1 + array.mean() - array)
    if array.ndim != 1 or len(array) < 2:
        return None
    return array if math.isclose(float(array.mean()), value, rel_tol=1e-6) else None


def _linearised(
    pairs: Matrix, function: Callable[[float], float], slope: Callable[[float], float]
) -> NDArray[np.float64]:
    """Item values of a function of `sum(first) / sum(second)`, from `n x 2` pairs."""
    over, under = pairs.T
    ratio = float(over.sum() / under.sum())
    found: NDArray[np.float64] = (
        function(ratio) + slope(ratio) * (over - ratio * under) / under.mean()
    )
    return found


def residual_variances(archive: Archive, numbers: Sequence[int], goals: Sequence[str]) -> Matrix:
    """Variances of trials' scores after the items' own difficulty is taken out.

    All trials answer the same items, so what is hard for everybody moves all scores together and
    is no noise among them. What is left of an item's value after its trial's mean and its own mean
    over the trials is noise, or it is what the trial is about: an upper bound.

    Args:
        archive: holds the answers to the search items.
        numbers: `n` finished trials.
        goals: `m` goals.

    Returns:
        `n x m`, in the goals' own units squared; NaN where a goal has no item values.
    """
    trials = {t.number: t for t in archive.trials}
    found = np.full((len(numbers), len(goals)), np.nan)
    for column, goal in enumerate(goals):
        rows = [item_values(archive, trials[number], goal) for number in numbers]
        known = [row for row in rows if row is not None]
        if len(known) < len(rows) or len(rows) < 2 or len({len(row) for row in known}) > 1:
            continue
        V = np.array(known)  # n x items
        rest = V - V.mean(axis=1, keepdims=True) - V.mean(axis=0) + V.mean()
        found[:, column] = (rest**2).sum(axis=1) / (V.shape[1] * (V.shape[1] - 1))
    return found

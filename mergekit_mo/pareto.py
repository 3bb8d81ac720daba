"""Dominance, fronts and hypervolume of score matrices; moocore does the arithmetic.

Rule: every matrix here is `n x m`, one row a trial, one column an objective, all maximised.
"""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def nondominated(Y: Matrix) -> NDArray[np.bool_]:
    """Marks the rows that no other row dominates; of equal rows the first alone is marked.

    Args:
        Y: `n x m`, maximised, finite.

    Returns:
        `n` marks.
    """
    if len(Y) == 0:
        return np.zeros(0, dtype=bool)
    # moocore keeps one of several equal rows, but not always the first.
    _, first = np.unique(Y, axis=0, return_index=True)
    marks = np.asarray(moocore.is_nondominated(Y[first], maximise=True), dtype=bool)
    result = np.zeros(len(Y), dtype=bool)
    result[first] = marks
    return result


def ever_nondominated(Y: NDArray[np.float64], reference: Matrix) -> NDArray[np.bool_]:
    """Marks the trials that are on the front above a reference point by one draw at least.

    Args:
        Y: `s x n x m`, draws of `n` trials' scores, all maximised.
        reference: `m`.

    Returns:
        `n` marks.
    """
    if Y.shape[2] == 2:
        return _ever_nondominated_by_sorting(Y, reference)
    marks = np.zeros(Y.shape[1], dtype=bool)
    for draw in Y:
        inside = np.flatnonzero((draw > reference).all(axis=1))
        if len(inside):
            marks[inside[moocore.is_nondominated(-draw[inside])]] = (
                True  # a faster call than `maximise`
            )
    return marks


def _ever_nondominated_by_sorting(Y: NDArray[np.float64], reference: Matrix) -> NDArray[np.bool_]:
    """`ever_nondominated` of two objectives, all draws at once: a third of the time.

    Of trials in falling order of the first objective, those are on the front whose second one is
    higher than any before.
    """
    draws, trials, _ = Y.shape
    inside = (Y > reference).all(axis=2)  # s x n
    first, second = (np.where(inside, Y[..., j], -np.inf) for j in range(2))  # s x n, s x n
    order = np.lexsort((-second, -first), axis=1)  # s x n
    heights = np.take_along_axis(second, order, axis=1)  # s x n
    before = np.full((draws, 1), -np.inf)
    highest = np.maximum.accumulate(np.hstack([before, heights[:, :-1]]), axis=1)  # s x n
    marks = np.zeros(trials, dtype=bool)
    marks[order[heights > highest]] = True
    return marks


def hypervolume(Y: Matrix, reference: Matrix) -> float:
    """The volume that the rows dominate above a reference point.

    Args:
        Y: `n x m`, maximised; rows that do not exceed the reference point add nothing.
        reference: `m`, the corner that the volume is measured from.
    """
    inside = Y[(Y > reference).all(axis=1)]
    if inside.size == 0:
        return 0.0
    return float(moocore.hypervolume(inside, ref=reference, maximise=True))


def contributions(Y: Matrix, reference: Matrix) -> NDArray[np.float64]:
    """The hypervolume that each row alone adds to all the others, `n` values >= 0."""
    if len(Y) == 0:
        return np.zeros(0)
    # A row below the reference point adds nothing; a further column, for moocore wants two.
    clipped = np.column_stack([np.maximum(Y, reference), np.ones(len(Y))])  # n x (m + 1)
    corner = np.append(reference, 0.0)
    # Dominated rows count: they take the place of the one above them when it goes.
    values = moocore.hv_contributions(clipped, ref=corner, maximise=True, ignore_dominated=False)
    return np.asarray(values, dtype=float)

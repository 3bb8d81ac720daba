"""The reference point that a search works with, which is not always the one that is reported.

Rule: the reporting one as soon as some trial dominates it, for then what is reported is what is
improved; before that, one on the way there that trials do dominate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mergekit_mo.pareto import Matrix, nondominated
from mergekit_mo.scales import REFERENCE

_MARGIN = 0.1
"""Below the front, in ranges of the scores."""

_SHARE = 0.9
"""Of the way that the best trial has come: just below it, so that it has neighbours to improve."""


def working_reference(Y: Matrix, able: NDArray[np.bool_], anchored: NDArray[np.bool_]) -> Matrix:
    """The reference point for an acquisition, on the scales of its scores.

    Where an objective has no anchors it lies a tenth of the scores' range below the front's worst.
    Where it has, the point walks from there to the reporting one, always just behind the trial that
    is nearest to dominating that. A corner that no trial dominates does not tell which of them is
    nearer to it: on DTLZ2 in 20 dimensions three searches of twenty stayed blind before it. The
    front's worst in its place draws them to the extremes: three of three stayed there.

    Args:
        Y: `n x m` scores.
        able: `n` marks, of those that may be on the front; one at least.
        anchored: `m` marks.
    """
    front = Y[able][nondominated(Y[able])]
    inferred = front.min(axis=0) - _MARGIN * np.maximum(np.ptp(Y, axis=0), 1e-9)  # m
    goal = np.where(anchored, REFERENCE, inferred)
    begin = np.minimum(inferred, goal)
    ahead = begin < goal
    if not ahead.any():
        return goal
    come = (front[:, ahead] - begin[ahead]) / (goal - begin)[ahead]  # f x a
    nearest = float(come.min(axis=1).max())
    return goal if nearest > 1 else np.asarray(begin + _SHARE * nearest * (goal - begin))

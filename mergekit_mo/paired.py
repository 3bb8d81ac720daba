"""The error of a difference between two trials that answered the same items.

Rule: items are hard or easy for everybody, so the errors of two scores go together; where the
items' own values are at hand, the difference is judged item by item.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mergekit_mo.archive import Archive
from mergekit_mo.residuals import item_values
from mergekit_mo.trial import Split, Trial


def difference_error(
    archive: Archive, first: Trial, second: Trial, goal: str, split: Split = "search"
) -> float | None:
    """The standard error of the difference between two trials' scores.

    Args:
        archive: holds their answers.
        first: a finished trial.
        second: another one, asked the same items.
        goal: on which they are compared.
        split: the items that count.

    Returns:
        Paired where both scores are means of item values; else from both scores' own errors, which
        overstates it; None where these are unknown.
    """
    pair = _item_pair(archive, first, second, goal, split)
    if pair is not None:
        return float((pair[0] - pair[1]).std(ddof=1) / math.sqrt(len(pair[0])))
    both = [t.scores if split == "search" else t.holdout for t in (first, second)]
    errors = [scores[goal].stderr for scores in both]
    if errors[0] is None or errors[1] is None:
        return None
    return math.hypot(errors[0], errors[1])


def item_paired(
    archive: Archive, first: Trial, second: Trial, goal: str, split: Split = "search"
) -> bool:
    """Whether two trials can be compared item by item."""
    return _item_pair(archive, first, second, goal, split) is not None


def _item_pair(
    archive: Archive, first: Trial, second: Trial, goal: str, split: Split
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    one, two = (item_values(archive, trial, goal, split) for trial in (first, second))
    if one is None or two is None or len(one) != len(two) or len(one) < 2:
        return None
    return one, two


def differs(archive: Archive, trials: list[Trial], goal: str) -> bool:
    """Whether the best and the worst of some trials lie more than two standard errors apart."""
    order = sorted(trials, key=lambda t: t.scores[goal].value)
    error = difference_error(archive, order[0], order[-1], goal) if order else None
    if error is None:
        return True
    return order[-1].scores[goal].value - order[0].scores[goal].value > 2 * error

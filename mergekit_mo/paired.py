"""The error of a difference between two trials that answered the same items.

Rule: items are hard or easy for everybody, so the errors of two scores go together; where the
items' own values are at hand, the difference is judged item by item.
"""

from __future__ import annotations

import math

import numpy as np

from mergekit_mo.archive import Archive
from mergekit_mo.problems import UserError
from mergekit_mo.trial import Trial


def difference_error(archive: Archive, first: Trial, second: Trial, goal: str) -> float | None:
    """The standard error of the difference between two trials' search scores.

    Args:
        archive: holds their answers.
        first: a finished trial.
        second: another one, asked the same items.
        goal: on which they are compared.

    Returns:
        Paired where the score is a mean over items; else from both scores' own errors, which
        overstates it; None where these are unknown.
    """
    one, two = (_item_values(archive, trial, goal) for trial in (first, second))
    if one is not None and two is not None and len(one) == len(two) > 1:
        return float((one - two).std(ddof=1) / math.sqrt(len(one)))
    errors = [trial.scores[goal].stderr for trial in (first, second)]
    if errors[0] is None or errors[1] is None:
        return None
    return math.hypot(errors[0], errors[1])


def differs(archive: Archive, trials: list[Trial], goal: str) -> bool:
    """Whether the best and the worst of some trials lie more than two standard errors apart."""
    order = sorted(trials, key=lambda t: t.scores[goal].value)
    error = difference_error(archive, order[0], order[-1], goal) if order else None
    if error is None:
        return True
    return order[-1].scores[goal].value - order[0].scores[goal].value > 2 * error


def _item_values(archive: Archive, trial: Trial, goal: str) -> np.ndarray | None:
    """The `n` values that a score is the mean of; None where it is no such mean."""
    measured = (archive.fact("measures") or {}).get(goal)
    if measured is None:
        return None
    task, metric = measured
    try:
        values = archive.answers(trial.number, "search", task)["values"][metric]
        array = np.asarray(values, dtype=float)
    except (UserError, KeyError, ValueError, TypeError):
        return None
    if array.ndim != 1 or not math.isclose(float(array.mean()), trial.scores[goal].value):
        return None  # a ratio or a corpus metric
    return array

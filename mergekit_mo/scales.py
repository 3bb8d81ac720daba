"""Anchored scales: 0 is the worst of the reference trials on an objective, 1 the best of them.

Rule: signs are flipped and units removed here and nowhere else; beyond this point more is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mergekit_mo.pareto import Matrix
from mergekit_mo.trial import Goal, Trial

REFERENCE = -0.1
"""The reference point of reported hypervolumes on every anchored scale."""


@dataclass(frozen=True)
class Scale:
    """The map from an objective's own units to its anchored scale.

    Attributes:
        goal: the objective.
        worst: the value that becomes 0.
        width: what one unit of the scale is worth in the objective's own; positive.
        anchored: whether the references differ. Where they are all equal the scale keeps the
            objective's units, and the objective is left out of reported hypervolumes.
    """

    goal: Goal
    worst: float
    width: float
    anchored: bool

    def up(self, value: float) -> float:
        """An objective's value on the anchored scale."""
        return self.goal.sign * (value - self.worst) / self.width

    def variance(self, stderr: float | None) -> float:
        """The variance that a standard error becomes; NaN where there is none."""
        return float("nan") if stderr is None else (stderr / self.width) ** 2


def make_scales(goals: Sequence[Goal], references: Sequence[Trial]) -> tuple[Scale, ...]:
    """The scales that a run's references give, one for each goal.

    Args:
        goals: the objectives.
        references: finished reference trials; without any, the objectives' own units are kept.
    """
    scales = []
    for goal in goals:
        values = [goal.sign * t.scores[goal.name].value for t in references if t.status == "done"]
        low, high = (min(values), max(values)) if values else (0.0, 0.0)
        anchored = high > low
        width = high - low if anchored else 1.0
        scales.append(Scale(goal, goal.sign * low, width, anchored))
    return tuple(scales)


def auxiliary_scales(goals: Sequence[Goal], references: Sequence[Trial]) -> tuple[Scale, ...]:
    """The scales of objectives that only steer a search.

    Where more is better they are those of goals. Where less is, 0 is at the references' mean and 1
    at nothing: MM-MO's distance from the base is measured in mean distances of the sources so. The
    base itself, and whatever else is exactly 0, is left out of the mean.

    Args:
        goals: the auxiliary objectives.
        references: finished reference trials.
    """
    scales: list[Scale] = []
    for goal in goals:
        if goal.maximize:
            scales += make_scales([goal], references)
            continue
        values = [t.scores[goal.name].value for t in references if t.status == "done"]
        others = [v for v in values if v != 0]
        mean = float(np.mean(others)) if others else 0.0
        scales.append(Scale(goal, mean, abs(mean) or 1.0, mean != 0))
    return tuple(scales)


def anchored_columns(scales: Sequence[Scale]) -> list[int]:
    """The objectives that reported hypervolumes are taken over."""
    return [i for i, scale in enumerate(scales) if scale.anchored]


def reference_point(count: int) -> Matrix:
    """The reporting reference point for a number of anchored objectives."""
    return np.full(count, REFERENCE)

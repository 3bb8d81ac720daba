"""What population methods make of an archive: who is told, in which order, and how they stand.

Rule: failed trials are missing, not bad, so that generations close up over them; no infeasible
trial ever stands above a feasible one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mergekit_mo.archive import Archive
from mergekit_mo.expressed import expressed
from mergekit_mo.pareto import Matrix
from mergekit_mo.space import Space
from mergekit_mo.trial import Trial


@dataclass(frozen=True)
class Standing:
    """How finished trials stand.

    Attributes:
        Y: `n x m` scores, all maximised: anchored, or in units of the trials' own range on
            objectives that have no anchors.
        violations: `n` sums of what is missing to the thresholds, in the units of `Y`; 0 where a
            trial is feasible, positive where it is not.
        least: `m`, what thresholds ask for; -inf where there is none.
        wanted: `m`, what the preference asks for; -inf where it asks for nothing.
    """

    Y: Matrix
    violations: Matrix
    least: Matrix
    wanted: Matrix

    def ranks(self, weights: Sequence[float]) -> NDArray[np.int_]:
        """Places in one order, 0 the best, equal ones sharing a place.

        Feasible trials by their weighted sums, then infeasible ones by their violations.

        Args:
            weights: `m` weights.
        """
        sums = self.Y @ np.asarray(weights, dtype=float)  # n
        keys = [(v, 0.0 if v > 0 else -s) for v, s in zip(self.violations, sums, strict=True)]
        places = {key: i for i, key in enumerate(sorted(set(keys)))}
        return np.array([places[key] for key in keys], dtype=int)


def told(space: Space, archive: Archive) -> list[Trial]:
    """Every trial with a point that is finished or waiting, in the order of their numbers.

    Reference trials that the space can express have one, and come first.
    """
    at = expressed(space)
    trials = [t if t.unit else replace(t, unit=at.get(t.origin)) for t in archive.trials]
    return [t for t in trials if t.unit is not None and _counts(t)]


def generations(trials: Sequence[Trial], size: int) -> list[Sequence[Trial]]:
    """Trials in groups of a size, in order; those beyond the last full group are left out."""
    return [trials[i : i + size] for i in range(0, len(trials) - size + 1, size)]


def standing(archive: Archive, trials: Sequence[Trial]) -> Standing:
    """How `n` finished trials stand."""
    Y, scales = archive.matrix(trials), archive.scales
    spans = np.ptp(Y, axis=0) if len(trials) else np.ones(len(scales))  # m
    units = np.array(
        [1.0 if s.anchored or not span > 0 else span for s, span in zip(scales, spans, strict=True)]
    )
    least = np.array(
        [-np.inf if s.goal.threshold is None else s.up(s.goal.threshold) for s in scales]
    )  # m
    bounds = archive.preference.at_least
    wanted = np.array([s.up(bounds.get(s.goal.name, -s.goal.sign * np.inf)) for s in scales])
    missing = np.maximum(least - Y, 0.0) / units  # n x m
    able = np.array([archive.feasible(t) for t in trials], dtype=bool)  # n
    # Rounding may bring a score to its threshold's place on the scale: below it is below it.
    violations = np.where(able, 0.0, np.maximum(missing.sum(axis=1), np.finfo(float).tiny))
    return Standing(Y / units, violations, least / units, wanted / units)


def _counts(trial: Trial) -> bool:
    if trial.status in ("waiting", "stopped"):
        return True
    return trial.status == "done" and all(math.isfinite(m.value) for m in trial.scores.values())

"""Whose turn it is in a search over merges and paths: that of the level whose trials pay.

Rule: a level is paid by what its latest trials added to the front's hypervolume; the other one has
a turn now and then, at the latest once that is hardly anything, since what does not pay today may
do so on a better merge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mergekit_mo.layers import Path
from mergekit_mo.optimizers._lessons import Lessons
from mergekit_mo.pareto import hypervolume, nondominated

_LATEST = 8  # trials of a level that count
_WINDOW = 64  # trials, of both levels, among which they are looked for
_PROBE = 8  # of so many candidates one is the other level's
_HARDLY = 1e-3  # of the front's hypervolume, for a trial: a level that adds more pays


@dataclass(frozen=True)
class Turns:
    """What the latest trials of each level were worth.

    Attributes:
        merges: mean gain of those on the straight path; 0 without any.
        paths: that of all others; 0 without any.
        front: the hypervolume of all trials.
    """

    merges: float
    paths: float
    front: float

    def merge(self, number: int, *, patient: bool) -> bool:
        """Whether the candidate of this number is a merge on the straight path.

        Args:
            number: of the candidate.
            patient: has the better level go on alone for as long as it pays.
        """
        if self.merges == self.paths:
            return number % 2 == 1
        merges = self.merges > self.paths
        if patient and max(self.merges, self.paths) > _HARDLY * self.front:
            return merges
        return merges == (number % _PROBE != 0)


def turns(known: Lessons, straight: Path) -> Turns:
    """What is known of the levels.

    Args:
        known: the finished trials, in their order.
        straight: the path that is no path.
    """
    gains, front = _gains(known, max(0, known.n - _WINDOW))
    latest = known.paths[known.n - len(gains) :]
    above = [gain for gain, path in zip(gains, latest, strict=True) if path == straight]
    below = [gain for gain, path in zip(gains, latest, strict=True) if path != straight]
    return Turns(_mean(above[-_LATEST:]), _mean(below[-_LATEST:]), front)


def _gains(known: Lessons, first: int) -> tuple[list[float], float]:
    """The hypervolume that each trial from this one on added, and that of all trials."""
    Y, able = known.Y, known.violations <= 0
    front = Y[:first][able[:first]]
    front = front[nondominated(front)]
    before, found = hypervolume(front, known.floor), []
    for y, counts in zip(Y[first:], able[first:], strict=True):
        after = before
        if counts:
            front = np.vstack([front, y])
            after = hypervolume(front, known.floor)
        found.append(max(0.0, after - before) if before else 0.0)  # the first is no gain
        before = after
    return found, before


def _mean(gains: list[float]) -> float:
    return sum(gains) / len(gains) if gains else 0.0

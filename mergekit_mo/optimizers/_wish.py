"""What a preference makes of a search over paths: whose neighbours are tried, and what is a gain.

Rule: without a preference nothing changes, not even what is drawn; with one, some of the budget
still goes to the front at large, lest what is preferred is preferred of too little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers._lessons import (
    Lessons,
    Screen,
    drawn_preferences,
    make_screen,
    settled,
)
from mergekit_mo.optimizers.qlognehvi import drawn_weights
from mergekit_mo.pareto import Matrix

_DIRECTIONS = 128  # of the hypervolume's gain
_FIRMNESS = 4.0  # of bounds: what a shortfall costs, beside an equal one from the ideal
_SHARE = 3  # parents near the preference for each one at large
_NEVER_WORSE = 1e3  # below any worth


@dataclass(frozen=True)
class Aim:
    """What is gained for one preference; like a `Screen` with a single direction.

    Attributes:
        known: what is known.
        preference: `m` weights.
        best: what is reached.
    """

    known: Lessons
    preference: Matrix
    best: float

    def beside(self, y: Matrix) -> Aim:
        """The same, with a candidate of these `m` scores known as well."""
        return replace(self, best=max(self.best, float(self._worth(y[None])[0])))

    def gains(self, Y: Matrix) -> Matrix:
        """How much better each of `… x m` scores is than what is known: `…`."""
        flat = Y.reshape(-1, Y.shape[-1])
        gained = np.maximum(self._worth(flat) - self.best, 0.0)
        gained = np.where((flat >= self.known.least).all(axis=1), gained, 0.0)
        return np.asarray(gained.reshape(Y.shape[:-1]))

    def _worth(self, Y: Matrix) -> Matrix:
        values = self.known.values(Y, self.preference[None])[0]
        return np.asarray(values - _FIRMNESS * self.known.missing(Y))


@dataclass(frozen=True)
class Wish:
    """A run's preference, beside what is known.

    Attributes:
        known: the finished trials.
        archive: whose preference it is.
        rng: draws weights near the preferred ones.
    """

    known: Lessons
    archive: Archive
    rng: Generator

    @property
    def _bounded(self) -> bool:
        return bool(np.isfinite(self.known.wanted).any())

    @property
    def _weighted(self) -> bool:
        return bool(self.archive.preference.weights)

    def preferences(self, count: int) -> Matrix:
        """Preferences to search for, `count x m`: uniform, or most of them near the wish."""
        found = drawn_preferences(self.known.goals, count, self.rng)
        for i in range(count if self._weighted else 0):
            if (near := self._near(i)) is not None:
                found[i] = near
        return found

    def parents(self) -> list[int]:
        """Trials whose neighbours are tried: the front, those near the wish more often."""
        front = self.known.front()
        if not (self._weighted or self._bounded):
            return front
        short = self.known.missing(self.known.Y[front])  # f
        able = [row for row, lack in zip(front, short, strict=True) if lack <= short.min()]
        if not self._weighted:
            return front + able * (_SHARE * len(front) // len(able))
        worth = self.known.values(self.known.Y[able], self.preferences(_SHARE * len(front)))
        return front + [able[int(i)] for i in worth.argmax(axis=1)]

    def at_large(self) -> Screen:
        """What is a gain for the front; that part of it which keeps the bounds, once any does."""
        own = self.known
        kept = own.missing(own.Y[own.violations <= 0]) <= 0
        if self._bounded and kept.any():
            own = replace(own, floor=np.maximum(own.floor, own.wanted))
        return make_screen(own, _DIRECTIONS, self.rng)

    def screen(self, number: int, at_large: Screen, picked: Sequence[Matrix]) -> Screen | Aim:
        """What is a gain for the next candidate.

        Args:
            number: how many candidates of this ask there are.
            at_large: what is a gain for the front, with what has been picked.
            picked: expected scores of what this ask has picked before, `m` each.
        """
        weights = self._near(number) if self._weighted else None
        if weights is None:
            able = self.known.violations <= 0
            reached = not self._bounded or (self.known.missing(self.known.Y[able]) <= 0).any()
            if reached:
                return at_large
            weights = drawn_preferences(self.known.goals, 1, self.rng)[0]
        aim = Aim(self.known, weights, -_NEVER_WORSE)
        for y in (*self.known.Y[self.known.violations <= 0], *picked):
            aim = aim.beside(y)
        return aim

    def _near(self, number: int) -> Matrix | None:
        weights = drawn_weights(self.archive, number, self.rng)
        return None if weights is None else settled(weights[: self.known.goals])

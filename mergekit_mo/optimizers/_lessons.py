"""What a search over paths learns from an archive, and what a preference makes of scores.

Rule: everything is in the units of `standing`: anchored scores, maximised, or units of the trials'
own range where there are no anchors; failed and waiting trials teach nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mergekit_mo.archive import Archive
from mergekit_mo.layers import Layers, Path
from mergekit_mo.optimizers._paths import Unit
from mergekit_mo.optimizers._reference import working_reference
from mergekit_mo.optimizers._standing import standing
from mergekit_mo.pareto import Matrix, nondominated
from mergekit_mo.scales import REFERENCE
from mergekit_mo.trial import Trial

AUGMENTATION = 0.05  # of the sum in the augmented Tchebycheff value, as in ParEGO
_LEAST = 1e-3  # of a preference's share: no goal is worth nothing at all


@dataclass(frozen=True)
class Lessons:
    """Finished candidates.

    Attributes:
        paths: `n`; None where layers are not searched.
        units: `n` points.
        Y: `n x m` scores, less what their length costs.
        violations: `n` sums of what is missing to the thresholds; 0 where a trial is feasible.
        ideal: `m`, the best that any candidate or source scored.
        floor: `m`, the point above which scores count, see `working_reference`.
        least: `m`, what thresholds ask for; -inf where there is none.
        wanted: `m`, what the preference asks for at least; -inf where it asks for nothing.
    """

    paths: tuple[Path | None, ...]
    units: tuple[Unit, ...]
    Y: Matrix
    violations: Matrix
    ideal: Matrix
    floor: Matrix
    least: Matrix
    wanted: Matrix

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.paths)

    @property
    def goals(self) -> int:
        """How many columns `Y` has."""
        return int(self.Y.shape[1])

    @property
    def holes(self) -> int:
        """How many coordinates the points have."""
        return len(self.units[0]) if self.units else 0

    def values(self, Y: Matrix, preferences: Matrix) -> Matrix:
        """What `n x m` scores are worth to `w x m` preferences, `w x n`; see `tchebycheff`."""
        return tchebycheff(Y, preferences, self.ideal)

    def worth(self, preferences: Matrix) -> Matrix:
        """What these trials are worth to `w x m` preferences, `w x n`; violations count against."""
        worth = self.values(self.Y, preferences) - self.violations
        return np.asarray(worth)

    def missing(self, Y: Matrix) -> Matrix:
        """How far `… x m` scores fall short of what is preferred, in sum: `…`."""
        return np.asarray(np.maximum(self.wanted - Y, 0.0).sum(axis=-1))

    def best(self, preference: Matrix) -> int:
        """The trial that is worth most to a preference."""
        row: int = self.worth(preference[None])[0].argmax().item()
        return row

    def front(self) -> list[int]:
        """The feasible trials that no other one dominates; where none is, the least violating."""
        if not self.n:
            return []
        able = np.flatnonzero(self.violations <= self.violations.min())
        return [int(i) for i in able[nondominated(self.Y[able])]]


def lessons(layers: Layers | None, archive: Archive, length_penalty: float = 0.0) -> Lessons:
    """What an archive teaches.

    Args:
        layers: the paths; None where layers are not searched.
        archive: every trial so far.
        length_penalty: what a path as long as the straight one costs, on the anchored scales.
    """
    done = [t for t in archive.candidates if t.unit is not None and _scored(t)]
    both = standing(archive, [*done, *(t for t in archive.references if _scored(t))])
    Y, violations = both.Y, both.violations[: len(done)]
    straight = layers.straight if layers else None
    paths = tuple(t.path or straight for t in done)
    if straight and length_penalty and done:
        lengths = np.array([len(p or ()) for p in paths]) / len(straight)  # n
        Y = np.concatenate([Y[: len(done)] - length_penalty * lengths[:, None], Y[len(done) :]])
    own = Y[: len(done)]
    ideal = Y.max(axis=0) if len(Y) else np.ones(len(archive.goals))
    anchored = np.array([scale.anchored for scale in archive.scales])
    return Lessons(
        paths,
        tuple(t.unit or () for t in done),
        own,
        violations,
        ideal,
        _floor(own, violations, anchored),
        both.least - length_penalty,  # of the straight path: near enough for a guess
        both.wanted - length_penalty,
    )


def _scored(trial: Trial) -> bool:
    return trial.status == "done" and all(math.isfinite(m.value) for m in trial.scores.values())


def _floor(Y: Matrix, violations: Matrix, anchored: NDArray[np.bool_]) -> Matrix:
    if not len(Y):
        return np.full(len(anchored), REFERENCE)
    return working_reference(Y, violations <= violations.min(), anchored)


def tchebycheff(Y: Matrix, preferences: Matrix, ideal: Matrix) -> Matrix:
    """The augmented Tchebycheff value, the more the better: 0 at the ideal, below it negative.

    Args:
        Y: `n x m` scores.
        preferences: `w x m` weights that sum to 1.
        ideal: `m`.

    Returns:
        `w x n`.
    """
    gaps = preferences[:, None, :] * (ideal - Y)[None]  # w x n x m
    return np.asarray(-gaps.max(axis=-1) - AUGMENTATION * gaps.sum(axis=-1))


def drawn_preferences(goals: int, count: int, rng: Generator) -> Matrix:
    """Preferences uniform on the simplex, `count x goals` (Dirichlet with all ones)."""
    drawn = rng.dirichlet(np.ones(goals), size=count)
    return settled(drawn)


def settled(preferences: Matrix) -> Matrix:
    """Preferences that sum to 1, each share at least a thousandth."""
    shares = preferences / preferences.sum(axis=-1, keepdims=True) + _LEAST
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Screen:
    """Random scalarisations whose mean gain is the gain in hypervolume (Zhang and Golovin 2020).

    Attributes:
        lessons: what is known.
        directions: `w x m` positive directions, uniform on the sphere.
        best: `w`, how far what is known reaches in each of them.
    """

    lessons: Lessons
    directions: Matrix
    best: Matrix

    def beside(self, y: Matrix) -> Screen:
        """The same, with a candidate of these `m` scores known as well."""
        return replace(self, best=np.maximum(self.best, self._lengths(y[None])[:, 0]))

    def gains(self, Y: Matrix) -> Matrix:
        """How much larger the hypervolume gets with each of `… x m` scores alone, up to a factor.

        Returns:
            `…`.
        """
        flat = Y.reshape(-1, Y.shape[-1])
        gained = np.maximum(self._lengths(flat) - self.best[:, None], 0.0).mean(axis=0)
        gained = np.where((flat >= self.lessons.least).all(axis=1), gained, 0.0)
        return np.asarray(gained.reshape(Y.shape[:-1]))

    def _lengths(self, Y: Matrix) -> Matrix:
        """How far each direction reaches under each of `n x m` scores, to the power m: `w x n`."""
        above = np.maximum(Y - self.lessons.floor, 0.0)  # n x m
        reach = (above[None] / self.directions[:, None, :]).min(axis=-1)  # w x n
        return np.asarray(reach ** Y.shape[-1])


def make_screen(known: Lessons, count: int, rng: Generator) -> Screen:
    """A screen with so many directions."""
    drawn = np.abs(rng.normal(size=(count, known.goals))) + 1e-9
    directions = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    screen = Screen(known, directions, np.zeros(count))
    for y in known.Y[known.violations <= 0]:  # with none, whatever keeps the thresholds is a gain
        screen = screen.beside(y)
    return screen

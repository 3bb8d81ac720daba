"""Evolution of paths: the best for a preference is changed a little, again and again.

Rule: every trial of the archive may be a parent, whoever proposed it; a child that has been tried
is no child.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator, SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers._lessons import Lessons, drawn_preferences, lessons
from mergekit_mo.optimizers._paths import (
    Point,
    crossed,
    fresh,
    mutated,
    perturbed,
    straight_paths,
    taken,
)
from mergekit_mo.space import Candidate, Space

_TRIES = 64  # of children, until one is new

_ORIGIN = "evolution"


@dataclass(frozen=True)
class Evolution(Optimizer):
    """Local search and regularised evolution over paths (and holes), for many preferences at once.

    Each child is for a preference, drawn uniformly: its parent is the best for it (augmented
    Tchebycheff, anchored scores) of `tournament` trials drawn among the latest `population`. A
    child has one change or a few, at times also another parent's end.

    Attributes:
        population: the latest trials that may be parents; None for all of them (local search).
        tournament: how many are drawn; None for all.
        changes: how many changes a child has on average, one at least.
        crossover: the probability of two parents.
        width: standard deviation of a change of a hole, in the unit cube.
        length_penalty: what a path as long as the straight one costs, on the anchored scales.
    """

    population: int | None = None
    tournament: int | None = None
    changes: float = 1.5
    crossover: float = 0.2
    width: float = 0.15
    length_penalty: float = 0.0

    searches_layers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, least in (("population", 2), ("tournament", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be {least} or more, not {value}")
        if not 1 <= self.changes <= 10:
            raise ValueError(f"changes must be from 1 to 10, not {self.changes:g}")
        if not 0 <= self.crossover <= 1:
            raise ValueError(f"crossover must be from 0 to 1, not {self.crossover:g}")
        if not 0 < self.width <= 1:
            raise ValueError(f"width must be above 0 and at most 1, not {self.width:g}")
        if not 0 <= self.length_penalty <= 10:
            raise ValueError(f"length_penalty must be from 0 to 10, not {self.length_penalty:g}")

    def refusal(self, budget: int, space: Space, goals: int) -> str:  # noqa: ARG002
        """See `Optimizer.refusal`."""
        return needs_layers(space)

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        rng = np.random.default_rng(seed)
        known, told = (
            taken(space.layers, archive),
            lessons(space.layers, archive, self.length_penalty),
        )
        found: list[Candidate] = []
        for point in first_points(space):
            if len(found) < count and point not in known:
                known.add(point)
                found.append(Candidate(point[0], _ORIGIN, point[1]))
        while told.n and len(found) < count:
            child = self._child(space, told, known, rng)
            if child is None:
                break
            known.add(child)
            found.append(Candidate(child[0], _ORIGIN, child[1]))
        return found + fresh(space, known, count - len(found), rng, _ORIGIN)

    def _child(
        self, space: Space, told: Lessons, known: set[Point], rng: Generator
    ) -> Point | None:
        """A new child; None where none is found, as where nearly everything has been tried."""
        for _ in range(_TRIES):
            first, second = self._parent(told, rng), self._parent(told, rng)
            unit, path = told.units[first], told.paths[first]
            if space.layers and path:
                other = told.paths[second]
                if other and rng.random() < self.crossover:
                    path = crossed(space.layers, path, other, rng)
            for _ in range(int(rng.geometric(1 / self.changes))):
                if space.layers and path and (not space.dim or rng.random() < 0.5):
                    path = mutated(space.layers, path, rng)
                else:
                    unit = perturbed(space, unit, rng, self.width)
            if (unit, path) not in known:
                return unit, path
        return None

    def _parent(self, told: Lessons, rng: Generator) -> int:
        """The best of some trials for a drawn preference."""
        worth = told.worth(drawn_preferences(told.goals, 1, rng))[0]  # n
        young = np.arange(told.n)[-(self.population or told.n) :]
        size = min(self.tournament or len(young), len(young))
        drawn = rng.choice(young, size, replace=False)
        return int(drawn[np.argmax(worth[drawn])])


def first_points(space: Space) -> list[Point]:
    """The recipe's own values on each member's straight path, which a search should know."""
    if space.layers is None:
        return []
    unit = space.starts()[0].unit
    return [(unit, path) for path in straight_paths(space.layers)]


def needs_layers(space: Space) -> str:
    """Why an optimizer of paths cannot serve a recipe without any; empty where it has some."""
    if space.configuration.layers is not None or space.layers is not None:
        return ""
    return (
        "it searches paths over layers, and the recipe has none: add a block such as "
        "`layers: {skip: 1, repeat: 1}` to `search:`, or name another optimizer, such as mm-mo"
    )

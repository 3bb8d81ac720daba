"""Truths that are known because they were planted: what a search over paths has to find.

Rule: a score is a sum that a reader can check; each truth says which path is the best and why the
straight one is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mergekit_mo.layers import Layers, Path
from mergekit_mo.optimizers._paths import every_path
from mergekit_mo.pareto import Matrix

DEPTH = 8
_RUINED = (2, 5)
_REDUNDANT = 4


@dataclass(frozen=True)
class Planted:
    """A planted truth.

    Attributes:
        name: of it.
        layers: the paths.
        score: of a path: two goals.
        best: the path to be found.
    """

    name: str
    layers: Layers
    score: Callable[[Path], tuple[float, float]]
    best: Path

    goals = ("skill", "manners")

    @property
    def parents(self) -> Matrix:
        """The scales are the goals' own."""
        return np.array([[0.0, 0.0], [1.0, 1.0]])

    @cached_property
    def scores(self) -> dict[Path, tuple[float, ...]]:
        """Of every path."""
        return {path: self.score(path) for path in every_path(self.layers)}


def _pool(count: int, skip: int = 0) -> Layers:
    names = tuple(f"a/m{i}" for i in range(count))
    low = DEPTH - 2 if skip else DEPTH
    return Layers(names, (DEPTH,) * count, low, DEPTH, skip)


def ruined() -> Planted:
    """Two ruined layers in an expert, beside a sound model and a third of no use.

    Either repair alone changes nothing; each other layer that is not the expert's costs skill.
    """

    def score(path: Path) -> tuple[float, float]:
        members = [member for member, _ in path]
        whole = all(members[i] == 1 for i in _RUINED)
        foreign = sum(m != 0 for i, m in enumerate(members) if i not in _RUINED)
        third = members.count(2)
        return (0.9 if whole else 0.3) - 0.05 * foreign, 0.5 + 0.02 * foreign - 0.05 * third

    best = tuple((1 if i in _RUINED else 0, i) for i in range(DEPTH))
    return Planted("ruined", _pool(3), score, best)


def halves() -> Planted:
    """Two experts, of which each has the good half of the depth."""

    def score(path: Path) -> tuple[float, float]:
        good = sum(m == (0 if i < DEPTH // 2 else 1) for i, (m, _) in enumerate(path))
        return good / DEPTH, 0.5 + 0.1 * good / DEPTH

    best = tuple((0 if i < DEPTH // 2 else 1, i) for i in range(DEPTH))
    return Planted("halves", _pool(3), score, best)


def redundant() -> Planted:
    """A layer that does nothing; without any other one the model is worse."""

    def score(path: Path) -> tuple[float, float]:
        missing = set(range(DEPTH)) - {layer for _, layer in path} - {_REDUNDANT}
        foreign = sum(m != 0 for m, _ in path)
        worse = 0.2 * len(missing) + 0.03 * foreign
        return 0.8 - worse, 0.7 - worse

    best = tuple((0, i) for i in range(DEPTH) if i != _REDUNDANT)
    return Planted("redundant", _pool(2, skip=1), score, best)


PLANTED = {"ruined": ruined, "halves": halves, "redundant": redundant}
LENGTH_PENALTY = 0.2
"""Of searches for a redundant layer: what a path as long as the straight one costs."""

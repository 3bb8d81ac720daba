"""One search over a table of paths: seconds for what would be hours of merging.

Rule: an optimizer is asked as the search itself asks it, and is told what the table says; every
search begins with the straight path.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.layers import Layers, Path
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.pareto import Matrix
from mergekit_mo.preference import Preference
from mergekit_mo.space import Candidate, Space
from mergekit_mo.testing.planted import scored, small_space
from mergekit_mo.trial import Goal

_RECIPE = """
merge_method: task_arithmetic
base_model: a/base
models: [{model: a/one, parameters: {weight: 1}}, {model: a/two, parameters: {weight: 1}}]
"""


class Truth(Protocol):
    """Scores of every path."""

    @property
    def goals(self) -> tuple[str, ...]:
        """What is scored."""

    @property
    def layers(self) -> Layers:
        """The paths."""

    @property
    def scores(self) -> Mapping[Path, tuple[float, ...]]:
        """By path, on scales where 0 is the worst parent and 1 the best."""

    @property
    def parents(self) -> Matrix:
        """Scores of the models themselves, one row each."""


@dataclass(frozen=True)
class Walked:
    """A search that has come to its end.

    Attributes:
        paths: in the order in which they were evaluated.
        seconds: of asking, a candidate.
    """

    paths: tuple[Path, ...]
    seconds: float


def space_of(truth: Truth) -> Space:
    """The space of a truth: its paths, no holes."""
    return Space(small_space(_RECIPE).configuration, truth.layers)


def archive_of(truth: Truth, preference: Preference | None = None) -> Archive:
    """An archive with the parents in it, and what the search should prefer."""
    goals = [Goal(name, True) for name in truth.goals]
    wish = {"preference": preference.facts()} if preference else {}
    archive = Archive.create(":memory:", goals, wish)
    for number, row in enumerate(truth.parents):
        (trial,) = archive.propose("reference", [(f"parent {number}", {})])
        archive.finish(trial.number, scored(goals, row.tolist()), 0.0)
    return archive


def walk(
    truth: Truth, optimizer: Optimizer, seed: int, budget: int, archive: Archive | None = None
) -> Walked:
    """Runs a search.

    Args:
        truth: what is scored.
        optimizer: who searches.
        seed: of the search.
        budget: evaluations, those of `archive` included.
        archive: what is known before; else the straight path comes first.
    """
    own = archive if archive is not None else archive_of(truth)
    space, goals = space_of(truth), list(own.goals)
    spent = 0.0
    found = [] if own.candidates else list(space.starts())
    while len(own.candidates) < budget:
        if not found:
            count = min(optimizer.batch, budget - len(own.candidates))
            start = time.perf_counter()
            found = optimizer.ask(space, own, count, SeedSequence((seed, own.asks)))
            spent += time.perf_counter() - start
        if not found:
            break
        entries: list[tuple[Candidate | str, dict[str, Any]]] = [
            (space.settled(candidate), {}) for candidate in found
        ]
        for trial in own.propose("candidate", entries, own.asks):
            own.finish(trial.number, scored(goals, truth.scores[trial.path or ()]), 0.0)
        found = []
    paths = tuple(t.path or () for t in own.candidates)
    if archive is None:
        own.close()
    return Walked(paths, spent / max(1, len(paths)))


def rows_of(truth: Truth, paths: Sequence[Path]) -> Matrix:
    """The scores of some paths, `n x m`."""
    return np.array([truth.scores[path] for path in paths]).reshape(len(paths), len(truth.goals))

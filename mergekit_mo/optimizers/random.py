"""Random: points and paths drawn uniformly and independently, the plainest rival of a search.

Rule: each ask draws from its own seed; nothing but which points are taken is read of the archive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers._new import first_new
from mergekit_mo.optimizers._paths import fresh, taken
from mergekit_mo.space import Candidate, Space

_MOST_DRAWS = 4096


@dataclass(frozen=True)
class Random(Optimizer):
    """Draws candidates uniformly and independently, whatever the scores are.

    Where layers are searched each path is as probable as any other.
    """

    searches_layers: ClassVar[bool] = True

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        if space.layers is None:
            return uniform(space, archive, count, seed)
        rng = np.random.default_rng(seed)
        return fresh(space, taken(space.layers, archive), count, rng, "random")


def uniform(
    space: Space,
    archive: Archive,
    count: int,
    seed: SeedSequence,
    taken: Iterable[tuple[float, ...]] = (),
) -> list[Candidate]:
    """Uniform draws that no trial has yet.

    Args:
        space: where they come from.
        archive: tells which points are taken.
        count: how many are wanted.
        seed: of this ask.
        taken: points that are taken besides, by other candidates of this ask.
    """
    rng = np.random.default_rng(seed)
    points = (space.snap(rng.random(space.dim).tolist()) for _ in range(_MOST_DRAWS))
    new = first_new(points, count, set(taken), archive.points)
    return [space.settled(Candidate(unit, "random")) for unit in new]

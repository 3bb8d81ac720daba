"""Mutation: random changes of the straight path, blind to every score; what a search must beat.

Rule: each candidate starts from the straight path again, never from another candidate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers._paths import fresh, mutated, taken
from mergekit_mo.optimizers.evolution import needs_layers
from mergekit_mo.space import Candidate, Space

_TRIES = 256


@dataclass(frozen=True)
class Mutation(Optimizer):
    """Draws paths a few changes away from the straight one, with holes drawn uniformly.

    Attributes:
        changes: how many changes a path has on average, one at least.
    """

    changes: float = 3.0

    searches_layers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1 <= self.changes <= 100:
            raise ValueError(f"changes must be from 1 to 100, not {self.changes:g}")

    def refusal(self, budget: int, space: Space, goals: int) -> str:  # noqa: ARG002
        """See `Optimizer.refusal`."""
        return needs_layers(space)

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        rng = np.random.default_rng(seed)
        known = taken(space.layers, archive)
        found: list[Candidate] = []
        for _ in range(_TRIES * count):
            if len(found) == count:
                break
            path = space.layers.straight if space.layers else None
            for _ in range(int(rng.geometric(1 / self.changes))):
                path = mutated(space.layers, path, rng) if space.layers and path else None
            candidate = space.candidate(rng.random(space.dim).tolist(), "mutation", path)
            if (candidate.unit, candidate.path) not in known:
                known.add((candidate.unit, candidate.path))
                found.append(candidate)
        return found + fresh(space, known, count - len(found), rng, "mutation")

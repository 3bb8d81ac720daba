"""A path for a preference that nobody asked before: from a trained policy, and never evaluated.

Rule: an adviser is trained once from an archive, and what it learnt can be kept; asking it takes no
training, and what it answers is new: no trial has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.layers import Layers, Path
from mergekit_mo.optimizers._checkpoint import key_of, packed, restored
from mergekit_mo.optimizers._guess import Guess
from mergekit_mo.optimizers._lessons import Lessons, lessons, settled
from mergekit_mo.optimizers._paths import Point, Unit, mutated, taken
from mergekit_mo.optimizers._policy import Policy
from mergekit_mo.optimizers._private import private_torch
from mergekit_mo.optimizers._training import Course, as_tensor, trained
from mergekit_mo.pareto import Matrix

COURSE = Course(copies=40, rounds=30, optimism=0.0)
"""Longer than in a search, which trains often; and what is expected, not what is hoped."""

_WALKS = 64  # of the policy, among which the guess chooses


@dataclass(frozen=True)
class Advice:
    """A candidate for a preference.

    Attributes:
        point: its coordinates and its layers.
        expected: `m` scores that are guessed, in the units of `Lessons`.
        worth: what the guess is worth to the preference.
    """

    point: Point
    expected: Matrix
    worth: float


class Adviser:
    """A policy and a guess, trained from an archive.

    Args:
        layers: the paths.
        archive: of the run; four finished candidates or more.
        seed: of the training.
        withheld: `k x m` preferences that the policy must not train near, to test it on.
        only: `k x m` preferences that alone it trains for; None for all of the simplex.
        length_penalty: as in the search.
        checkpoint: an adviser's `checkpoint`, of this archive or of any other; with the right one
            nothing is trained.

    Attributes:
        trained: whether the policy learnt now.
    """

    def __init__(
        self,
        layers: Layers,
        archive: Archive,
        seed: int = 0,
        withheld: Matrix | None = None,
        only: Matrix | None = None,
        length_penalty: float = 0.0,
        checkpoint: bytes | None = None,
    ) -> None:
        self.told: Lessons = lessons(layers, archive, length_penalty)
        self._layers = layers
        self._known = taken(layers, archive)
        self._seed = seed
        first, second = SeedSequence((seed, self.told.n)).generate_state(2)
        with private_torch(int(first)):
            self.guess = Guess(layers, self.told)
            self.policy = Policy(layers, self.told.goals, self.told.holes)
            rng = np.random.default_rng(int(second))
            among = [None if p is None else p.tolist() for p in (withheld, only)]
            self._key = key_of(archive, layers, [repr(COURSE), seed, length_penalty, among])
            self.trained = not restored(checkpoint, self._key, self.policy)
            if self.trained:
                self.policy = trained(
                    layers, self.told, self.guess, COURSE, rng, withheld=withheld, only=only
                )

    @property
    def checkpoint(self) -> bytes:
        """What the policy learnt, to be given to an adviser of the same archive."""
        return packed(self.policy, self._key)

    def advise(self, preference: Matrix) -> Advice | None:
        """The new path that promises most to `m` weights: one of the policy's, or a change away.

        None where all of these have been tried.
        """
        wanted = settled(np.asarray(preference, dtype=float))
        unit = self.told.units[self.told.best(wanted)]
        with private_torch(self._seed):
            walks = np.repeat(wanted[None], _WALKS, axis=0)
            own = as_tensor([unit] * _WALKS)
            episodes = self.policy.sample(torch.tensor(walks, dtype=torch.float), own)
            points = self._new(unit, episodes.paths)
            if not points:  # a policy that is sure of itself walks what the search found
                rng = np.random.default_rng(self._seed)
                nearby = [mutated(self._layers, path, rng) for path in episodes.paths]
                points = self._new(unit, nearby)
            if not points:
                return None
            scores = self.guess.scores(points)  # p x m
        worth = self.told.values(scores, wanted[None])[0]
        best = int(worth.argmax())
        return Advice(points[best], scores[best], float(worth[best]))

    def _new(self, unit: Unit, paths: Iterable[Path]) -> list[Point]:
        """Those that no trial has, each once."""
        points = [(unit, path) for path in dict.fromkeys(paths)]
        return [point for point in points if point not in self._known]

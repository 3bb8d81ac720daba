"""Sobol: a scrambled low-discrepancy sequence over the space, blind to every score.

Rule: the sequence belongs to the run, not to the ask: its scrambling comes from the seed's entropy
and its position from the number of candidates, so that asks of any size walk one sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.random import SeedSequence
from scipy.stats import qmc

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers._new import first_new
from mergekit_mo.space import Candidate, Space

_MOST_DRAWS = 4096


@dataclass(frozen=True)
class Sobol(Optimizer):
    """Spreads candidates evenly over the space, whatever the scores are."""

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        return spread(space, archive, count, seed, "sobol")


def spread(
    space: Space,
    archive: Archive,
    count: int,
    seed: SeedSequence,
    origin: str,
    taken: Iterable[tuple[float, ...]] = (),
) -> list[Candidate]:
    """The next points of the run's Sobol sequence that no trial has yet.

    Args:
        space: where they come from.
        archive: its candidates tell how far the sequence has come, and which points are taken.
        count: how many are wanted.
        seed: of this ask; only its first word, the run's seed, is used.
        origin: what the candidates say of where they come from.
        taken: points that are taken besides, by other candidates of this ask.
    """
    sampler = qmc.Sobol(d=space.dim, scramble=True, rng=np.random.default_rng(run_seed(seed)))
    if gone := archive.proposed_by(origin):
        sampler.fast_forward(gone)  # scipy refuses 0
    points = (space.snap(sampler.random(1)[0]) for _ in range(_MOST_DRAWS))
    # The archive's own points are not gathered anew at each ask.
    new = first_new(points, count, set(taken), archive.points)
    return [space.settled(Candidate(unit, origin)) for unit in new]


def run_seed(seed: SeedSequence) -> int:
    """The run's own seed, which the seed of each of its asks begins with."""
    entropy = seed.entropy
    first = entropy if entropy is None or isinstance(entropy, int) else next(iter(entropy))
    return int(first or 0)

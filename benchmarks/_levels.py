"""Live merges and layer paths of tiny families: what each level of HM3 is worth by itself.

Rule: all runs of a seed begin with the recipe's own values and have the same budget; a run is
judged by the items held out, which it never sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.random import SeedSequence

from benchmarks._memo import Row, key_of
from benchmarks._merges import CACHE, DATA, Live, Merges
from benchmarks._problem import Scored, record, value
from benchmarks.families import FAMILIES, LAYERS, Family
from mergekit_mo.layers import MERGE, Layers, Path, Walk
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.space import Candidate, Space

BUDGET = 40
FAMILIES_SHOWN = ("wren", "heron")
"""One for tuning, one that was kept out of it."""

LEVELS = ("{hm3: {levels: parameters}}", "{hm3: {levels: paths}}", "hm3")
"""Parameters alone, paths alone, both."""


class Stacks(Merges):
    """Merges of one family, and paths over the layers of a merge and of the sources.

    The holes are those of the `global` space: a weight and a density for each source of a DARE-TIES
    merge. A path may change members at each layer, pass over one or go through one twice.

    Args:
        family: whose models.
    """

    def __init__(self, family: Family) -> None:
        super().__init__(family, "global")
        self.name = f"{family.name}-levels"
        pool = (MERGE, *family.models[1:])
        layers = Layers(
            pool, (LAYERS,) * 4, LAYERS - 2, LAYERS + 2, skip=1, repeat=1, merge_depth=LAYERS
        )
        self.space = Space(self.space.configuration, layers)
        self.starts = self.space.starts()
        self.memo = type(self.memo)(
            family.digest, DATA / f"{self.name}.memo.xz", CACHE.parent / "levels" / family.name
        )

    def score(self, candidate: Candidate, config: Mapping[str, Any], seed: int) -> Scored:
        """See `Problem.score`."""
        return self._scored(self._answers(config, candidate.path), seed)

    def _answers(self, config: Mapping[str, Any], path: Path | None) -> Row:
        """What a path over a merge answers; made now if no process ever made it."""
        layers = self.space.layers
        assert layers is not None
        if path is None or path == layers.straight:
            return self.row(config)
        walk: Walk = layers.walk(path)
        key = key_of(self.family.digest, {"config": config, "walk": walk})
        row = self.memo.get(key)
        if row is None:
            if self._live is None:
                self._live = Live(self.family)
            row = self._live.row(config, walk)
            self.memo.put(key, row, self._live.about)
        return row


def stacks(name: str) -> Stacks:
    """A family's merges and paths."""
    return Stacks(FAMILIES[name])


def climb(problem: Stacks, optimizer: Optimizer, seed: int, budget: int) -> dict[str, Any]:
    """One search.

    Returns:
        `trace`: after each evaluation, the hypervolume of the search's front by the items held
        out; `best`: the best hold-out score of a member of the last front on each goal, anchored;
        `parents`: the hypervolume of base and sources; `bent`: how many members of the last front
        are no straight paths.
    """
    space = problem.space
    trace: list[float] = []
    with problem.archive(seed, optimizer.auxiliary) as archive:
        parents = archive.hypervolume(archive.references, "holdout")
        found = list(problem.starts)
        while len(trace) < budget:
            ask = archive.asks
            if not found:
                count = min(optimizer.batch, budget - len(trace))
                found = optimizer.ask(space, archive, count, SeedSequence((seed, ask)))
            if not found:
                break
            settled = [space.settled(candidate) for candidate in found[: budget - len(trace)]]
            entries = [(candidate, space.config(candidate.unit)) for candidate in settled]
            trials = archive.propose("candidate", entries, ask if trace else None)
            for candidate, trial in zip(settled, trials, strict=True):
                record(archive, trial.number, problem.score(candidate, trial.config, seed))
                trace.append(float(f"{value(archive):.5g}"))
            found = []
        front = archive.front()
        best = archive.matrix(front, "holdout").max(axis=0)
        straight = space.layers.straight if space.layers else None
        return {
            "trace": trace,
            "best": [float(f"{score:.4g}") for score in best],
            "parents": float(f"{parents:.5g}"),
            "bent": sum(trial.path != straight for trial in front),
            "front": len(front),
        }

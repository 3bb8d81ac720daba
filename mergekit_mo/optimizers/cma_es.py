"""CMA-ES on a weighted sum of the objectives: what mergekit-evolve does, with pycma.

Rule: the strategy is told the archive again at each ask, generation by generation in the order of
the trials' numbers, with the run's own random sequence, so that any ask goes on where the last one
ended. It sees places in an order, never scores: an infeasible trial comes after all feasible ones.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers._new import Unit, first_new
from mergekit_mo.optimizers._standing import generations, standing, told
from mergekit_mo.optimizers.sobol import run_seed, spread
from mergekit_mo.optional import require
from mergekit_mo.space import Candidate, Space
from mergekit_mo.trial import Trial

_DRAWS = 4  # populations drawn in a generation at most: some points are known, some fail
_ORIGIN = "cma-es"
_LEAST_DIM = 2  # pycma does not do one dimension: an idle one is added


@dataclass(frozen=True)
class CMAES(Optimizer):
    """Evolves one weighted sum of the objectives (CMA-ES, as in mergekit-evolve).

    It begins at the recipe's own values. Sums are of anchored scores, 0 the worst and 1 the best
    source on each objective.

    Attributes:
        weights: of the objectives, in the recipe's order; None for equal ones.
        population: trials in a generation; None for 4 + 3 ln d (Hansen 2016).
        sigma: the first spread, in the unit cube; mergekit-evolve's own.
    """

    weights: tuple[float, ...] | None = None
    population: int | None = None
    sigma: float = 1 / 6

    def __post_init__(self) -> None:
        require("cma", "cma-es")
        if self.weights is not None:
            object.__setattr__(self, "weights", _checked(self.weights))  # a YAML list has no hash
        if self.population is not None and self.population < 4:
            raise ValueError(f"population must be 4 or more, not {self.population}")
        if not 0 < self.sigma <= 1:
            raise ValueError(f"sigma must be above 0 and at most 1, not {self.sigma:g}")

    def refusal(self, budget: int, space: Space, goals: int) -> str:
        """See `Optimizer.refusal`."""
        if self.weights is not None and len(self.weights) != goals:
            return f"{len(self.weights)} weights for {goals} objectives: give one for each"
        if budget <= (size := self._size(space)):
            return (
                f"a budget of {budget} ends within the first population of {size}, from which "
                "nothing is learnt: set a smaller population (4 is the least), or a larger budget"
            )
        return ""

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`.

        Raises:
            ValueError: there are more or fewer weights than objectives.
        """
        known = {t.unit for t in (*archive.trials, *told(space, archive))}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pycma warns of points that are not its own
            drawn = self._replayed(space, archive, run_seed(seed)).draw()
            new = first_new((unit for unit, _ in drawn), count, known)
        found = [Candidate(unit, _ORIGIN) for unit in new]
        return found + spread(space, archive, count - len(new), seed, "sobol", new)

    def _replayed(self, space: Space, archive: Archive, seed: int) -> _Strategy:
        """The strategy after all generations of which every trial has finished."""
        size, weights = self._size(space), self.weights or (1.0,) * len(archive.goals)
        if len(weights) != len(archive.goals):
            raise ValueError(f"{len(weights)} weights for {len(archive.goals)} objectives")
        full = generations(told(space, archive), size)
        over = list(
            takewhile(lambda group: all(t.status in ("done", "stopped") for t in group), full)
        )
        ended = [t for group in over for t in group]
        done = [t for t in ended if t.status == "done"]
        places = standing(archive, done).ranks(weights)
        # Something on the front beats those that were stopped in everything.
        ranks = {t.number: float(len(done)) for t in ended}
        ranks |= {t.number: float(p) for t, p in zip(done, places, strict=True)}
        strategy = _Strategy(space, size, self.sigma, seed)
        for group in over:
            strategy.tell(group, [ranks[t.number] for t in group])
        return strategy

    def _size(self, space: Space) -> int:
        return self.population or 4 + int(3 * math.log(max(space.dim, _LEAST_DIM)))


class _Strategy:
    """pycma's strategy in the unit cube, with a random sequence for each generation."""

    def __init__(self, space: Space, size: int, sigma: float, seed: int) -> None:
        import cma

        self._space, self._size, self._seed = space, size, seed
        self._rng = np.random.default_rng(seed)
        options = {
            "bounds": [0.0, 1.0],
            "popsize": size,
            "randn": lambda *shape: self._rng.standard_normal(shape),
            "seed": float("nan"),  # leaves numpy's global generator alone
            "verbose": -9,
            "verb_log": 0,
            "verb_disp": 0,
        }
        own = space.starts()[0].unit
        self._strategy: Any = cma.CMAEvolutionStrategy(_padded(own), sigma, options)

    def draw(self) -> Iterator[tuple[Unit, Any]]:
        """Points of this generation, always the same ones: snapped, and as they were drawn."""
        self._rng = np.random.default_rng([self._seed, self._strategy.countiter])
        for _ in range(_DRAWS):
            for point in self._strategy.ask(self._size):
                yield self._space.snap(point[: self._space.dim].tolist()), point

    def tell(self, group: Sequence[Trial], ranks: Sequence[float]) -> None:
        """Ends a generation.

        A point is told as it was drawn: rounded to choices and whole numbers, it would shrink the
        distribution to nothing there.
        """
        missing = {t.unit for t in group if t.origin == _ORIGIN}
        drawn: dict[Unit | None, Any] = {}
        for unit, point in self.draw():
            if unit in missing:
                drawn[unit] = point
                missing.remove(unit)
            if not missing:
                break
        points = [drawn.get(t.unit, _padded(t.unit or ())) for t in group]
        self._strategy.tell(points, ranks)


def _padded(unit: Sequence[float]) -> list[float]:
    return [*unit, *[0.5] * (_LEAST_DIM - len(unit))]


def _checked(weights: Any) -> tuple[float, ...]:
    numbers = isinstance(weights, list | tuple) and all(
        isinstance(w, int | float) and not isinstance(w, bool) and math.isfinite(w) and w >= 0
        for w in weights
    )
    if not numbers or not any(weights):
        what = "weights must be a list of numbers of 0 or more, not all of them 0"
        raise ValueError(f"{what}, not {weights!r}")
    return tuple(float(w) for w in weights)

"""NSGA-II (Deb et al. 2002) with pymoo's operators: the evolutionary baseline.

Rule: generations are read off the archive, `population` trials each in the order of their numbers,
and the children of each are one random sequence of the run's, so that any ask goes on where the
last one ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers._new import first_new
from mergekit_mo.optimizers._standing import generations, standing, told
from mergekit_mo.optimizers.sobol import run_seed, spread
from mergekit_mo.optional import require
from mergekit_mo.pareto import Matrix
from mergekit_mo.space import Candidate, Space
from mergekit_mo.trial import Trial

_MOST_MATINGS = 20  # rounds of a population's children each, until enough of them are new
_SURVIVAL, _MATING = 0, 1  # keep their random sequences apart


@dataclass(frozen=True)
class NSGA2(Optimizer):
    """Breeds generations by rank and crowding (NSGA-II, with pymoo's operators).

    The first generation is the sources, where the space can express them, the recipe's own
    candidates and Sobol points. Trials that break a threshold come after all others, the least
    violation first.

    Attributes:
        population: trials in a generation.
        crossover: the probability that two parents are crossed (simulated binary crossover).
        crossover_eta: the larger, the nearer children stay to their parents.
        mutation_eta: likewise, in polynomial mutation.
    """

    population: int = 20
    crossover: float = 0.9
    crossover_eta: float = 15.0
    mutation_eta: float = 20.0

    def __post_init__(self) -> None:
        require("pymoo", "nsga2")
        if self.population < 4:
            raise ValueError(f"population must be 4 or more, not {self.population}")
        if not 0 <= self.crossover <= 1:
            raise ValueError(f"crossover must be from 0 to 1, not {self.crossover:g}")
        for name in ("crossover_eta", "mutation_eta"):
            if not 1 <= getattr(self, name) <= 100:
                raise ValueError(f"{name} must be from 1 to 100, not {getattr(self, name):g}")

    def refusal(self, budget: int, space: Space, goals: int) -> str:  # noqa: ARG002
        """See `Optimizer.refusal`."""
        if budget > self.population:
            return ""
        return (
            f"a budget of {budget} ends within the first population of {self.population}, which "
            "is blind to every score: set a smaller population, or a larger budget"
        )

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        trials = told(space, archive)
        first = min(count, max(0, self.population - len(trials)))
        found = spread(space, archive, first, seed, "sobol")
        if len(found) < count:
            full = generations(trials, self.population)
            known = {t.unit for t in (*archive.trials, *trials)}.union(c.unit for c in found)
            children = self._children(space, archive, full, run_seed(seed))
            new = first_new(children, count - len(found), known)
            found += [Candidate(unit, "nsga2") for unit in new]
        taken = [candidate.unit for candidate in found]
        return found + spread(space, archive, count - len(found), seed, "sobol", taken)

    def _children(
        self, space: Space, archive: Archive, full: Sequence[Sequence[Trial]], seed: int
    ) -> Iterator[tuple[float, ...]]:
        """Snapped children of the full generations' survivors, always in the same order."""
        from pymoo.algorithms.moo.nsga2 import binary_tournament
        from pymoo.core.mating import Mating
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.selection.tournament import TournamentSelection

        problem = Problem(n_var=space.dim, n_obj=len(archive.goals), n_ieq_constr=1, xl=0.0, xu=1.0)
        parents = self._survivors(archive, full, problem, seed)
        if len(parents) < 2:
            return
        mating = Mating(
            TournamentSelection(func_comp=binary_tournament),
            SBX(prob=self.crossover, eta=self.crossover_eta),
            PM(eta=self.mutation_eta),
        )
        rng = np.random.default_rng([seed, _MATING, len(full)])
        rules = SimpleNamespace(tournament_type="comp_by_dom_and_crowding", random_state=rng)
        for _ in range(_MOST_MATINGS):
            children = mating.do(
                problem, parents, self.population, random_state=rng, algorithm=rules
            )
            for row in _with_other_choices(space, children.get("X"), rng):
                yield space.snap(row)

    def _survivors(
        self, archive: Archive, full: Sequence[Sequence[Trial]], problem: Any, seed: int
    ) -> Any:
        """The pymoo population that the full generations leave, each ranked as it came."""
        from pymoo.core.population import Population
        from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

        done = [t for group in full for t in group if t.status == "done"]
        stand = standing(archive, done)
        rows = {t.number: i for i, t in enumerate(done)}
        X = np.array([t.unit for t in done]).reshape(len(done), problem.n_var)
        everybody = Population.new(
            "X", X, "F", -stand.Y, "G", stand.violations[:, None]
        )  # n x d, n x m, n x 1
        survivors = Population()
        for i, group in enumerate(full):
            born = everybody[[rows[t.number] for t in group if t.number in rows]]
            survivors = RankAndCrowding().do(
                problem,
                Population.merge(survivors, born),
                n_survive=self.population,
                random_state=np.random.default_rng([seed, _SURVIVAL, i]),
            )
        return survivors


def _with_other_choices(space: Space, X: Matrix, rng: np.random.Generator) -> list[list[float]]:
    """Children, each choice drawn anew once in `d` times: mutations of numbers seldom reach it."""
    choice = np.array([bool(axis.choices) for axis in space.axes])  # d
    drawn = rng.random(X.shape)  # n x d
    anew = choice & (rng.random(X.shape) < 1 / space.dim)  # n x d
    rows: list[list[float]] = np.where(anew, drawn, X).tolist()
    return rows

"""Problems with known fronts, on the same archive as real merges.

Rule: the reference trials are planted so that the archive's own reference point, -0.1 on every
anchored scale, is the problem's; thus optimizers aim at what is reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from botorch.test_functions import multi_objective as functions
from botorch.utils.transforms import unnormalize

from benchmarks._problem import Problem, Reference, Scored, Scores
from mergekit_mo.scales import REFERENCE
from mergekit_mo.space import Candidate, Space
from mergekit_mo.testing.planted import small_space
from mergekit_mo.trial import Goal, Measurement

_START = 0.8
"""The recipe's own value on every axis: no optimum of any of these problems lies there."""

SLACK = "slack"


@dataclass(frozen=True)
class Task:
    """An analytic problem.

    Attributes:
        make: gives botorch's test function.
        best: of each objective, a value that no point betters; with the reference point it
            settles the scale.
        budget: evaluations.
        noise: standard deviation of the noise on anchored scales.
    """

    make: Callable[[], Any]
    best: Sequence[float]
    budget: int
    noise: float = 0.0


TASKS: dict[str, Task] = {
    "dtlz2-6-2": Task(lambda: functions.DTLZ2(6, 2), (0, 0), 60),
    "dtlz2-6-3": Task(lambda: functions.DTLZ2(6, 3), (0, 0, 0), 40),
    "dtlz2-20-2": Task(lambda: functions.DTLZ2(20, 2), (0, 0), 100),
    "zdt1": Task(lambda: functions.ZDT1(10, 2), (0, 0), 40),
    "zdt2": Task(lambda: functions.ZDT2(10, 2), (0, 0), 40),
    "zdt3": Task(lambda: functions.ZDT3(10, 2), (0, -0.78), 40),
    "vehicle-safety": Task(functions.VehicleSafety, (1661.7, 6.14, 0.039), 40),
    "c2-dtlz2": Task(lambda: functions.C2DTLZ2(6, 2), (0, 0), 40),
    "noisy-dtlz2": Task(lambda: functions.DTLZ2(6, 2), (0, 0), 60, noise=0.05),
}


class Analytic(Problem):
    """A test function of botorch, minimised, over the unit cube.

    A constraint is a further goal with a threshold, as it is in a recipe. Its references are all
    equal, so that its scale is not anchored and reported hypervolumes leave it out.

    Args:
        name: of `TASKS`.
    """

    def __init__(self, name: str) -> None:
        task = TASKS[name]
        self.name, self.budget, self.noise = name, task.budget, task.noise
        self.function = task.make()
        self.corner = [float(r) for r in self.function.ref_point]  # m
        self.best = [float(b) for b in task.best]  # m
        self.space = cube(self.function.dim)
        self.constrained = bool(getattr(self.function, "num_constraints", 0))
        self.goals = [Goal(f"f{i + 1}", False) for i in range(len(self.best))]
        if self.constrained:
            self.goals.append(Goal(SLACK, True, 0.0))

    @property
    def worst(self) -> list[float]:
        """The values that become 0, so that the problem's reference point becomes -0.1."""
        return [
            (corner - REFERENCE * best) / (1 - REFERENCE)
            for corner, best in zip(self.corner, self.best, strict=True)
        ]

    @property
    def widths(self) -> list[float]:
        """What a unit of each anchored scale is worth."""
        return [w - b for w, b in zip(self.worst, self.best, strict=True)]

    def references(self, seed: int) -> list[Reference]:
        """Two planted parents: one bad, one good in everything."""
        del seed
        found = []
        for name, row in (("bad", self.worst), ("good", self.best)):
            scores = self._named([*row, 0.0])
            found.append(Reference(name, {}, Scored(scores, scores)))
        return found

    def score(self, candidate: Candidate, config: Mapping[str, Any], seed: int) -> Scored:
        """See `Problem.score`; a point's noise is its own, the same for whoever asks for it."""
        del config
        true = self.values(candidate.unit)
        if not self.noise:
            scores = self._named(true)
            return Scored(scores, scores)
        words = [seed, *(int(u * 2**32) for u in candidate.unit)]
        chance = np.random.default_rng(np.random.SeedSequence(words))
        noisy = [
            Measurement(v + self.noise * w * chance.standard_normal(), self.noise * w)
            for v, w in zip(true, self.widths, strict=True)
        ]
        search = {goal.name: m for goal, m in zip(self.goals, noisy, strict=True)}
        return Scored(search, self._named(true))

    def values(self, unit: Sequence[float]) -> list[float]:
        """The objectives at a point, and the constraint's slack if there is one."""
        x = unnormalize(torch.tensor([unit], dtype=torch.double), self.function.bounds.double())
        found = [float(v) for v in self.function(x)[0]]
        if self.constrained:
            found.append(float(self.function.evaluate_slack(x)[0, 0]))
        return found

    def most(self, seed: int) -> float:
        """The known maximum, in units of the anchored scales."""
        del seed
        return float(self.function.max_hv) / math.prod(self.widths)

    def _named(self, values: Sequence[float]) -> Scores:
        return {g.name: Measurement(v, 0.0) for g, v in zip(self.goals, values, strict=False)}


@cache
def cube(dim: int) -> Space:
    """Weights of `dim` models from 0 to 1: coordinates and values are the same."""
    hole = f"{{value: {_START}, low: 0, high: 1}}"
    models = "".join(f"  - {{model: a/m{i}, parameters: {{weight: {hole}}}}}\n" for i in range(dim))
    fixed = "  - {model: a/fixed, parameters: {weight: 1}}\n"  # a merge takes two models
    return small_space(f"merge_method: linear\nmodels:\n{models}{fixed}")

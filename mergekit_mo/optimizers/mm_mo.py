"""MM-MO: Bayesian optimisation of merges, as it was published and as it turned out to work.

Rule: each part is a switch of its own, and what is on by default is what paid in
`benchmarks/optimizers.py`; the other variants are the method as it was published.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers._children import bred, elite
from mergekit_mo.optimizers.qlognehvi import QLogNEHVI, Turn
from mergekit_mo.optimizers.random import uniform
from mergekit_mo.pareto import Matrix
from mergekit_mo.space import Candidate, Space

if TYPE_CHECKING:
    from botorch.acquisition import AcquisitionFunction

    from mergekit_mo.optimizers._surrogate import Learning

VARIANTS = ("default", "paper", "official")

_CHILDREN = 16  # bred at each turn
_STARTS = 2  # of them, from which the acquisition is maximised besides
_SCREEN = 0.1  # of the log-acquisition: within it of the best, the least known is chosen
_NEIGHBOURS, _NEAR = 32, 0.05  # points about the best, and their distance along a coordinate
_LEAST_ELITES = 3  # a difference of two, added to a third

Unit = tuple[float, ...]


@dataclass(frozen=True)
class MMMO(QLogNEHVI):
    """MM-MO (Li et al. 2024): qLogNEHVI with weak-to-strong children and a Fisher screen.

    In the default, low scores are compressed before the surrogate sees them, which is what paid.
    The paper's three parts can be switched on where they can still act: children of elites are
    starting points of the acquisition's maximisation and hold one candidate in `slot`; among
    candidates that are about as good as the best, the one that the surrogate knows least about is
    chosen; and the distance from the base is one more objective for the acquisition. `official` is
    the authors' run step by step, in which the reference point is in raw units and the surrogate is
    not, so that the acquisition is blind; `paper` is the same with one unit for both. The settings
    of `qlognehvi` hold as well.

    Attributes:
        variant: `default`, `paper` or `official`.
        weak_to_strong: whether candidates are crossed with elites; None, here and below, for the
            variant's own habit: yes for the published ones, no for the default.
        fisher: whether the least known are preferred.
        sparsity: whether the distance from the base steers the search.
        elites: how many trials are strong.
        scale: the weight of a difference of elites, F.
        crossover: the probability of a coordinate to come from an elite's mutant, CR.
        slot: one candidate in so many is a child.
        warp: whether low scores may be compressed; only in `default`, like the next.
        relevance: whether holes over weights that the sources hardly changed are expected to matter
            less.
    """

    variant: str = "default"
    weak_to_strong: bool | None = None
    fisher: bool | None = None
    sparsity: bool | None = None
    elites: int = 5
    scale: float = 0.5
    crossover: float = 0.5
    slot: int = 4
    warp: bool = True
    relevance: bool = False
    design: str = "soup"

    _origin: ClassVar[str] = "mm-mo"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant is {', '.join(VARIANTS)}, not {self.variant!r}")
        if self.elites < _LEAST_ELITES:
            raise ValueError(f"elites must be {_LEAST_ELITES} or more, not {self.elites}")
        if not 0 < self.scale <= 2:
            raise ValueError(f"scale must be above 0 and at most 2, not {self.scale:g}")
        if not 0 <= self.crossover <= 1:
            raise ValueError(f"crossover must be from 0 to 1, not {self.crossover:g}")
        super().__post_init__()

    @property
    def auxiliary(self) -> tuple[str, ...]:
        """See `Optimizer.auxiliary`."""
        return ("sparsity",) if self._steered else ()

    @property
    def wants_differences(self) -> bool:
        """See `Optimizer.wants_differences`."""
        return self.relevance

    @property
    def batch(self) -> int:
        """See `Optimizer.batch`."""
        if self.variant == "default":
            return 1
        from mergekit_mo.optimizers._published import EVALUATED

        return EVALUATED

    @property
    def _steered(self) -> bool:
        return self._on(self.sparsity)

    def _on(self, part: bool | None) -> bool:
        """Whether a part of the paper's is switched on."""
        return self.variant != "default" if part is None else part

    def refusal(self, budget: int, space: Space, goals: int) -> str:
        """See `Optimizer.refusal`."""
        if self.variant == "default":
            return super().refusal(budget, space, goals)
        from mergekit_mo.optimizers._published import INITIAL

        if budget > INITIAL:
            return ""
        return f"a budget of {budget} ends within the {INITIAL} initial trials: set a larger one"

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        if self.variant == "default":
            return super().ask(space, archive, count, seed)
        return self._published(space, archive, count, seed)

    def _published(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """The authors' rounds: ten uniform draws, then five of ten candidates at a time."""
        from mergekit_mo.optimizers import _published as published
        from mergekit_mo.optimizers import _surrogate as surrogates

        first, second = (int(word) for word in seed.generate_state(2))
        taken = {t.unit for t in archive.candidates if t.unit}
        new: list[Unit] = []
        if len(archive.candidates) >= published.INITIAL:
            rules = published.Round(
                mended=self.variant == "paper",
                weak_to_strong=self._on(self.weak_to_strong),
                fisher=self._on(self.fisher),
                elites=self.elites,
                scale=self.scale,
                crossover=self.crossover,
                fit_iterations=self.fit_iterations,
            )
            with surrogates.private_randomness(first):
                proposed = rules.propose(space, archive, np.random.default_rng(second))
            new = [unit for unit in proposed if unit not in taken][:count]
        found = [Candidate(unit, self._origin) for unit in new]
        return found + uniform(space, archive, count - len(new), seed, taken=new)

    def _learning(self, space: Space, archive: Archive) -> Learning:
        """See `QLogNEHVI._learning`."""
        from mergekit_mo.optimizers._relevance import stretches

        norms = archive.fact("differences") if self.relevance else None
        stretch = stretches(space, norms) if norms else ()
        return replace(super()._learning(space, archive), warp=self.warp, stretch=stretch)

    def _best(self, acquisition: AcquisitionFunction, turn: Turn) -> Unit | None:
        """See `QLogNEHVI._best`."""
        from mergekit_mo.optimizers._acquisition import evaluate, maximise, ranked

        number = len(turn.archive.candidates) + turn.number
        children = self._children(turn).tolist() if self._on(self.weak_to_strong) else []
        if children and number % self.slot == self.slot - 1:
            points = children
        else:
            starts = []
            if children:
                values = evaluate(acquisition, children)
                best = values.argsort(descending=True, stable=True)[:_STARTS]
                starts = [children[i] for i in best.tolist()]
            points = maximise(acquisition, turn.space.dim, self._effort, starts)
        found = [
            (unit, value)
            for unit, value in ranked(acquisition, turn.space, points)
            if unit not in turn.taken
        ]
        if not found or not self._on(self.fisher):
            return found[0][0] if found else None
        return self._screened(acquisition, turn, found)

    def _screened(
        self, acquisition: AcquisitionFunction, turn: Turn, found: list[tuple[Unit, float]]
    ) -> Unit:
        """Of points about as good as the best, its neighbours included, the least known one.

        Local maxima are seldom so near each other in value that there is a choice among them.
        """
        from mergekit_mo.optimizers._acquisition import evaluate

        best, most = found[0]
        steps = turn.rng.normal(scale=_NEAR, size=(_NEIGHBOURS, len(best)))
        units = [turn.space.snap(point) for point in np.clip(best + steps, 0.0, 1.0)]
        values = evaluate(acquisition, units).tolist()
        pool: dict[Unit, float] = dict(found) | {
            u: v for u, v in zip(units, values, strict=True) if u not in turn.taken
        }
        near = [unit for unit, value in pool.items() if value >= most - _SCREEN]
        return near[int(np.argmin(_information(near, turn)))]

    def _children(self, turn: Turn) -> Matrix:
        """Children of elites, each the candidate of the others' mutant, `k x d`; or none."""
        strong = elite(turn.data, len(turn.archive.goals), self.elites)
        if len(strong) < _LEAST_ELITES:
            return np.empty((0, turn.space.dim))
        elites = turn.data.X[strong]
        candidates = elites[turn.rng.integers(len(elites), size=_CHILDREN)]
        return bred(candidates, elites, turn.rng, self.scale, self.crossover)


def _information(units: list[Unit], turn: Turn) -> Matrix:
    """The Fisher information at `k` points: the precisions of all objectives, summed."""
    import torch

    _, variances = turn.surrogate.predict(torch.tensor(units, dtype=torch.double))  # k x m
    found: Matrix = (1 / variances).sum(dim=-1).numpy()
    return found

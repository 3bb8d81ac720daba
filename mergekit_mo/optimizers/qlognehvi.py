"""qLogNEHVI: the candidate that is expected to enlarge the front's hypervolume most.

Rule: failed trials have no scores here, made up or not; they count as pending, so that their
surroundings are not asked again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers.sobol import spread
from mergekit_mo.space import Candidate, Space

_MOST_FAILED = 8  # failed trials that count as pending, the latest


@dataclass(frozen=True)
class QLogNEHVI(Optimizer):
    """Bayesian optimisation with the logarithmic noisy expected hypervolume improvement.

    Space-filling trials first; then Gaussian processes, one for each objective, and the
    acquisition of Daulton et al. 2021 and Ament et al. 2023. Above four objectives, random
    scalarisations (qLogNParEGO) take the hypervolume's place.

    Attributes:
        initial: trials before the surrogate takes over, the recipe's own first ones included;
            None for a number that suits dimensions and objectives.
        samples: from the posterior; None for a number that suits the objectives.
        restarts: starting points of the acquisition's maximisation.
        raw_samples: points among which these are chosen.
        iterations: the most that improving the starting points may take.
        fit_iterations: the most that fitting an objective's hyperparameters may take.
    """

    initial: int | None = None
    samples: int | None = None
    restarts: int = 4
    raw_samples: int = 128
    iterations: int = 50
    fit_iterations: int = 50

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 2 if field.name == "initial" else 1
            if value is not None and value < least:
                raise ValueError(f"{field.name} must be {least} or more, not {value}")
        if self.raw_samples < self.restarts:
            raise ValueError("raw_samples must not be fewer than restarts, which are among them")

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        initial = self.initial or default_initial(space.dim, len(archive.goals))
        tried = [t for t in archive.candidates if t.status != "failed"]
        first = min(count, max(0, initial - len(tried)))
        found = spread(space, archive, first, seed, "sobol")
        finished = sum(t.status == "done" for t in tried)
        if len(found) < count and finished >= max(2, initial // 2):
            found += self._informed(space, archive, found, count - len(found), seed)
        taken = [candidate.unit for candidate in found]
        return found + spread(space, archive, count - len(found), seed, "sobol", taken)

    def _informed(
        self,
        space: Space,
        archive: Archive,
        found: list[Candidate],
        count: int,
        seed: SeedSequence,
    ) -> list[Candidate]:
        """Candidates one after the other, each with those before it pending."""
        # Here because they take seconds, and a recipe's settings are checked without them.
        from mergekit_mo.optimizers import _acquisition as acquisitions
        from mergekit_mo.optimizers import _surrogate as surrogates

        first, second = (int(word) for word in seed.generate_state(2))
        effort = acquisitions.Effort(self.restarts, self.raw_samples, self.iterations)
        taken = {t.unit for t in archive.candidates if t.unit}
        pending = [*closed(archive), *(candidate.unit for candidate in found)]
        new: list[Candidate] = []
        with surrogates.private_randomness(first):
            surrogate = surrogates.learn(archive.data(), archive.scales, self.fit_iterations)
            while surrogate and len(new) < count:
                known = taken.union(pending)
                try:
                    value = acquisitions.make_acquisition(surrogate, pending, self.samples, second)
                    unit = value and acquisitions.best_new(value, space, known, effort)
                except surrogates.NUMERICAL_ERRORS:
                    break
                if unit is None:
                    break
                pending.append(unit)
                new.append(Candidate(unit, "qlognehvi"))
        return new


def default_initial(dim: int, goals: int) -> int:
    """How many space-filling trials a surrogate needs to begin with: more dimensions, more trials.

    Bounded, because a budget of thirty trials is to leave most of them to the surrogate.
    """
    return max(4, min(2 * (dim + 1), 6 + 2 * goals))


def closed(archive: Archive) -> list[tuple[float, ...]]:
    """Points that are not to be asked again, nor their surroundings: the waiting and the failed."""
    waiting = [t.unit for t in archive.candidates if t.status == "waiting" and t.unit]
    failed = [t.unit for t in archive.candidates if t.status == "failed" and t.unit]
    return failed[-_MOST_FAILED:] + waiting

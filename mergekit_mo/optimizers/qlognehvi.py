"""qLogNEHVI: the candidate that is expected to enlarge the front's hypervolume most.

Rule: failed trials have no scores here, made up or not; they count as pending, so that their
surroundings are not asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.random import Generator, SeedSequence

from mergekit_mo.archive import Archive, Data
from mergekit_mo.expressed import expressed
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers.sobol import spread
from mergekit_mo.optimizers.soup import mixes, owners_of
from mergekit_mo.pareto import Matrix
from mergekit_mo.residuals import residual_variances
from mergekit_mo.scales import Scale
from mergekit_mo.space import Candidate, Space

if TYPE_CHECKING:
    from botorch.acquisition import AcquisitionFunction

    from mergekit_mo.optimizers._acquisition import Effort
    from mergekit_mo.optimizers._surrogate import Learning, Surrogate

DESIGNS = ("sobol", "soup")

_LEAST_INITIAL = 4
_AT_LARGE = 4  # one candidate in so many heeds no preferred weights
_FIRMNESS = 30.0  # of drawn weights: the larger, the nearer to the preferred ones
_LEAST_SHARE = 0.1
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
        noise: `learnt`, one variance for each objective; or `items`, the variance of what is left
            of a trial's answers when the items' own difficulty is taken out.
        matern: Matern-5/2 kernels in place of squared exponentials: rougher objectives.
        design: what the initial trials are: `sobol`, even coverage; or `soup`, the walk of that
            optimizer, mixes whose weights add up to one, where there are weights to search.
    """

    initial: int | None = None
    samples: int | None = None
    restarts: int = 4
    raw_samples: int = 128
    iterations: int = 50
    fit_iterations: int = 50
    noise: str = "learnt"
    matern: bool = False
    design: str = "sobol"

    heeds_preference: ClassVar[bool] = True
    heeds_auxiliary: ClassVar[bool] = True
    _origin: ClassVar[str] = "qlognehvi"
    _scalarised: ClassVar[bool] = False
    """Whether random scalarisations take the hypervolume's place from two objectives on."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 2 if field.name == "initial" else 1
            if type(value) is int and value < least:
                raise ValueError(f"{field.name} must be {least} or more, not {value}")
        if self.noise not in ("learnt", "items"):
            raise ValueError(f"noise is learnt or items, not {self.noise!r}")
        if self.design not in DESIGNS:
            raise ValueError(f"design is {' or '.join(DESIGNS)}, not {self.design!r}")
        if self.raw_samples < self.restarts:
            raise ValueError("raw_samples must not be fewer than restarts, which are among them")

    def refusal(self, budget: int, space: Space, goals: int) -> str:  # noqa: ARG002
        """See `Optimizer.refusal`."""
        if self.initial is None or budget > self.initial:
            return ""
        what = f"a budget of {budget} ends within the {self.initial} initial trials"
        return f"{what}: set fewer, or a larger budget"

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        initial = self.initial or self._usual_initial(space, len(archive.goals))
        tried = [t for t in archive.candidates if t.status != "failed"]
        first = min(count, max(0, initial - len(tried)))
        found = self._initial(space, archive, first, seed)
        finished = sum(t.status in ("done", "stopped") for t in tried)
        if len(found) < count and finished >= max(2, initial // 2):
            found += self._informed(space, archive, found, count - len(found), seed)
        taken = [candidate.unit for candidate in found]
        return found + spread(space, archive, count - len(found), seed, "sobol", taken)

    def _mixes(self, space: Space) -> bool:
        """Whether the initial design is one of mixes."""
        return self.design == "soup" and len(owners_of(space)) > 1

    def _usual_initial(self, space: Space, goals: int) -> int:
        """How many trials it has; of mixes, nearly all of which are worth something, fewer."""
        usual = default_initial(space.dim, goals)
        return max(_LEAST_INITIAL, min(space.dim, usual)) if self._mixes(space) else usual

    def _initial(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """Candidates of the initial design."""
        if count and self._mixes(space):
            return mixes(space, archive, count, seed, expressed(space).values())
        return spread(space, archive, count, seed, "sobol")

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
        sources = expressed(space)
        pending = [*closed(archive), *(candidate.unit for candidate in found)]
        taken = {t.unit for t in archive.candidates if t.unit}.union(sources.values())
        rng = np.random.default_rng(second)
        new: list[Candidate] = []
        with surrogates.private_randomness(first):
            # Item by item, only those can be compared that answered the same ones.
            partial = self.noise != "items"
            data = archive.data(auxiliary=True, expressed=sources, partial=partial)
            scales = archive.steering_scales
            if self.noise == "items":
                data = _with_item_noise(data, scales, archive)
            surrogate = surrogates.learn(data, scales, self._learning(space, archive))
            if surrogate:
                surrogate = surrogate.bounded(_least(archive, scales))
            while surrogate and len(new) < count:
                known = taken.union(pending)
                try:
                    value = acquisitions.make_acquisition(
                        surrogate,
                        pending,
                        self.samples,
                        second,
                        scalarised=self._scalarised,
                        weights=drawn_weights(archive, len(new), rng),
                    )
                    turn = Turn(space, archive, data, surrogate, known, len(new), rng)
                    unit = value and self._best(value, turn)
                except surrogates.NUMERICAL_ERRORS:
                    break
                if unit is None:
                    break
                pending.append(unit)
                new.append(Candidate(unit, self._origin))
        return new

    def _learning(self, space: Space, archive: Archive) -> Learning:  # noqa: ARG002
        """How the surrogate learns."""
        from mergekit_mo.optimizers._surrogate import Learning, Noise

        noise: Noise = "items" if self.noise == "items" else "learnt"
        return Learning(self.fit_iterations, noise, self.matern)

    def _best(self, acquisition: AcquisitionFunction, turn: Turn) -> tuple[float, ...] | None:
        """The next candidate's point; None where there is none."""
        from mergekit_mo.optimizers._acquisition import best_new

        return best_new(acquisition, turn.space, turn.taken, self._effort)

    @property
    def _effort(self) -> Effort:
        """How hard an acquisition is maximised."""
        from mergekit_mo.optimizers._acquisition import Effort

        return Effort(self.restarts, self.raw_samples, self.iterations)


@dataclass(frozen=True)
class Turn:
    """What is known when a candidate is chosen.

    Attributes:
        space: where it comes from.
        archive: every trial so far.
        data: what the surrogate learnt from.
        surrogate: what it learnt.
        taken: points that are out of the question.
        number: how many candidates this ask has chosen before.
        rng: what else is left to chance.
    """

    space: Space
    archive: Archive
    data: Data
    surrogate: Surrogate
    taken: set[tuple[float, ...]]
    number: int
    rng: Generator


def _with_item_noise(data: Data, scales: Sequence[Scale], archive: Archive) -> Data:
    """Data with the variances of item residuals where there are any, and those of scores else."""
    found = residual_variances(archive, data.numbers, [s.goal.name for s in scales])  # n x m
    found /= np.array([s.width for s in scales]) ** 2
    exact = data.Yvar == 0
    return replace(data, Yvar=np.where(np.isfinite(found) & ~exact, found, data.Yvar))


def _least(archive: Archive, scales: Sequence[Scale]) -> Matrix:
    """The preferred bounds on the scales, `m`; -inf where there is none."""
    bounds = archive.preference.at_least
    return np.array([s.up(bounds.get(s.goal.name, -s.goal.sign * np.inf)) for s in scales])


def drawn_weights(
    archive: Archive, number: int, rng: Generator, at: int | None = None
) -> Matrix | None:
    """Weights near the preferred ones, `m`; None without any, and for one candidate in four.

    Near and not at them, so that a whole neighbourhood is searched; one in four goes to the front
    at large, lest what is preferred is preferred of too little.

    Args:
        archive: whose preference it is.
        number: of the candidate, counted from `at`.
        rng: draws them.
        at: the number of candidates before; None for those of the archive.
    """
    weights = archive.preference.weights
    before = len(archive.candidates) if at is None else at
    if not weights or (before + number) % _AT_LARGE == 0:
        return None
    wanted = np.array([weights.get(goal.name, 0.0) for goal in archive.goals])
    shares = wanted / wanted.sum() * _FIRMNESS + _LEAST_SHARE
    others = np.zeros(len(archive.auxiliary))
    return np.append(rng.dirichlet(shares), others)


def default_initial(dim: int, goals: int) -> int:
    """How many space-filling trials a surrogate needs to begin with: more dimensions, more trials.

    Bounded, because a budget of thirty trials is to leave most of them to the surrogate.
    """
    return max(_LEAST_INITIAL, min(2 * (dim + 1), 6 + 2 * goals))


def closed(archive: Archive) -> list[tuple[float, ...]]:
    """Points that are not to be asked again, nor their surroundings: the waiting and the failed."""
    waiting = [t.unit for t in archive.candidates if t.status == "waiting" and t.unit]
    failed = [t.unit for t in archive.candidates if t.status == "failed" and t.unit]
    return failed[-_MOST_FAILED:] + waiting

"""HM3: merged parameters above, paths over layers below, and one policy for every preference.

Rule: each part is a switch of its own, and what is on by default is what paid in
`benchmarks/paths.py`; the other variant is the method as it was published.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.random import Generator, SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers._lessons import Lessons, lessons
from mergekit_mo.optimizers._paths import Point, crossed, fresh, mutated, taken
from mergekit_mo.optimizers._straight import merger, straight_merges
from mergekit_mo.optimizers._turns import turns
from mergekit_mo.optimizers._wish import Wish
from mergekit_mo.optimizers.evolution import first_points, needs_layers
from mergekit_mo.pareto import Matrix
from mergekit_mo.space import Candidate, Space

if TYPE_CHECKING:
    from mergekit_mo.optimizers._guess import Guess

VARIANTS = ("default", "paper")
LEVELS = ("both", "parameters", "paths")

_MERGES, _MOST_MERGES = 3, 24  # for each hole and one more, before there are paths
_LEAST_LEARNT = 4  # finished trials, before anything is guessed
_ASKED, _WALKED = 16, 16  # preferences that the policy is asked for, and its paths for each
_POOL = 256  # candidates among which the guess chooses, the policy's and neighbours together
_MOST_CHANGES = 3  # of a path at once
_SAMPLES = 16  # of scores that a candidate may have
_MOST_OPEN = 32  # waiting and failed trials that are taken as if they had come out as guessed
_BOUNDS = {
    "merges": (0, 10_000),
    "initial": (0, 10_000),
    "group": (1, 1000),
    "rounds": (0, 10_000),
    "copies": (0, 10_000),
    "neighbours": (0, 1),
    "length_penalty": (0, 10),
    "preferences": (1, 1000),
    "episodes": (1, 10**9),
    "nearest": (1, 1000),
    "exploration": (0, 1),
}


@dataclass(frozen=True)
class HM3(Optimizer):
    """HM3 (Zhou et al. 2025): preferences, merges and layer paths, learnt together.

    In the default, merges on the straight path come first, which another optimizer proposes, until
    a merge adds hardly anything to the front; then the level whose latest candidates enlarged it
    more has seven turns in eight: more merges, or paths over the layers of the front's merges, at
    first with a single change.
    A guess of scores, a Gaussian process over paths, chooses which ones are evaluated: of changes
    of the front's paths, and, if `neighbours` is below 1, of those that a policy walks (masked
    actor-critic, PPO), which is given the preference, copies the best paths known for it and
    practises on the guess. On tables of all paths the policy's own were worth less than changes of
    the front's, so by default it is not asked in a search; `mergekit-mo advise` asks it after one.

    `paper` is the method as published: for each of some preference vectors a merge weighted by it
    and a network of its own, a Gaussian proto-action that the nearest allowed steps are chosen by,
    and a linear reward less the length. What the paper leaves open is a setting here.

    Attributes:
        variant: `default` or `paper`.
        levels: `both`, `parameters` (holes alone, on the straight path) or `paths` (paths alone,
            at the recipe's own values).
        merges: candidates before paths have their first turn, where there are holes too; None for
            as many as pay, three for each hole and three more at the least, 24 of these at most;
            default only, as all down to `screen`.
        merges_by: the kind of optimizer that proposes merges, with its usual settings.
        initial: candidates near the straight paths before anything is learnt; where merges come
            first, as many paths over these have a single change.
        group: candidates that are asked together, from one training: more of them cost less time
            and are worth less.
        copies: gradient steps on the best known paths.
        rounds: batches of practice against the guess.
        neighbours: the share of changed front paths among what is chosen from; the rest are the
            policy's.
        screen: whether the guess chooses; else the policy's paths alone are taken as they come.
        length_penalty: what a path as long as the straight one costs, on the anchored scales.
        preferences: how many preference vectors; paper only, as all below.
        episodes: the most for each of them.
        nearest: steps nearest to the proto-action among which the best is taken, M'.
        exploration: the probability of another one of these, epsilon.
    """

    variant: str = "default"
    levels: str = "both"
    merges: int | None = None
    merges_by: str = "mm-mo"
    initial: int = 12
    group: int = 1
    copies: int = 10
    rounds: int = 6
    neighbours: float = 1.0
    screen: bool = True
    length_penalty: float = 0.0
    preferences: int = 5
    episodes: int = 1000
    nearest: int = 4
    exploration: float = 0.1

    searches_layers: ClassVar[bool] = True
    heeds_preference: ClassVar[bool] = True
    _origin: ClassVar[str] = "hm3"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant is {' or '.join(VARIANTS)}, not {self.variant!r}")
        if self.levels not in LEVELS:
            raise ValueError(f"levels is {', '.join(LEVELS)}, not {self.levels!r}")
        for field in fields(self):
            low, high = _BOUNDS.get(field.name, (None, None))
            value = getattr(self, field.name)
            if low is not None and value is not None and not low <= value <= high:
                raise ValueError(f"{field.name} must be from {low} to {high}, not {value:g}")
        merger(self.merges_by)

    @property
    def batch(self) -> int:
        """See `Optimizer.batch`."""
        return self.group if self.variant == "default" else 1

    def refusal(self, budget: int, space: Space, goals: int) -> str:  # noqa: ARG002
        """See `Optimizer.refusal`."""
        if self.levels == "parameters" and not space.dim:
            return "levels: parameters searches holes alone, and the recipe has none"
        if reason := needs_layers(space):
            return reason
        alone = self.levels == "paths" or not space.dim
        if self.variant == "default" and alone and budget <= self.initial:
            what = f"a budget of {budget} ends within the {self.initial} initial trials"
            return f"{what}: set fewer, or a larger budget"
        if self.variant == "default" and self._mixed(space) and budget <= self._first(space):
            what = (
                f"a budget of {budget} ends before paths have a turn: {self._first(space)} merges"
            )
            return f"{what} come first; set hm3: {{merges: {budget // 2}}}, or a larger budget"
        return ""

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        known = taken(space.layers, archive)
        rng = np.random.default_rng(seed)
        if self.variant == "paper" and space.layers:
            from mergekit_mo.optimizers._hm3_paper import proposed

            found = proposed(self, space, archive, count, seed)
        else:
            told = lessons(space.layers, archive, self.length_penalty)
            above = self._above(space, archive, told, count)
            asked = straight_merges(self.merges_by, space, archive, above, seed)
            found = [c for c in asked if (c.unit, c.path) not in known]
            known |= {(c.unit, c.path) for c in found}
            if space.layers and self.levels != "parameters":
                found += self._walks(space, archive, told, known, count - len(found), rng)
        known |= {(c.unit, c.path) for c in found}
        return found + self._others(space, known, count - len(found), rng)

    def _above(self, space: Space, archive: Archive, told: Lessons, count: int) -> int:
        """How many of the next candidates are the parameter level's."""
        if space.layers is None or self.levels == "parameters":
            return count
        if not self._mixed(space):
            return 0
        first, number = self._first(space), len(archive.candidates)
        paid = turns(told, space.layers.straight)
        patient = self.merges is None
        return sum(
            i < first or paid.merge(i, patient=patient) for i in range(number, number + count)
        )

    def _mixed(self, space: Space) -> bool:
        """Whether merges and paths share the budget."""
        return self.levels == "both" and bool(space.dim)

    def _first(self, space: Space) -> int:
        """How many merges come before the first path at the least."""
        usual = min(_MOST_MERGES, _MERGES * (space.dim + 1))
        return usual if self.merges is None else self.merges

    def _walks(
        self,
        space: Space,
        archive: Archive,
        told: Lessons,
        known: set[Point],
        count: int,
        rng: Generator,
    ) -> list[Candidate]:
        """Paths: at first near the straight ones, then of the policy and about the front."""
        if count <= 0:
            return []
        assert space.layers is not None
        walked = sum(t.path is not None for t in archive.candidates if t.status != "failed")
        first = 0 if self._mixed(space) else min(count, max(0, self.initial - walked))
        if told.n < _LEAST_LEARNT:
            first = count
        points = self._initial(space, known, first, rng)
        if len(points) < count:
            gone = known.union(points)
            points += self._learnt(space, archive, told, gone, count - len(points), rng)
        return [Candidate(unit, self._origin, path) for unit, path in points]

    def _initial(self, space: Space, known: set[Point], count: int, rng: Generator) -> list[Point]:
        """Each member's straight path, then changes of these."""
        assert space.layers is not None
        firsts = first_points(space)
        found = [p for p in firsts if p not in known][:count]
        for _ in range(64 * count):
            if len(found) == count:
                break
            unit, path = firsts[int(rng.integers(len(firsts)))]
            assert path is not None
            for _ in range(int(rng.integers(1, 1 + _MOST_CHANGES))):
                path = mutated(space.layers, path, rng)
            if (unit, path) not in known and (unit, path) not in found:
                found.append((unit, path))
        return found

    def _learnt(
        self,
        space: Space,
        archive: Archive,
        told: Lessons,
        known: set[Point],
        count: int,
        rng: Generator,
    ) -> list[Point]:
        """What the policy and the front's neighbours bring, chosen by the guess."""
        from mergekit_mo.optimizers._guess import NUMERICAL_ERROR
        from mergekit_mo.optimizers._private import private_torch

        with private_torch(int(rng.integers(2**62))):
            try:
                guess = self._guess(space, archive, told)
                wish = Wish(told, archive, rng)
                pool = self._pool(space, wish, guess, known)
                return self._chosen(wish, guess, pool, count)
            except NUMERICAL_ERROR:  # too ill-conditioned to be used
                return []

    def _guess(self, space: Space, archive: Archive, told: Lessons) -> Guess:
        """What is guessed of paths, with trials that have no scores as if they had come true."""
        from mergekit_mo.optimizers._guess import Guess

        guess = Guess(space.layers, told)
        straight = space.layers.straight if space.layers else None
        for trial in [t for t in archive.candidates if t.status != "done"][-_MOST_OPEN:]:
            guess.believing((trial.unit or (), trial.path or straight))
        return guess

    def _pool(self, space: Space, wish: Wish, guess: Guess, known: set[Point]) -> list[Point]:
        """New candidates to choose from: the policy's for many preferences, and the front's
        neighbours, each with the holes of the merge that it comes from.
        """  # noqa: D205
        found: dict[Point, None] = {}
        told, rng = wish.known, wish.rng
        assert space.layers is not None
        wanted = round(_POOL * (1 - self.neighbours)) if self.screen else _POOL
        if wanted:
            for point in self._policy_points(space, wish, guess, wanted):
                found[point] = None
        front = wish.parents()
        bent = sum(path != space.layers.straight for path in told.paths)
        # Of a merge that is good, what little changes do is found out first.
        most = 1 if self._mixed(space) and bent < self.initial else _MOST_CHANGES
        for _ in range(_POOL - wanted):
            first, second = (front[int(i)] for i in rng.integers(len(front), size=2))
            path, other = told.paths[first], told.paths[second]
            assert path is not None
            assert other is not None
            if rng.random() < 0.25:
                path = crossed(space.layers, path, other, rng)
            for _ in range(int(rng.integers(1, 1 + most))):
                path = mutated(space.layers, path, rng)
            found[told.units[first], path] = None
        return [point for point in found if point not in known]

    def _policy_points(self, space: Space, wish: Wish, guess: Guess, count: int) -> list[Point]:
        """What a policy that is trained now walks."""
        import torch

        from mergekit_mo.optimizers._training import Course, as_tensor, trained

        assert space.layers is not None
        course = Course(copies=self.copies, rounds=self.rounds)
        told = wish.known
        policy = trained(space.layers, told, guess if self.rounds else None, course, wish.rng)
        asked = wish.preferences(max(1, count // _WALKED))
        wanted = np.repeat(asked, _WALKED, axis=0)[:count]
        units = [unit for w in asked for unit in [told.units[told.best(w)]] * _WALKED][:count]
        episodes = policy.sample(torch.tensor(wanted, dtype=torch.float), as_tensor(units))
        return list(zip(units, episodes.paths, strict=True))

    def _chosen(self, wish: Wish, guess: Guess, pool: list[Point], count: int) -> list[Point]:
        """The candidates that promise most, one after the other."""
        if not self.screen:
            return pool[:count]
        at_large = wish.at_large()
        normals = wish.rng.normal(size=(_SAMPLES, wish.known.goals))
        found: list[Point] = []
        picked: list[Matrix] = []
        while pool and len(found) < count:
            screen = wish.screen(len(found), at_large, picked)
            gains = screen.gains(guess.samples(pool, normals)).mean(axis=0)
            if not gains.max() > 0:  # nothing promises anything: the best for some preference
                scores = guess.scores(pool, 1.0)
                worth = wish.known.values(scores, wish.preferences(1))
                gains = worth[0] - wish.known.missing(scores)
            point = pool.pop(int(np.argmax(gains)))
            found.append(point)
            picked.append(guess.scores([point])[0])
            at_large = at_large.beside(picked[-1])
            guess.believing(point)
        return found

    def _others(
        self, space: Space, known: set[Point], count: int, rng: Generator
    ) -> list[Candidate]:
        """Whatever is left, where nothing better is known."""
        if count <= 0:
            return []
        if self.levels == "parameters" and space.layers:
            straight = Space(space.configuration)
            found = fresh(straight, {(u, None) for u, _ in known}, count, rng, self._origin)
            return [space.settled(candidate) for candidate in found]
        return fresh(space, known, count, rng, self._origin)

"""HM3 as it was published (Zhou et al. 2025, algorithm 1), told by the archive what paths scored.

Rule: a learner's state is a function of its seed and of what its episodes scored, in order; kept
learners save going through them again, and a process that has none comes to the same.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.layers import Layers, Path
from mergekit_mo.optimizers import _ppo
from mergekit_mo.optimizers._lessons import lessons
from mergekit_mo.optimizers._paths import Point, Unit, taken
from mergekit_mo.optimizers._policy import Actions
from mergekit_mo.optimizers._private import private_torch
from mergekit_mo.optimizers._wolpertinger import Gaussian, Trajectory
from mergekit_mo.optimizers.qlognehvi import drawn_weights
from mergekit_mo.optimizers.sobol import run_seed
from mergekit_mo.optimizers.soup import owner_of, owners_of
from mergekit_mo.pareto import Matrix
from mergekit_mo.space import Candidate, Space
from mergekit_mo.trial import Trial

if TYPE_CHECKING:
    from mergekit_mo.optimizers.hm3 import HM3

LEARNING = _ppo.Learning(discount=0.99, entropy=0.01, rate=3e-3, epochs=4)
"""Of these the paper gives the discount alone."""

_KNOWN = 200  # episodes in a row over known paths, after which another learner has its turn
_KEPT = 32  # learners that are kept
_ORIGIN = "hm3"


def proposed(
    settings: HM3, space: Space, archive: Archive, count: int, seed: SeedSequence
) -> list[Candidate]:
    """The next paths of the learners, each in its turn.

    An episode over a path that is known costs nothing: it is learnt from the archive.

    Args:
        settings: the method's.
        space: with layers.
        archive: every trial so far.
        count: how many are wanted.
        seed: of this ask; only the run's own is used.
    """
    assert space.layers is not None
    run = run_seed(seed)
    learners = [
        _Learner(i, w, _merge(settings, space, archive, w), space.layers, settings, run)
        for i, w in enumerate(_vectors(settings.preferences, archive, run))
    ]
    told = lessons(space.layers, archive)
    Y = told.Y - told.missing(told.Y)[:, None]  # what a preference asks for is part of the reward
    scores = dict(zip(zip(told.units, told.paths, strict=True), Y, strict=True))
    gone = taken(space.layers, archive)
    first = sum(t.origin == _ORIGIN for t in archive.candidates) % len(learners)
    turns = learners[first:] + learners[:first]
    found: list[Candidate] = []
    for learner in turns * count:
        if len(found) == count:
            break
        path = learner.unknown(scores, gone)
        if path is not None:
            gone.add((learner.unit, path))
            found.append(Candidate(learner.unit, _ORIGIN, path))
    return found


def _vectors(count: int, archive: Archive, run: int) -> Matrix:
    """Preference vectors, uniform on the simplex, `count x m`; most of them near a preferred one.

    That is what a recipe's `preference:` adds to the published method.
    """
    rng = np.random.default_rng([run, 3])
    vectors = rng.dirichlet(np.ones(len(archive.goals)), size=count)
    for i in range(count):
        if (near := drawn_weights(archive, i + 1, rng, at=0)) is not None:
            vectors[i] = near[: len(archive.goals)]
    return vectors


def _merge(settings: HM3, space: Space, archive: Archive, preference: Matrix) -> Unit:
    """The point whose weights are a preference's: each goal's share goes to its best source.

    Everything else stays at the recipe's own values, as does all without weights to search.
    """
    own = space.starts()[0].unit
    owners = owners_of(space)
    if settings.levels == "paths" or not owners:
        return own
    shares = dict.fromkeys(owners, 0.0)
    best = _best_sources(archive, owners)
    for share, name in zip(preference, best, strict=True):
        shares[name] += float(share)
    unit = list(own)
    for i, axis in enumerate(space.axes):
        name = owner_of(space, axis)
        if axis.parameter == "weight" and name in shares and not axis.choices:
            unit[i] = axis.encode(shares[name])
    return space.snap(unit)


def _best_sources(archive: Archive, owners: list[str]) -> list[str]:
    """For each goal the source with a weight that scored best alone; in turn where none did."""
    known: list[Trial] = [
        t for t in archive.references if t.status == "done" and t.origin in owners
    ]
    if not known:
        return [owners[i % len(owners)] for i in range(len(archive.goals))]
    return [known[int(i)].origin for i in archive.matrix(known).argmax(axis=0)]


@dataclass
class _State:
    """A network, and the episodes that made it: of each its path, and its reward if it had one."""

    network: Gaussian
    optimizer: torch.optim.Optimizer
    history: list[tuple[Path, float | None]] = field(default_factory=list)


_kept: OrderedDict[str, _State] = OrderedDict()


def forget() -> None:
    """Drops the kept learners: what is proposed stays the same, and takes longer."""
    _kept.clear()


@dataclass(frozen=True)
class _Learner:
    """One preference's part.

    Attributes:
        number: of the preference.
        preference: `m` weights.
        unit: its merge.
        layers: the paths.
        settings: the method's.
        run: the run's seed.
    """

    number: int
    preference: Matrix
    unit: Unit
    layers: Layers
    settings: HM3
    run: int

    def unknown(self, scores: Mapping[Point, Matrix], gone: Set[Point]) -> Path | None:
        """Goes through episodes until one walks a path that nobody has tried; None without any.

        Where a path is waiting or failed there is nothing to learn: the next episode walks without.
        """
        rewards = self._rewards(scores)
        tried = {path for unit, path in gone if unit == self.unit and path}
        state = self._recalled(rewards, tried)
        with private_torch(0):
            for _ in range(_KNOWN):
                if len(state.history) >= self.settings.episodes:
                    return None
                torch.default_generator.manual_seed(self._seed(len(state.history)))
                walked = state.network.sample(
                    self.settings.nearest, self.settings.exploration, LEARNING.discount
                )
                reward = rewards.get(walked.path)
                if reward is None and walked.path not in tried:
                    return walked.path
                if reward is not None:
                    improve(state.network, state.optimizer, walked, reward)
                state.history.append((walked.path, reward))
        return None

    def history(self, scores: Mapping[Point, Matrix]) -> list[tuple[Path, float | None]]:
        """Its episodes so far: of each the path, and the reward if it had one."""
        rewards = self._rewards(scores)
        return self._recalled(rewards, rewards.keys()).history

    def _rewards(self, scores: Mapping[Point, Matrix]) -> dict[Path, float]:
        return {
            path: self._reward(path, y)
            for (unit, path), y in scores.items()
            if unit == self.unit and path
        }

    def _reward(self, path: Path, y: Matrix) -> float:
        cost = self.settings.length_penalty * len(path) / len(self.layers.straight)
        return float(self.preference @ y) - cost

    def _recalled(self, rewards: Mapping[Path, float], tried: Set[Path]) -> _State:
        """The kept network, if all episodes again would lead to it; else a new one."""
        facts = [repr(self.settings), self.number, self.run, self.unit, self.layers.facts()]
        key = json.dumps([*facts, self.preference.tolist()])
        state = _kept.pop(key, None)
        if state is None or any(
            path not in tried or rewards.get(path) != reward for path, reward in state.history
        ):
            with private_torch(self._seed(-1)):
                network = Gaussian(Actions(self.layers), self.unit)
            adam = torch.optim.Adam(network.parameters(), lr=LEARNING.rate, fused=True)
            state = _State(network, adam)
        _kept[key] = state
        while len(_kept) > _KEPT:
            _kept.popitem(last=False)
        return state

    def _seed(self, episode: int) -> int:
        words = SeedSequence((self.run, self.number, episode + 1)).generate_state(1, np.uint64)
        return int(words[0] >> np.uint64(1))


def improve(
    network: Gaussian, optimizer: torch.optim.Optimizer, walked: Trajectory, reward: float
) -> None:
    """One trajectory's update; each step gets an equal share of the reward, as published."""
    steps = len(walked.actions)
    alive = torch.ones(1, steps, dtype=torch.bool)
    shares = torch.full((1, steps), reward / steps)
    with torch.no_grad():
        _, values, _ = network.judge(walked)
        gained = _ppo.advantages(shares, values, alive, LEARNING.discount, LEARNING.trace)
        returns = gained + values
    for _ in range(LEARNING.epochs):
        logs, values, entropy = network.judge(walked)
        loss = _ppo.loss(walked.logs[None], logs, gained, values, returns, entropy, alive, LEARNING)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), LEARNING.norm)
        optimizer.step()

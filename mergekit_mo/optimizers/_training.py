"""How the policy learns from an archive: it copies the best known paths, then practises on a guess.

Rule: the same archive, settings and seed give the same policy; the real scores reach it as copies
of what is best for a preference, and through the guess that its practice is rewarded by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from mergekit_mo.layers import Layers, Path
from mergekit_mo.optimizers import _ppo
from mergekit_mo.optimizers._lessons import AUGMENTATION, Lessons, drawn_preferences
from mergekit_mo.optimizers._paths import Point, Unit
from mergekit_mo.optimizers._policy import Episodes, Policy
from mergekit_mo.pareto import Matrix

_BEST = 4  # paths that are copied for a preference
_WITHHELD = 0.04  # of a share: nearer than this to a withheld preference is next to it
_SHARPNESS = 0.3  # of their shares, in standard deviations of what paths are worth to it


class Guesses(Protocol):
    """Who guesses scores."""

    def scores(self, points: Sequence[Point], optimism: float = 0.0) -> Matrix:
        """Scores that are expected of `p` points, `p x m`."""


@dataclass(frozen=True)
class Course:
    """How long a policy learns, and on what.

    Attributes:
        copies: gradient steps of behaviour cloning.
        rounds: of practice, a batch of episodes each.
        preferences: in a batch.
        episodes: for each of these.
        optimism: standard deviations by which guesses are taken better than they are.
        learning: of each round.
    """

    copies: int = 10
    rounds: int = 6
    preferences: int = 8
    episodes: int = 8
    optimism: float = 0.5
    learning: _ppo.Learning = field(default_factory=_ppo.Learning)


def trained(
    layers: Layers,
    known: Lessons,
    guess: Guesses | None,
    course: Course,
    rng: Generator,
    withheld: Matrix | None = None,
    only: Matrix | None = None,
) -> Policy:
    """A policy that has learnt from an archive.

    Args:
        layers: the paths.
        known: the finished trials; with none, the policy is as it begins.
        guess: of other paths' scores; None where too little is known to practise.
        course: how long.
        rng: draws preferences; torch's own generator, which the caller has seeded, the rest.
        withheld: `k x m` preferences whose surroundings are not drawn.
        only: `k x m` preferences that alone are drawn; None for all of the simplex.
    """

    def drawn() -> Matrix:
        if only is not None:
            return np.asarray(only[rng.integers(len(only), size=course.preferences)])
        found = drawn_preferences(known.goals, course.preferences, rng)
        while withheld is not None and (near := _near(found, withheld)).any():
            found[near] = drawn_preferences(known.goals, int(near.sum()), rng)
        return found

    policy = Policy(layers, known.goals, known.holes)
    optimizer = torch.optim.Adam(policy.parameters(), lr=course.learning.rate)
    if not known.n:
        return policy
    for _ in range(course.copies):
        _copy(policy, optimizer, known, course, drawn())
    if guess is not None:
        for _ in range(course.rounds):
            _practise(policy, optimizer, known, guess, course, drawn())
    return policy


def _near(drawn: Matrix, withheld: Matrix) -> NDArray[np.bool_]:
    """Which of `w x m` preferences lie next to withheld ones."""
    apart = np.abs(drawn[:, None] - withheld[None]).max(axis=-1)  # w x k
    return np.asarray((apart < _WITHHELD).any(axis=1))


def _copy(
    policy: Policy, optimizer: torch.optim.Optimizer, known: Lessons, course: Course, drawn: Matrix
) -> None:
    """One step towards the paths that are best for drawn preferences, by how good they are."""
    worth = known.worth(drawn)  # w x n
    best = np.argsort(-worth, axis=1, kind="stable")[:, :_BEST]
    top = np.take_along_axis(worth, best, axis=1)
    spread = np.maximum(worth.std(axis=1, keepdims=True), 1e-9)
    shares = np.exp((top - top[:, :1]) / (spread * _SHARPNESS))
    shares /= shares.sum(axis=1, keepdims=True)
    paths = [_path(known, int(i)) for row in best for i in row]
    wanted = torch.tensor(np.repeat(drawn, best.shape[1], axis=0), dtype=torch.float)
    units = as_tensor([known.units[int(i)] for row in best for i in row])
    episodes = policy.walked(paths, wanted, units)
    judged = policy(episodes)
    logs = torch.where(episodes.alive, judged.logs, 0.0).sum(dim=1)
    loss = -(torch.tensor(shares.ravel(), dtype=torch.float) * logs).sum() / len(drawn)
    _descend(policy, optimizer, loss, course.learning.norm)


def _practise(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    known: Lessons,
    guess: Guesses,
    course: Course,
    drawn: Matrix,
) -> None:
    """Walks paths for drawn preferences, has them guessed, and learns from that."""
    wanted = np.repeat(drawn, course.episodes, axis=0)  # b x m
    worth = known.worth(drawn)  # w x n
    best = np.repeat(worth.argmax(axis=1), course.episodes)  # b
    units = [known.units[int(row)] for row in best]
    episodes = policy.sample(torch.tensor(wanted, dtype=torch.float), as_tensor(units))
    points = list(zip(units, episodes.paths, strict=True))
    scores = guess.scores(points, course.optimism)  # b x m
    centre = np.repeat(worth.mean(axis=1), course.episodes)
    width = np.repeat(np.maximum(worth.std(axis=1), 1e-9), course.episodes)
    gaps = wanted * (known.ideal - scores)  # b x m
    own = -gaps.max(axis=1) - AUGMENTATION * gaps.sum(axis=1)
    improve(policy, optimizer, episodes, torch.tensor((own - centre) / width), course)


def improve(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    episodes: Episodes,
    rewards: Tensor,
    course: Course,
) -> None:
    """Learns from episodes and the reward at the end of each, `b`.

    The episodes of one preference stand together, `course.episodes` of them; advantages are
    measured in standard deviations of their own preference's, so that none drowns the others.
    """
    learning, alive = course.learning, episodes.alive
    final = torch.zeros(alive.shape)
    ends = alive.sum(dim=1) - 1
    final[torch.arange(len(ends)), ends] = rewards.float()
    with torch.no_grad():
        before = policy(episodes)
        gained = _ppo.advantages(final, before.values, alive, learning.discount, learning.trace)
        returns = gained + before.values
        gained = _standardised(gained, alive, course.episodes)
    for _ in range(learning.epochs):
        now = policy(episodes)
        loss = _ppo.loss(
            before.logs, now.logs, gained, now.values, returns, now.entropy, alive, learning
        )
        _descend(policy, optimizer, loss, learning.norm)


def _standardised(gained: Tensor, alive: Tensor, size: int) -> Tensor:
    """Advantages less their preference's mean, in units of its standard deviation."""
    groups, marks = (
        gained.reshape(-1, size * gained.shape[1]),
        alive.reshape(-1, size * alive.shape[1]),
    )
    count = marks.sum(dim=1, keepdim=True).clamp(min=1)
    mean = (groups * marks).sum(dim=1, keepdim=True) / count
    spread = ((((groups - mean) * marks) ** 2).sum(dim=1, keepdim=True) / count).sqrt()
    return (((groups - mean) / (spread + 1e-6)) * marks).reshape(gained.shape)


def _descend(policy: Policy, optimizer: torch.optim.Optimizer, loss: Tensor, norm: float) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(policy.parameters(), norm)
    optimizer.step()


def as_tensor(units: Sequence[Unit]) -> Tensor:
    """Points as the policy reads them, `b x d`."""
    return torch.tensor(units, dtype=torch.float)


def _path(known: Lessons, row: int) -> Path:
    path = known.paths[row]
    assert path is not None
    return path

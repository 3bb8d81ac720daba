"""Racing: a candidate is asked few items first, and no more once one rival beats it in everything.

Rule: the order of the items is drawn once, before any candidate, and is the same for all; so every
comparison is paired, and what holds for a random order holds for each candidate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from mergekit_mo.pareto import Matrix
from mergekit_mo.strata import Order, draw_order
from mergekit_mo.trial import Measurement

ERROR = 0.05
"""The probability that a candidate is stopped that no rival beats, whatever the number of rivals
and rungs; for values between 0 and 1 exactly, for others as the items grow many."""

_TRUST = 0.75  # of the largest bet that cannot ruin the better
_PRIOR = 0.25  # variance that a bet begins with, counted as one item

Link = Literal["mean", "bits", "exp"]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """In which order items are asked, and when a race may end; of a run, the same for all.

    Attributes:
        rungs: numbers of items of each task after which a candidate may be stopped.
        orders: of each task.
    """

    rungs: tuple[int, ...]
    orders: Mapping[str, Order]

    def __post_init__(self) -> None:
        if list(self.rungs) != sorted(set(self.rungs)) or not self.rungs or self.rungs[0] < 1:
            raise ValueError(f"rungs ascend from 1 or more, not {self.rungs}")

    @property
    def items(self) -> int:
        """How many there are, of all tasks."""
        return sum(map(len, self.orders.values()))

    def parts(self) -> list[dict[str, tuple[int, ...]]]:
        """The items of each rung that those before it have not asked; of the rest at last."""
        ends = [0, *self.rungs, max(len(order) for order in self.orders.values())]
        found = []
        for start, end in itertools.pairwise(ends):
            part = {task: order.ids[start:end] for task, order in self.orders.items()}
            part = {task: ids for task, ids in part.items() if ids}
            if part:
                found.append(part)
        return found

    def facts(self) -> dict[str, Any]:
        """Plain JSON."""
        orders = {task: order.facts() for task, order in self.orders.items()}
        return {"rungs": list(self.rungs), "orders": orders}

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Plan:
        """A plan from its facts."""
        orders = {task: Order.read(own) for task, own in facts["orders"].items()}
        return cls(tuple(facts["rungs"]), orders)


def make_plan(
    rungs: Sequence[int],
    items: Mapping[str, Sequence[int]],
    parents: Mapping[str, Sequence[Matrix]],
    seed: int,
) -> Plan:
    """Draws every task's order.

    Args:
        rungs: ascending numbers of items.
        items: document numbers by task.
        parents: by task, for each of its goals the `r x n` values of the `r` reference trials.
        seed: of the search.
    """
    orders = {
        task: draw_order(ids, parents[task], np.random.SeedSequence([seed, 1, *task.encode()]))
        for task, ids in items.items()
    }
    longest = max(map(len, orders.values()))
    return Plan(tuple(rung for rung in rungs if rung < longest) or (rungs[0],), orders)


@dataclass(frozen=True)
class Measure:
    """How a goal's score is a mean of what its items bring.

    Attributes:
        task: whose items; empty where the goal has none and its score is known at once.
        metric: of the task's, `metric,filter`.
        link: `mean`; `bits` for the ratio of two sums in bits; `exp` for the exponential of minus
            such a ratio, or of minus a mean.
        sign: 1 where more is better, else -1.
        divisor: of items that are pairs, the mean of the second over all items.
        parents: what the reference trials tell of the items, `N x k` from `strata.columns`, in the
            task's order.
    """

    task: str = ""
    metric: str = ""
    link: Link = "mean"
    sign: float = 1.0
    divisor: float = 1.0
    parents: Matrix = field(default_factory=lambda: np.zeros((0, 0)), repr=False, compare=False)

    def values(self, items: Sequence[Any]) -> Values:
        """What items bring, more is better; a score is this mean, or its exponential.

        Args:
            items: what the metric of each of `n` items is, a number or a pair.
        """
        found = np.asarray(items, dtype=float)
        if found.ndim == 2:
            found = found[:, 0] / self.divisor
        if self.link == "bits":
            found = -found / math.log(2)
        if self.link == "exp":
            found = -found
        return self.sign * found

    def score(self, values: Values, order: Order) -> Measurement:
        """What the first items tell of the score over all.

        Args:
            values: `n`, from `values`.
            order: the task's.

        Returns:
            The estimate; its error is that of not having asked the other items.
        """
        mean, variance, _ = order.estimate(values, self.parents)
        mean, error = self.sign * mean, math.sqrt(variance)
        if self.link == "exp":
            mean, error = math.exp(mean), math.exp(mean) * error
        return Measurement(mean, error, len(values))


@dataclass(frozen=True)
class Rival:
    """A member of the front.

    Attributes:
        number: of the trial.
        values: by goal with items, what each brings, in the task's order; more is better.
        known: by goal without items, its score; more is better.
    """

    number: int
    values: Mapping[str, Values]
    known: Mapping[str, float]


Part = Mapping[str, tuple[int, ...]]
"""Document numbers by task."""


class Ask(Protocol):
    """What asks a candidate a part of the items; see `Race.run`."""

    def __call__(self, part: Part, *, told: bool) -> Mapping[str, Values]:
        """Asks."""


@dataclass(frozen=True)
class Race:
    """All that a worker needs to know to stop a candidate.

    Attributes:
        plan: of the run.
        measures: by goal, and by auxiliary objective.
        goals: those that a rival has to win.
        rivals: the front as it stood when the job was made; a member that has left it since was
            beaten by another one, who beats the candidate too.
    """

    plan: Plan
    measures: Mapping[str, Measure]
    goals: tuple[str, ...]
    rivals: tuple[Rival, ...]

    def run(self, ask: Ask, known: Mapping[str, float]) -> tuple[dict[str, Values], int | None]:
        """Asks part by part until a rival has beaten the candidate, or all is asked.

        Args:
            ask: asks a candidate a part of the items, and gives what each brings to every goal and
                auxiliary objective, in the order of the race, more being better; what the last part
                brings nobody wants to be told.
            known: by goal without items, its score; more is better.

        Returns:
            What the items brought that anybody was told, and the rival's number; None without.
        """
        values: dict[str, Values] = {}
        *first, last = self.plan.parts()
        for part in first:
            for name, own in ask(part, told=True).items():
                values[name] = np.concatenate([values.get(name, own[:0]), own])
            goals = {name: own for name, own in values.items() if name in self.goals}
            rival = self.beaten_by(goals, known)
            if rival is not None:
                return values, rival
        ask(last, told=False)
        return values, None

    def scores(self, values: Mapping[str, Values]) -> dict[str, Measurement]:
        """What a stopped candidate's items tell of its scores."""
        orders = self.plan.orders
        return {
            name: self.measures[name].score(own, orders[self.measures[name].task])
            for name, own in values.items()
        }

    def beaten_by(self, values: Mapping[str, Values], known: Mapping[str, float]) -> int | None:
        """The number of a rival that beats a candidate on all goals beyond doubt; None without.

        Args:
            values: by goal with items, of those asked so far; more is better.
            known: by goal without items, its score; more is better.
        """
        rivals = [
            r for r in self.rivals if all(r.known[goal] >= score for goal, score in known.items())
        ]
        error = ERROR / max(1, len(self.rivals) * len(self.plan.rungs))
        for goal, own in values.items():
            if not rivals:
                break
            order = self.plan.orders[self.measures[goal].task]
            D = np.array([r.values[goal][: len(own)] - own for r in rivals])
            rows = (own, *(r.values[goal] for r in rivals))
            measure = self.measures[goal]
            plain = measure.link == "mean" and measure.divisor == 1
            bounded = plain and all(map(_between, rows))
            if bounded:
                better = _by_bets(D, order, error)
            else:
                better = _by_student(D, order, error, measure.parents)
            rivals = [r for r, sure in zip(rivals, better, strict=True) if sure]
        return rivals[0].number if rivals and values else None


def _between(values: Values) -> bool:
    """Whether values lie between 0 and 1, or 0 and -1 where less is better."""
    return bool((np.abs(values) <= 1).all() and (values.min() >= 0 or values.max() <= 0))


def _by_student(D: Matrix, order: Order, error: float, known: Matrix) -> list[bool]:
    """Whether weighted means of differences exceed 0, by Student's quantile.

    Args:
        D: `k x n` differences of the first `n` items.
        order: of all items.
        error: of each answer.
        known: what is known of all items, `N x k`.
    """
    found = []
    for row in D:
        mean, variance, df = order.estimate(row, known)
        if variance == 0:
            found.append(mean > 0 and len(row) == len(order))
            continue
        found.append(mean > -float(stdtrit(df, error)) * math.sqrt(variance))
    return found


def _by_bets(D: Matrix, order: Order, error: float) -> list[bool]:
    """Whether means of differences between -1 and 1 exceed 0, by what bets on it have won.

    If the mean over all items is not above 0, nobody who bets on the next item's difference grows
    rich: the capital exceeds `1 / error` at any time with a probability of at most `error` (Ville).
    Items are drawn without replacement and with unequal chances, as in Shekhar et al. 2023; the
    bets are approximately Kelly's (Waudby-Smith and Ramdas 2024).

    Args:
        D: `k x n` differences of the first `n` items.
        order: of all items.
        error: of each answer.
    """
    k, n = D.shape
    total = len(order)
    past, spread = np.zeros(k), np.full(k, _PRIOR)  # sums of what bets were about
    seen, capital = np.zeros(k), np.zeros(k)  # sums of differences; logarithms
    rich = np.zeros(k, dtype=bool)
    for t in range(n):
        least = -seen / total  # what the next one brings on average if the mean over all is 0
        room = order.most[t] + least
        rich |= room <= 0  # the items that are left cannot bring the mean to 0
        middle = past / (t + 1)
        wanted = middle / (spread / (t + 1) + middle**2)
        bet = np.clip(wanted, 0.0, _TRUST / np.maximum(room, 1e-12))
        gained = order.weights[t] * D[:, t] - least
        capital += np.log1p(np.where(rich, 0.0, bet * gained))
        rich |= capital >= -math.log(error)
        past += gained
        spread += (gained - middle) ** 2
        seen += D[:, t]
    return [bool(sure) for sure in rich]

"""What a front gains over the best source on each goal, with intervals that hold all at once.

Rule: the more merges are compared with a source, the better the best of them looks by luck; so the
gains of all are judged together, paired item by item, on the hold-out where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mergekit_mo.archive import Archive
from mergekit_mo.gain import signed
from mergekit_mo.intervals import LEVEL, Interval, difference, joint_critical
from mergekit_mo.paired import difference_error
from mergekit_mo.residuals import item_values
from mergekit_mo.trial import Goal, Split, Trial

Key = tuple[int, str]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Advance:
    """What a trial gains on a goal.

    Attributes:
        number: of the trial.
        goal: which.
        source: the best source on it by search scores, or the base.
        gain: how much better, in the goal's own units; negative where it is worse.
        interval: that holds together with all others; None where no error is known.
    """

    number: int
    goal: Goal
    source: str
    gain: float
    interval: Interval | None

    @property
    def significant(self) -> bool:
        """Whether it is better beyond doubt."""
        return self.interval is not None and self.interval.low > 0

    def text(self) -> str:
        """For people: `+0.031 [+0.007, +0.055]`."""
        if self.interval is None:
            return f"{signed(self.gain)} of unknown error"
        if self.interval.low == self.interval.high:
            return signed(self.gain)
        ends = f"[{signed(self.interval.low)}, {signed(self.interval.high)}]"
        told = f"{signed(self.gain)} {ends}"
        unclear = self.interval.low <= 0 <= self.interval.high
        return f"{told} not significant" if unclear else told

    def facts(self) -> dict[str, Any]:
        """Plain JSON."""
        ends = self.interval.plain() if self.interval else [None, None]
        own = {"trial": self.number, "goal": self.goal.name, "source": self.source}
        own |= {"gain": self.gain, "low": ends[0], "high": ends[1]}
        return own | {"significant": self.significant}


@dataclass(frozen=True)
class Advances:
    """The gains of several trials over the best sources.

    Attributes:
        split: the items that they are told on.
        all: of each trial and goal.
    """

    split: Split
    all: tuple[Advance, ...]

    def of(self, number: int) -> tuple[Advance, ...]:
        """A trial's, in the order of the goals."""
        return tuple(a for a in self.all if a.number == number)

    def told(self, number: int) -> Iterator[str]:
        """A trial's, for people: what it is about, and a line for each goal."""
        own = self.of(number)
        width = max((len(a.goal.name) for a in own), default=0)
        if own:
            yield f"gains over the best source of each goal {self.where}:"
        for a in own:
            yield f"{a.goal.name:{width}}  {a.text()}, over {PurePath(a.source).name}"

    def lines(self) -> Iterator[str]:
        """What the front gains, a line for each goal; nothing where nothing is compared."""
        for name in dict.fromkeys(a.goal.name for a in self.all):
            yield self._goal_line([a for a in self.all if a.goal.name == name])
        if self.all:
            yield f"gains over the sources are told {self.where}"

    def _goal_line(self, gains: Sequence[Advance]) -> str:
        most = max(gains, key=lambda a: a.gain)
        sure = sum(a.significant for a in gains)
        head, source = most.goal.name, PurePath(most.source).name
        told = f"trial {most.number}'s {most.text().removesuffix(' not significant')}"
        if sure:
            count = f"{sure} of {len(gains)} on the front beat the best source"
            return f"{head}: {count}, {source}; most of all {told}"
        if most.gain <= 0:
            return f"{head}: none on the front beats the best source, {source}"
        what = "no gain over the best source is significant"
        return f"{head}: {what} ({source}); the largest is {told}"

    @property
    def where(self) -> str:
        """On which items, and what the intervals promise."""
        items = "the hold-out" if self.split == "holdout" else "the search items, which flatter"
        count = len(self.all)
        return f"on {items} ({LEVEL:.0%} for all {count} gains at once, paired by items)"

    def facts(self) -> dict[str, Any]:
        """Plain JSON."""
        gains = [advance.facts() for advance in self.all]
        return {"split": self.split, "confidence": LEVEL, "gains": gains}


def advances(archive: Archive, also: Trial | None = None) -> Advances:
    """The gains of the front over the best source of each goal.

    Args:
        archive: of the run.
        also: a trial that is compared with them, if it is a scored merge.
    """
    trials = list(archive.front())
    if also and also not in trials and (also.role, also.status) == ("candidate", "done"):
        trials.append(also)
    sources = [t for t in archive.references if t.status == "done"]
    if not trials or not sources:
        return Advances("search", ())
    split: Split = "holdout" if all(t.holdout for t in (*trials, *sources)) else "search"
    best = {goal.name: _best(sources, goal) for goal in archive.goals}
    values = _values(archive, [*trials, *sources], split)
    z = _critical(archive, trials, best, values)
    return Advances(
        split,
        tuple(
            _advance(archive, trial, best[goal.name], goal, split, values, z)
            for trial in trials
            for goal in archive.goals
        ),
    )


def joint_quantile(archive: Archive, trials: Sequence[Trial], split: Split = "search") -> float:
    """The critical value at which the intervals of all scores of some trials hold at once."""
    names = [goal.name for goal in archive.goals]
    values = _values(archive, trials, split)
    scored = [(t, n) for t in trials for n in names if _has_error(t, n, split)]
    alone = sum((t.number, n) not in values for t, n in scored)
    return joint_critical(_blocks(archive, values, values), alone)


def _best(sources: Sequence[Trial], goal: Goal) -> Trial:
    return max(sources, key=lambda t: goal.sign * t.scores[goal.name].value)


def _values(archive: Archive, trials: Sequence[Trial], split: Split) -> dict[Key, Values]:
    """What each item adds to each score, where that can be said."""
    found = {}
    for trial in trials:
        for goal in archive.goals:
            array = item_values(archive, trial, goal.name, split)
            if array is not None:
                found[trial.number, goal.name] = goal.sign * array
    return found


def _blocks(
    archive: Archive, values: dict[Key, Values], rows: dict[Key, Values]
) -> list[NDArray[np.float64]]:
    """Rows of those who share items together: goals of one task."""
    tasks = archive.fact("measures") or {}
    found: dict[tuple[Any, int], list[Values]] = {}
    for (number, goal), row in rows.items():
        assert (number, goal) in values
        found.setdefault((tasks[goal][0], len(row)), []).append(row)
    return [np.array(block) for block in found.values()]


def _critical(
    archive: Archive, trials: Sequence[Trial], best: dict[str, Trial], values: dict[Key, Values]
) -> float:
    rows, alone = {}, 0
    for trial in trials:
        for name, source in best.items():
            pair = _pair(values, trial, source, name)
            if pair is not None:
                rows[trial.number, name] = pair
            elif trial.scores[name].n is not None:
                alone += 1
    return joint_critical(_blocks(archive, values, rows), alone)


def _pair(values: dict[Key, Values], one: Trial, two: Trial, goal: str) -> Values | None:
    first, second = values.get((one.number, goal)), values.get((two.number, goal))
    if first is None or second is None or len(first) != len(second):
        return None
    return first - second


def _advance(
    archive: Archive,
    trial: Trial,
    source: Trial,
    goal: Goal,
    split: Split,
    values: dict[Key, Values],
    z: float,
) -> Advance:
    name = goal.name
    ours, theirs = (t.scores if split == "search" else t.holdout for t in (trial, source))
    gain = goal.sign * (ours[name].value - theirs[name].value)
    pair = _pair(values, trial, source, name)
    if pair is not None:
        found: Interval | None = difference(pair, z)
    else:
        error = difference_error(archive, trial, source, name, split)
        found = None if error is None else Interval(gain - z * error, gain + z * error)
    return Advance(trial.number, goal, source.origin, gain, found)


def _has_error(trial: Trial, goal: str, split: Split) -> bool:
    scores = trial.scores if split == "search" else trial.holdout
    return goal in scores and bool(scores[goal].stderr)

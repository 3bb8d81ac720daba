"""What a search was for: the recipe's own values against the best at the user's preference.

Rule: the trial is chosen by search scores; what it gains is told on the hold-out where there is
one, with an interval, and a gain whose interval reaches 0 is called not significant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mergekit_mo import choose
from mergekit_mo.archive import Archive
from mergekit_mo.paired import difference_error, item_paired
from mergekit_mo.problems import UserError
from mergekit_mo.trial import Goal, Measurement, Split, Trial

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Gain:
    """What one goal gains.

    Attributes:
        goal: which.
        own: the score of the recipe's own values.
        best: the score of the trial that was chosen.
        gain: how much better that is, in the goal's own units; negative where it is worse.
        half: half the width of the interval; None where no error is known, 0 where none is made.
        paired: whether the error is that of the items' own differences.
    """

    goal: Goal
    own: Measurement
    best: Measurement
    gain: float
    half: float | None
    paired: bool

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.half is not None and abs(self.gain) > self.half

    def text(self) -> str:
        """For people: `gsm8k +0.031 [+0.007, +0.055]`."""
        if self.gain == 0:
            return f"{self.goal.name} equal"
        told = f"{self.goal.name} {signed(self.gain)}"
        if self.half:
            told += f" [{signed(self.gain - self.half)}, {signed(self.gain + self.half)}]"
        if self.half is None:
            return f"{told} of unknown error"
        return told if self.significant else f"{told} not significant"

    def facts(self) -> dict[str, Any]:
        """Plain JSON."""
        half = self.half
        return {
            "goal": self.goal.name,
            "own": self.own.value,
            "best": self.best.value,
            "gain": self.gain,
            "low": None if half is None else self.gain - half,
            "high": None if half is None else self.gain + half,
            "significant": self.significant,
            "paired": self.paired,
        }


@dataclass(frozen=True)
class Answer:
    """What a finished search says first.

    Attributes:
        trial: the best at the preference.
        why: which preference that was.
        own: the trial of the recipe's own values.
        split: the items that the gains are told on.
        gains: by goal, in the order of every table; empty where there is nothing to compare.
    """

    trial: Trial
    why: str
    own: Trial | None
    split: Split
    gains: tuple[Gain, ...]

    def line(self) -> str:
        """For people, one line."""
        head = f"trial {self.trial.number}, {self.why}"
        if self.own is None:
            return head
        if self.own.status != "done":
            return f"{head}; the recipe's own values could not be scored"
        if self.own.number == self.trial.number:
            return f"{head}, is the recipe's own values: the search found nothing better there"
        items = "the hold-out" if self.split == "holdout" else "the search items (no hold-out)"
        told = "; ".join(gain.text() for gain in self.gains)
        return (
            f"{head}, against the recipe's own values (trial {self.own.number}) on {items} "
            f"(gain, {CONFIDENCE:.0%} interval; + is better): {told}"
        )

    def facts(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "trial": self.trial.number,
            "why": self.why,
            "own": self.own.number if self.own else None,
            "split": self.split,
            "confidence": CONFIDENCE,
            "gains": [gain.facts() for gain in self.gains],
        }


def own_trial(archive: Archive) -> Trial | None:
    """The trial of the recipe's own values, whatever became of it; None before it was proposed."""
    return next((t for t in archive.candidates if t.origin == "recipe"), None)


def answer(archive: Archive) -> Answer | None:
    """What a search has found at its recipe's preference; None where the front is empty."""
    if not archive.front():
        return None
    trial, why = _best(archive)
    own = own_trial(archive)
    if own is None or own.status != "done" or own.number == trial.number:
        return Answer(trial, why, own, "search", ())
    split: Split = "holdout" if own.holdout and trial.holdout else "search"
    return Answer(trial, why, own, split, tuple(_gains(archive, own, trial, split)))


def _best(archive: Archive) -> tuple[Trial, str]:
    """The front's best at the stated preference, and at the knee where none is stated."""
    wish = archive.preference
    try:
        if wish.weights:
            chosen = choose.prefer(archive, wish.weights).trial
            if _keeps(archive, chosen, wish.at_least):
                total = sum(wish.weights.values())
                shares = (f"{name} {w / total:.0%}" for name, w in wish.weights.items() if w)
                return chosen, f"best for {', '.join(shares)}"
        if wish.at_least:
            words = ", ".join(f"{name} {bound:g}" for name, bound in wish.at_least.items())
            return choose.at_least(archive, wish.at_least).trial, f"best that keeps {words}"
    except choose.UnmetError as error:
        return choose.numbered(archive, error.nearest).trial, "nearest to bounds that none keeps"
    except UserError:  # a preference for goals that this archive does not have
        pass
    found = choose.knee(archive)
    if len(archive.front()) == 1:
        return found.trial, "alone on the front"
    return found.trial, "the knee" if found.why.startswith("the knee") else "the most even of all"


def _keeps(archive: Archive, trial: Trial, bounds: Any) -> bool:
    """Whether a trial keeps every stated bound."""
    limits = [Goal(g.name, g.maximize, bounds.get(g.name)) for g in archive.goals]
    return all(limit.allows(trial.scores[limit.name].value) for limit in limits)


def _gains(archive: Archive, own: Trial, best: Trial, split: Split) -> Iterator[Gain]:
    for goal in archive.goals:
        before, after = (
            (t.holdout if split == "holdout" else t.scores)[goal.name] for t in (own, best)
        )
        error = difference_error(archive, own, best, goal.name, split)
        half = None if error is None else error * _quantile(after.n)
        paired = item_paired(archive, own, best, goal.name, split)
        gain = goal.sign * (after.value - before.value)
        yield Gain(goal, before, after, gain, half, paired)


def _quantile(n: int | None) -> float:
    """Student's t for the mean of `n` items; the normal's where there are no items."""
    from scipy.special import ndtri, stdtrit

    upper = (1 + CONFIDENCE) / 2
    return float(stdtrit(n - 1, upper) if n and n > 1 else ndtri(upper))


def signed(value: float) -> str:
    """Three digits that matter, and a sign."""
    if abs(value) >= 1000 or value == 0:
        return f"{value:+.0f}"
    return f"{value:+.{max(0, min(6, 2 - math.floor(math.log10(abs(value)))))}f}"

"""What a chosen trial costs: each goal's score beside the front's and the best parent's.

Rule: differences are in the goal's own units, and positive means better, whichever way is up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from mergekit_mo.archive import Archive
from mergekit_mo.intervals import ends, interval
from mergekit_mo.trial import Goal, Measurement, Trial


@dataclass(frozen=True)
class Traded:
    """What a choice means for one goal.

    Attributes:
        goal: which.
        score: of the trial that was chosen.
        worst: the worst score on the front.
        best: the best one.
        place: where the score lies between them, 0 to 1 on the front; None where the front is flat.
        parent: the best parent's name; None where no parent was scored.
        over_parent: how much better than that parent.
        to_best: how much is missing to the front's best.
    """

    goal: Goal
    score: Measurement
    worst: float
    best: float
    place: float | None
    parent: str | None
    over_parent: float | None
    to_best: float

    def facts(self) -> dict[str, Any]:
        """Plain JSON."""
        own = {k: v for k, v in vars(self).items() if k not in ("goal", "score")}
        return {"goal": self.goal.name, "maximize": self.goal.maximize, **vars(self.score), **own}


@dataclass(frozen=True)
class Choice:
    """A trial that was chosen, why, and what was traded for what."""

    trial: Trial
    why: str
    goals: tuple[Traded, ...]
    notes: tuple[str, ...] = ()

    def traded(self) -> tuple[str, ...]:
        """A line for each goal."""
        return tuple(_lines(self.goals))


def choice(archive: Archive, trial: Trial, why: str, notes: Sequence[str] = ()) -> Choice:
    """The choice of a scored trial, compared with the run's front and parents."""
    front = archive.front() or (trial,)
    parents = [t for t in archive.references if t.status == "done"]
    goals = tuple(_traded(goal, trial, front, parents) for goal in archive.goals)
    return Choice(trial, why, goals, tuple(notes))


def _traded(goal: Goal, trial: Trial, front: Sequence[Trial], parents: Sequence[Trial]) -> Traded:
    def up(some: Trial) -> float:
        return goal.sign * some.scores[goal.name].value

    low, high = min(map(up, front)), max(map(up, front))
    parent = max(parents, key=up, default=None)
    return Traded(
        goal=goal,
        score=trial.scores[goal.name],
        worst=goal.sign * low,
        best=goal.sign * high,
        place=(up(trial) - low) / (high - low) if high > low else None,
        parent=PurePath(parent.origin).name if parent else None,
        over_parent=up(trial) - up(parent) if parent else None,
        to_best=high - up(trial),
    )


def _lines(goals: Sequence[Traded]) -> Iterator[str]:
    width = max((len(t.goal.name) for t in goals), default=0)
    for t in goals:
        found = interval(t.score)
        score = f"{t.score.value:.4g}" + (f" {ends(found)}" if found else "")
        parts = [f"front {t.worst:.4g} to {t.best:.4g}"]
        if t.place is None and t.to_best == 0:
            parts = ["the same all over the front"]
        elif t.place is None:
            parts.append(f"{abs(t.to_best):.3g} {'worse' if t.to_best > 0 else 'better'}")
        elif t.place < 0:
            short = abs(t.score.value - t.worst)
            parts.append(f"{short:.3g} short of its worst")
        elif t.to_best <= 0:
            parts.append("the best of it" if t.to_best == 0 else f"beyond it by {-t.to_best:.3g}")
        else:
            parts.append(f"{t.place:.0%} of the way, {t.to_best:.3g} short of the best")
        if t.over_parent is not None:
            verdict = "better than" if t.over_parent > 0 else "worse than"
            much = f"{abs(t.over_parent):.3g} {verdict}" if t.over_parent else "equal to"
            parts.append(f"{much} the best parent, {t.parent}")
        arrow = "↑" if t.goal.maximize else "↓"
        yield f"{t.goal.name:{width}} {arrow}  {score:<22}  {'; '.join(parts)}"

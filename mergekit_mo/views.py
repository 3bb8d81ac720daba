"""What is seen in a run's trials: fronts, hypervolumes and the matrices that optimizers read.

Rule: what is seen follows from the trials and the goals alone. What is kept of it from one call to
the next is brought up in `_take`, so that a trial costs as much after thousands as at the start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np

from mergekit_mo.pareto import Matrix, hypervolume, nondominated
from mergekit_mo.scales import (
    Scale,
    anchored_columns,
    auxiliary_scales,
    make_scales,
    reference_point,
)
from mergekit_mo.trial import Data, Goal, Measurement, Role, Split, Trial

Unit = tuple[float, ...]


class Views:
    """The trials of one run in memory.

    Args:
        goals: the objectives, in the order of every table and matrix.
        auxiliary: what is measured besides, to steer an optimizer: in no front, table or
            hypervolume.
        trials: those that there are, by number.
    """

    def __init__(
        self, goals: tuple[Goal, ...], auxiliary: tuple[Goal, ...], trials: Iterable[Trial]
    ) -> None:
        self.goals = goals
        self.auxiliary = auxiliary
        self._trials: dict[int, Trial] = {}  # by number, and in the order of numbers
        self._views: dict[Role | None, tuple[Trial, ...]] = {}
        self._roles: dict[Role, dict[int, Trial]] = {"reference": {}, "candidate": {}}
        self._points: set[Unit | None] = set()
        self._origins: Counter[str] = Counter()
        self._asks = 0
        self._scales: tuple[Scale, ...] | None = None
        self._front: list[int] = []  # of the candidates that are not in `_unseen`
        self._unseen: set[int] = set()
        self._take(trials)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials in the order of their numbers."""
        if None not in self._views:
            self._views[None] = tuple(self._trials.values())
        return self._views[None]

    @property
    def references(self) -> tuple[Trial, ...]:
        """The base and the sources as they are."""
        return self._of("reference")

    @property
    def candidates(self) -> tuple[Trial, ...]:
        """The trials that count towards the budget."""
        return self._of("candidate")

    def _of(self, role: Role) -> tuple[Trial, ...]:
        if role not in self._views:
            self._views[role] = tuple(self._roles[role].values())
        return self._views[role]

    def trial(self, number: int) -> Trial | None:
        """The trial of a number; None where there is none."""
        return self._trials.get(number)

    @property
    def points(self) -> Set[Unit | None]:
        """The points of the candidates, whatever became of them."""
        return self._points

    def proposed_by(self, origin: str) -> int:
        """How many candidates one origin has proposed."""
        return self._origins[origin]

    @property
    def asks(self) -> int:
        """How often an optimizer has been asked."""
        return self._asks

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The anchored scale of each goal."""
        if self._scales is None:
            self._scales = make_scales(self.goals, self.references)
        return self._scales

    @property
    def steering_scales(self) -> tuple[Scale, ...]:
        """The scales of the goals, then of the auxiliary objectives."""
        return (*self.scales, *auxiliary_scales(self.auxiliary, self.references))

    def matrix(self, trials: Iterable[Trial], split: Split = "search") -> Matrix:
        """Anchored scores of finished trials, `n x m`, all maximised."""
        return self._matrix(trials, self.scales, split)

    def _matrix(
        self, trials: Iterable[Trial], scales: Sequence[Scale], split: Split = "search"
    ) -> Matrix:
        rows = [[s.up(_scores(t, split)[s.goal.name].value) for s in scales] for t in trials]
        return np.array(rows, dtype=float).reshape(len(rows), len(scales))

    def data(
        self,
        *,
        auxiliary: bool = False,
        expressed: Mapping[str, Unit] | None = None,
        partial: bool = False,
    ) -> Data:
        """The matrices that optimizers read; failed trials are in none of them.

        Args:
            auxiliary: with the auxiliary objectives as the last columns.
            partial: with stopped trials, whose scores are estimates.
            expressed: points of the space at which a reference trial lies, by the reference's
                model; such trials are data like any other, and come first.
        """
        scales = self.steering_scales if auxiliary else self.scales
        known = {**(expressed or {})}
        done = [
            *(t for t in self.references if t.status == "done" and t.origin in known),
            *(t for t in self.candidates if t.status in ("done", *("stopped",) * partial)),
        ]
        points = [known[t.origin] if t.unit is None else t.unit for t in done]
        waiting = [t for t in self.candidates if t.status == "waiting"]
        d = max((len(t.unit) for t in self.candidates if t.unit is not None), default=0)
        variances = [[s.variance(t.scores[s.goal.name].stderr) for s in scales] for t in done]
        return Data(
            X=np.array(points, dtype=float).reshape(len(done), d),
            Y=self._matrix(done, scales),
            Yvar=np.array(variances, dtype=float).reshape(len(done), len(scales)),
            feasible=np.array([self.feasible(t) for t in done], dtype=bool),
            pending=np.array([t.unit for t in waiting], dtype=float).reshape(len(waiting), d),
            numbers=tuple(t.number for t in done),
            partial=np.array([t.status == "stopped" for t in done], dtype=bool),
        )

    def feasible(self, trial: Trial) -> bool:
        """Whether a finished trial keeps every threshold."""
        return all(goal.allows(trial.scores[goal.name].value) for goal in self.goals)

    def front(self) -> tuple[Trial, ...]:
        """The feasible candidates that no other one dominates, by their search scores."""
        if self._unseen:
            # What a member dominates stays dominated: later trials meet the members alone.
            numbers = sorted({*self._front, *self._unseen})
            found = self.front_of(self._trials[number] for number in numbers)
            self._front = [trial.number for trial in found]
            self._unseen.clear()
        return tuple(self._trials[number] for number in self._front)

    def front_of(self, trials: Iterable[Trial]) -> tuple[Trial, ...]:
        """The front of some trials; failed and stopped ones are on none."""
        able = [t for t in trials if t.status == "done" and self.feasible(t)]
        marks = nondominated(self.matrix(able))
        return tuple(t for t, on in zip(able, marks, strict=True) if on)

    def hypervolume(self, trials: Iterable[Trial], split: Split = "search") -> float:
        """Hypervolume of trials over the anchored goals, from the fixed reference point."""
        columns = anchored_columns(self.scales)
        if not columns:
            return 0.0
        return hypervolume(self.matrix(trials, split)[:, columns], reference_point(len(columns)))

    def _take(self, trials: Iterable[Trial]) -> None:
        """Takes trials over that are on disk now."""
        for trial in trials:
            if trial.number not in self._trials:
                self._count(trial)
            self._trials[trial.number] = self._roles[trial.role][trial.number] = trial
            self._views.pop(None, None)
            self._views.pop(trial.role, None)
            if trial.role == "candidate":
                self._unseen.add(trial.number)
            else:  # the scales may be others now, and so is who dominates whom
                self._scales = None
                self._front, self._unseen = [], {*self._roles["candidate"]}

    def _count(self, trial: Trial) -> None:
        """Counts a new trial, whose number is higher than all before it."""
        self._asks = max(self._asks, 0 if trial.ask is None else trial.ask + 1)
        if trial.role == "candidate":
            self._points.add(trial.unit)
            self._origins[trial.origin] += 1


def _scores(trial: Trial, split: Split) -> Mapping[str, Measurement]:
    return trial.scores if split == "search" else trial.holdout

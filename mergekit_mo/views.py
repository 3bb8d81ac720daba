"""What is seen in a run's trials: fronts, hypervolumes and the matrices that optimizers read.

Rule: a view holds nothing of its own; it follows from the trials and the goals alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from mergekit_mo.pareto import Matrix, hypervolume, nondominated
from mergekit_mo.scales import (
    Scale,
    anchored_columns,
    auxiliary_scales,
    make_scales,
    reference_point,
)
from mergekit_mo.trial import Data, Goal, Measurement, Split, Trial

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
        self._views: dict[str, tuple[Trial, ...]] = {}
        self._trials = {trial.number: trial for trial in trials}

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials in the order of their numbers."""
        return self._view("all", lambda _: True)

    @property
    def references(self) -> tuple[Trial, ...]:
        """The base and the sources as they are."""
        return self._view("reference", lambda trial: trial.role == "reference")

    @property
    def candidates(self) -> tuple[Trial, ...]:
        """The trials that count towards the budget."""
        return self._view("candidate", lambda trial: trial.role == "candidate")

    def trial(self, number: int) -> Trial | None:
        """The trial of a number; None where there is none."""
        return self._trials.get(number)

    def _view(self, name: str, wanted: Callable[[Trial], bool]) -> tuple[Trial, ...]:
        """Some of the trials, in the order of their numbers; kept until one of them changes."""
        if name not in self._views:
            self._views[name] = tuple(t for _, t in sorted(self._trials.items()) if wanted(t))
        return self._views[name]

    @property
    def asks(self) -> int:
        """How often an optimizer has been asked."""
        return 1 + max((t.ask for t in self.trials if t.ask is not None), default=-1)

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The anchored scale of each goal."""
        return make_scales(self.goals, self.references)

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
        return self.front_of(self.candidates)

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
        self._trials.update({t.number: t for t in trials})
        self._views.clear()


def _scores(trial: Trial, split: Split) -> Mapping[str, Measurement]:
    return trial.scores if split == "search" else trial.holdout

"""Every trial of a run, in one SQLite file; the front and the optimizers' matrices are views of it.

Rule: one process writes (an OS lock on the run folder sees to it, see `loop`); a call that records
something returns only after the disk has it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mergekit_mo import storage
from mergekit_mo.layers import Layers
from mergekit_mo.pareto import Matrix, hypervolume, nondominated
from mergekit_mo.preference import Preference
from mergekit_mo.problems import UserError
from mergekit_mo.scales import (
    Scale,
    anchored_columns,
    auxiliary_scales,
    make_scales,
    reference_point,
)
from mergekit_mo.soundness import opened, told
from mergekit_mo.space import Candidate
from mergekit_mo.trial import Data, Goal, Measurement, Outcome, Role, Split, Status, Trial

Unit = tuple[float, ...]


class Archive:
    """The trials of one run.

    Open one with `create`, `open` or `memory`; use it as a context manager or `close` it.
    """

    def __init__(self, connection: sqlite3.Connection, *, read_only: bool = False) -> None:
        self._db = connection
        self._read_only = read_only
        self._views: dict[str, tuple[Trial, ...]] = {}
        goals = [goal.name for goal in (*self.goals, *self.auxiliary)]
        self._trials = {trial.number: trial for trial in storage.read_trials(connection, goals)}

    @classmethod
    def create(cls, path: Path | str, goals: Sequence[Goal], facts: Mapping[str, Any]) -> Archive:
        """Makes a new archive.

        Args:
            path: the file, which must not exist; or `:memory:`.
            goals: the objectives, in the order of every table.
            facts: what else the archive should remember, plain JSON by name.

        Raises:
            UserError: the file exists.
        """
        if str(path) != ":memory:" and Path(path).exists():
            raise UserError(f"{path}: exists already")
        db = storage.connect(str(path))
        storage.make_durable(db)
        own = {
            "schema": storage.VERSION,
            "goals": [[g.name, g.maximize, g.threshold] for g in goals],
        }
        storage.make_tables(db, {**facts, **own})
        return cls(db)

    @classmethod
    def memory(cls, goals: Sequence[Goal]) -> Archive:
        """An archive that is gone when it is closed."""
        return cls.create(":memory:", goals, {})

    @classmethod
    def open(cls, path: Path | str, *, read_only: bool = False) -> Archive:
        """Opens an archive.

        Args:
            path: its file, or the run folder that it is in.
            read_only: leave the file as it is.

        Raises:
            UserError: it is absent, damaged or of another version.
        """
        path = Path(path)
        path = path / "archive.db" if path.is_dir() else path
        if not path.is_file():
            raise UserError(f"{path}: no such archive")
        db = opened(path, read_only=read_only)
        with ExitStack() as undo, told(path):
            undo.callback(db.close)
            archive = cls(db, read_only=read_only)
            archive._check()
            undo.pop_all()
            return archive

    def _check(self) -> None:
        """Sees that the goals, and what else is made of facts, are of the form that they should be.

        Raises:
            ValueError: they are not.
        """
        goals = (*self.goals, *self.auxiliary)
        plausible = [
            isinstance(goal.name, str)
            and isinstance(goal.maximize, bool)
            and (goal.threshold is None or isinstance(goal.threshold, int | float))
            for goal in goals
        ]
        if not self.goals or not all(plausible) or len({g.name for g in goals}) < len(goals):
            raise ValueError("the goals are not of the form that this program writes")
        _ = self.preference, self.layers, self.scales  # each raises for what it cannot be made of

    def close(self) -> None:
        """Closes the file, leaving nothing beside it: a read-only folder can then be opened."""
        if not self._read_only:
            storage.settle(self._db)
        self._db.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is known.

    @cached_property
    def goals(self) -> tuple[Goal, ...]:
        """The objectives, in the order of every table and matrix."""
        return tuple(Goal(*entry) for entry in self.fact("goals"))

    @cached_property
    def auxiliary(self) -> tuple[Goal, ...]:
        """What is measured besides, to steer an optimizer: in no front, table or hypervolume."""
        return tuple(Goal(*entry) for entry in self.fact("auxiliary") or ())

    @property
    def preference(self) -> Preference:
        """Where the budget should be spent."""
        return Preference(**(self.fact("preference") or {}))

    def fact(self, name: str) -> Any:
        """Something that the archive was told to remember; None where it was not."""
        text = storage.read_fact(self._db, name)
        return None if text is None else json.loads(text)

    @cached_property
    def layers(self) -> Layers | None:
        """The paths over layers that are searched; None where they are not."""
        facts = self.fact("layers")
        return None if facts is None else Layers.read(facts)

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

    def answers(self, number: int, split: Split, task: str) -> Any:
        """The per-item answers of a trial.

        Raises:
            UserError: they are not there, or not as they were written.
        """
        return storage.read_answers(self._db, number, split, task)

    def openings(self) -> tuple[int, ...]:
        """The trials whose hold-out was scored, once for each time."""
        rows = self._db.execute("SELECT trial FROM opening ORDER BY number")
        return tuple(row[0] for row in rows)

    def finished_at(self) -> dict[int, float]:
        """When trials finished or failed, in seconds since the epoch, by number."""
        rows = self._db.execute("SELECT number, finished FROM trial WHERE finished IS NOT NULL")
        return dict(rows)

    # Views.

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

    # Writing.

    def propose(
        self,
        role: Role,
        entries: Sequence[tuple[Candidate | str, Mapping[str, Any]]],
        ask: int | None = None,
    ) -> tuple[Trial, ...]:
        """Writes trials that are about to run, all or none of them.

        Args:
            role: `reference` or `candidate`.
            entries: each a candidate (of a reference, its model's name) and its configuration.
            ask: the number of the ask that proposed them.
        """
        first = 1 + max(self._trials, default=-1)
        trials = []
        for number, (candidate, config) in enumerate(entries, first):
            known = isinstance(candidate, Candidate)
            origin = candidate.origin if known else candidate  # type: ignore[union-attr]
            unit = candidate.unit if known else None  # type: ignore[union-attr]
            path = candidate.path if known else None  # type: ignore[union-attr]
            trial = Trial(number, role, str(origin), "waiting", config, unit, ask, path=path)
            trials.append(trial)
        with storage.transaction(self._db):
            for trial in trials:
                storage.put(self._db, "trial", _row(trial))
        self._keep(trials)
        return tuple(trials)

    def finish(self, number: int, outcome: Outcome, at: float, split: Split = "search") -> Trial:
        """Records what running a trial gave.

        Args:
            number: the trial.
            outcome: its scores, or its error.
            at: seconds since the epoch.
            split: which items were asked; the hold-out of a finished trial adds to it.

        Returns:
            The trial as it is now; as it was, where a trial that has finished finishes again.
        """
        trial = self._trials[number]
        if split == "search" and trial.status != "waiting":
            return trial
        failed = outcome.error is not None
        if split == "search":
            status: Status = "failed" if failed else "stopped" if outcome.stopped else "done"
            trial = replace(
                trial,
                status=status,
                scores=dict(outcome.scores),
                digest=outcome.digest,
                error=outcome.error,
                seconds=outcome.seconds,
                stopped=None if failed else outcome.stopped,
            )
        else:
            trial = replace(trial, holdout=dict(outcome.scores))
        with storage.transaction(self._db):
            if split == "search":
                storage.put(self._db, "trial", {**_row(trial), "finished": at})
            else:
                storage.write_opening(self._db, number, at)
            storage.write_scores(self._db, number, split, outcome.scores)
            storage.write_answers(self._db, number, split, outcome.answers)
        self._keep([trial])
        return trial

    def _keep(self, trials: Iterable[Trial]) -> None:
        """Takes trials over that are on disk now."""
        self._trials.update({t.number: t for t in trials})
        self._views.clear()

    def remember(self, name: str, value: Any) -> None:
        """Writes a fact, in the place of an older one of that name."""
        with storage.transaction(self._db):
            storage.write_fact(self._db, name, value)


def _row(trial: Trial) -> dict[str, Any]:
    """A trial as its row, but for the time at which it finished."""
    return {
        "number": trial.number,
        "role": trial.role,
        "origin": trial.origin,
        "ask": trial.ask,
        "unit": json.dumps(trial.unit),
        "config": json.dumps(trial.config),
        "path": storage.path_text(trial.path),
        "status": trial.status,
        "digest": trial.digest,
        "error": trial.error,
        "seconds": trial.seconds,
        "stopped": storage.stop_text(trial.stopped),
    }


def _scores(trial: Trial, split: Split) -> Mapping[str, Measurement]:
    return trial.scores if split == "search" else trial.holdout


__all__ = ["Archive", "Data", "Outcome"]

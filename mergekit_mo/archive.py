"""Every trial of a run, in one SQLite file; fronts and matrices are `views` of it.

Rule: one process writes (an OS lock on the run folder sees to it, see `loop`); a call that records
something returns only after the disk has it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mergekit_mo import records, storage
from mergekit_mo.layers import Layers
from mergekit_mo.preference import Preference
from mergekit_mo.problems import UserError
from mergekit_mo.soundness import opened, snapshot, told
from mergekit_mo.space import Candidate
from mergekit_mo.trial import Data, Goal, Outcome, Role, Split, Status, Trial
from mergekit_mo.views import Unit, Views


class Archive(Views):
    """The trials of one run.

    Open one with `create`, `open` or `memory`; use it as a context manager or `close` it.
    """

    def __init__(self, connection: sqlite3.Connection, *, read_only: bool = False) -> None:
        self._db = connection
        self._read_only = read_only
        goals, auxiliary = (
            tuple(Goal(*entry) for entry in self.fact(name) or ())
            for name in ("goals", "auxiliary")
        )
        names = [goal.name for goal in (*goals, *auxiliary)]
        super().__init__(goals, auxiliary, records.read_trials(connection, names))

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
        with ExitStack() as undo, told(path), snapshot(db):  # scores and trials of one moment
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

    def _goals(self, name: str) -> tuple[Goal, ...]:
        """The goals under the name of a fact."""
        return tuple(Goal(*entry) for entry in self.fact(name) or ())

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

    def answers(self, number: int, split: Split, task: str) -> Any:
        """The per-item answers of a trial.

        Raises:
            UserError: they are not there, or not as they were written.
        """
        return records.read_answers(self._db, number, split, task)

    def openings(self) -> tuple[int, ...]:
        """The trials whose hold-out was scored, once for each time."""
        rows = self._db.execute("SELECT trial FROM opening ORDER BY number")
        return tuple(row[0] for row in rows)

    def finished_at(self) -> dict[int, float]:
        """When trials finished or failed, in seconds since the epoch, by number."""
        rows = self._db.execute("SELECT number, finished FROM trial WHERE finished IS NOT NULL")
        return dict(rows)

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
        first = 1 + next(reversed(self._trials), -1)
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
                storage.put(self._db, "trial", records.row_of(trial))
        self._take(trials)
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
                storage.put(self._db, "trial", {**records.row_of(trial), "finished": at})
            else:
                records.write_opening(self._db, number, at)
            records.write_scores(self._db, number, split, outcome.scores)
            records.write_answers(self._db, number, split, outcome.answers)
        self._take([trial])
        return trial

    def remember(self, name: str, value: Any) -> None:
        """Writes a fact, in the place of an older one of that name."""
        with storage.transaction(self._db):
            storage.write_fact(self._db, name, value)


__all__ = ["Archive", "Data", "Outcome", "Unit"]

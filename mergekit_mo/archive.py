"""Every trial of a run, in one SQLite file; the front and the optimizers' matrices are views of it.

Rule: one process writes (an OS lock on the run folder sees to it, see `loop`); a call that records
something returns only after the disk has it.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mergekit_mo.pareto import Matrix, hypervolume, nondominated
from mergekit_mo.problems import UserError
from mergekit_mo.scales import Scale, anchored_columns, make_scales, reference_point
from mergekit_mo.space import Candidate
from mergekit_mo.trial import Goal, Measurement, Role, Split, Status, Trial

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trial (
    number INTEGER PRIMARY KEY, role TEXT NOT NULL, origin TEXT NOT NULL, ask INTEGER,
    unit TEXT, config TEXT NOT NULL, status TEXT NOT NULL, digest TEXT, error TEXT,
    seconds REAL, finished REAL
);
CREATE TABLE score (
    trial INTEGER NOT NULL REFERENCES trial, split TEXT NOT NULL, goal TEXT NOT NULL,
    value REAL NOT NULL, stderr REAL, n INTEGER, PRIMARY KEY (trial, split, goal)
);
CREATE TABLE answers (
    trial INTEGER NOT NULL REFERENCES trial, split TEXT NOT NULL, task TEXT NOT NULL,
    checksum INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (trial, split, task)
);
CREATE TABLE opening (
    number INTEGER PRIMARY KEY, trial INTEGER NOT NULL REFERENCES trial, at REAL NOT NULL
);
"""


@dataclass(frozen=True)
class Outcome:
    """What running a trial gave.

    Attributes:
        scores: measurements by goal; empty where the trial failed.
        answers: per-item answers by task, plain JSON.
        digest: of the merged weights.
        error: what the trial died of, or None.
        seconds: how long it took.
    """

    scores: Mapping[str, Measurement]
    answers: Mapping[str, Any]
    digest: str | None
    error: str | None
    seconds: float


@dataclass(frozen=True)
class Data:
    """What optimizers learn from: finished candidates on anchored scales, all maximised.

    Attributes:
        X: `n x d` points of the unit cube.
        Y: `n x m` anchored scores.
        Yvar: `n x m` variances of the scores' item errors; NaN where unknown.
        feasible: `n` marks: every threshold is kept.
        pending: `k x d` points that are proposed but not finished.
    """

    X: Matrix
    Y: Matrix
    Yvar: Matrix
    feasible: NDArray[np.bool_]
    pending: Matrix


class Archive:
    """The trials of one run.

    Open one with `create`, `open` or `memory`; use it as a context manager or `close` it.
    """

    def __init__(self, connection: sqlite3.Connection, *, read_only: bool = False) -> None:
        self._db = connection
        self._read_only = read_only
        self._trials: dict[int, Trial] = {t.number: t for t in self._load()}

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
        db = _connect(str(path))
        own = {
            "schema": SCHEMA_VERSION,
            "goals": [[g.name, g.maximize, g.threshold] for g in goals],
        }
        with _transaction(db):
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.executemany(
                "INSERT INTO fact VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in {**facts, **own}.items()],
            )
        return cls(db)

    @classmethod
    def memory(cls, goals: Sequence[Goal]) -> Archive:
        """An archive that is gone when it is closed."""
        return cls.create(":memory:", goals, {})

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Archive:
        """Opens an archive.

        Raises:
            UserError: it is absent, damaged or of another version.
        """
        if not path.is_file():
            raise UserError(f"{path}: no such archive")
        address = f"{path.resolve().as_uri()}?mode=ro" if read_only else str(path)
        try:
            with ExitStack() as undo:
                db = _connect(address, read_only)
                undo.callback(db.close)
                # A file of zeros or of another program is found out by the first, a torn one by
                # the second; flipped bits in answers by their checksums.
                version = json.loads(_fact(db, "schema") or "null")
                (state,) = db.execute("PRAGMA quick_check").fetchone()
                if state != "ok":
                    raise UserError(f"{path}: the archive is damaged ({state})")
                if version != SCHEMA_VERSION:
                    what = f"an archive of version {version}, not {SCHEMA_VERSION}"
                    raise UserError(f"{path}: {what}")
                archive = cls(db, read_only=read_only)
                undo.pop_all()
                return archive
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: the archive cannot be read ({error})") from error

    def close(self) -> None:
        """Closes the file, leaving nothing beside it: a read-only folder can then be opened."""
        if not self._read_only:
            self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is known.

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The objectives, in the order of every table and matrix."""
        return tuple(Goal(*entry) for entry in self.fact("goals"))

    def fact(self, name: str) -> Any:
        """Something that the archive was told to remember; None where it was not."""
        text = _fact(self._db, name)
        return None if text is None else json.loads(text)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials in the order of their numbers."""
        return tuple(self._trials[number] for number in sorted(self._trials))

    @property
    def references(self) -> tuple[Trial, ...]:
        """The base and the sources as they are."""
        return tuple(t for t in self.trials if t.role == "reference")

    @property
    def candidates(self) -> tuple[Trial, ...]:
        """The trials that count towards the budget."""
        return tuple(t for t in self.trials if t.role == "candidate")

    @property
    def asks(self) -> int:
        """How often an optimizer has been asked."""
        return 1 + max((t.ask for t in self.trials if t.ask is not None), default=-1)

    def answers(self, number: int, split: Split, task: str) -> Any:
        """The per-item answers of a trial.

        Raises:
            UserError: they are not there, or not as they were written.
        """
        row = self._db.execute(
            "SELECT checksum, body FROM answers WHERE trial=? AND split=? AND task=?",
            (number, split, task),
        ).fetchone()
        if row is None:
            raise UserError(f"trial {number} has no {split} answers to {task}")
        if zlib.crc32(row[1]) != row[0]:
            raise UserError(f"trial {number}: its {split} answers to {task} are damaged")
        return json.loads(zlib.decompress(row[1]))

    def openings(self) -> tuple[int, ...]:
        """The trials whose hold-out was scored, once for each time."""
        rows = self._db.execute("SELECT trial FROM opening ORDER BY number")
        return tuple(row[0] for row in rows)

    # Views.

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The anchored scale of each goal."""
        return make_scales(self.goals, self.references)

    def matrix(self, trials: Iterable[Trial], split: Split = "search") -> Matrix:
        """Anchored scores of finished trials, `n x m`, all maximised."""
        scales = self.scales
        rows = [[s.up(_scores(t, split)[s.goal.name].value) for s in scales] for t in trials]
        return np.array(rows, dtype=float).reshape(len(rows), len(scales))

    def data(self) -> Data:
        """The matrices that optimizers read; failed trials are in none of them."""
        scales = self.scales
        done = [t for t in self.candidates if t.status == "done"]
        waiting = [t for t in self.candidates if t.status == "waiting"]
        d = max((len(t.unit) for t in self.candidates if t.unit is not None), default=0)
        variances = [[s.variance(t.scores[s.goal.name].stderr) for s in scales] for t in done]
        return Data(
            X=np.array([t.unit for t in done], dtype=float).reshape(len(done), d),
            Y=self.matrix(done),
            Yvar=np.array(variances, dtype=float).reshape(len(done), len(scales)),
            feasible=np.array([self.feasible(t) for t in done], dtype=bool),
            pending=np.array([t.unit for t in waiting], dtype=float).reshape(len(waiting), d),
        )

    def feasible(self, trial: Trial) -> bool:
        """Whether a finished trial keeps every threshold."""
        return all(goal.allows(trial.scores[goal.name].value) for goal in self.goals)

    def front(self) -> tuple[Trial, ...]:
        """The feasible candidates that no other one dominates, by their search scores."""
        able = [t for t in self.candidates if t.status == "done" and self.feasible(t)]
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
            trials.append(Trial(number, role, str(origin), "waiting", config, unit, ask))
        with _transaction(self._db):
            self._db.executemany(
                "INSERT INTO trial (number, role, origin, ask, unit, config, status) "
                "VALUES (?, ?, ?, ?, ?, ?, 'waiting')",
                [
                    (t.number, role, t.origin, ask, json.dumps(t.unit), json.dumps(t.config))
                    for t in trials
                ],
            )
        self._trials.update({t.number: t for t in trials})
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
            status: Status = "failed" if failed else "done"
            trial = replace(
                trial,
                status=status,
                scores=dict(outcome.scores),
                digest=outcome.digest,
                error=outcome.error,
                seconds=outcome.seconds,
            )
        else:
            trial = replace(trial, holdout=dict(outcome.scores))
        with _transaction(self._db):
            if split == "search":
                self._db.execute(
                    "UPDATE trial SET status=?, digest=?, error=?, seconds=?, finished=? "
                    "WHERE number=? AND status='waiting'",
                    (trial.status, trial.digest, trial.error, trial.seconds, at, number),
                )
            else:
                self._db.execute("INSERT INTO opening (trial, at) VALUES (?, ?)", (number, at))
            self._write_scores(number, split, outcome)
        self._trials[number] = trial
        return trial

    def remember(self, name: str, value: Any) -> None:
        """Writes a fact, in the place of an older one of that name."""
        with _transaction(self._db):
            self._db.execute(
                "INSERT INTO fact VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value=excluded.value",
                (name, json.dumps(value)),
            )

    def _write_scores(self, number: int, split: Split, outcome: Outcome) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?, ?, ?)",
            [(number, split, g, m.value, m.stderr, m.n) for g, m in outcome.scores.items()],
        )
        for task, answers in outcome.answers.items():
            body = zlib.compress(json.dumps(answers, separators=(",", ":")).encode())
            self._db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
                (number, split, task, zlib.crc32(body), body),
            )

    def _load(self) -> Iterator[Trial]:
        scores: dict[tuple[int, str], dict[str, Measurement]] = {}
        goals = [goal.name for goal in self.goals]
        for number, split, goal, *rest in self._db.execute("SELECT * FROM score"):
            scores.setdefault((number, split), {})[goal] = Measurement(*rest)
        columns = "number, role, origin, status, config, unit, ask, digest, error, seconds"
        for row in self._db.execute(f"SELECT {columns} FROM trial ORDER BY number"):
            number, role, origin, status, config, unit, ask, digest, error, seconds = row
            point = json.loads(unit)
            yield Trial(
                number, role, origin, status, json.loads(config),
                None if point is None else tuple(point), ask,
                _ordered(scores.get((number, "search"), {}), goals),
                _ordered(scores.get((number, "holdout"), {}), goals),
                digest, error, seconds,
            )  # fmt: skip


def _scores(trial: Trial, split: Split) -> Mapping[str, Measurement]:
    return trial.scores if split == "search" else trial.holdout


def _ordered(scores: dict[str, Measurement], goals: list[str]) -> dict[str, Measurement]:
    return {goal: scores[goal] for goal in goals if goal in scores}


def _fact(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM fact WHERE name=?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _connect(address: str, read_only: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(address, uri=read_only, isolation_level=None, timeout=5)
    if not read_only:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # a commit survives a power cut, not only a kill
        db.execute("PRAGMA foreign_keys=ON")
    return db


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")

"""The archive's tables: how facts, trials, scores and answers lie in SQLite.

Rule: a transaction is on disk when it returns (`synchronous=FULL`); answers are one compressed,
checksummed blob for each trial and task, since `quick_check` sees no flipped bits in data.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mergekit_mo.layers import Path
from mergekit_mo.problems import UserError
from mergekit_mo.trial import Measurement, Split, Trial

VERSION = 2
"""Of the tables below. Version 1 had no paths; its archives are read, and brought up on writing."""

_SCHEMA = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trial (
    number INTEGER PRIMARY KEY, role TEXT NOT NULL, origin TEXT NOT NULL, ask INTEGER,
    unit TEXT, config TEXT NOT NULL, status TEXT NOT NULL, digest TEXT, error TEXT,
    seconds REAL, finished REAL, path TEXT
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


def connect(address: str, read_only: bool = False) -> sqlite3.Connection:
    """Opens a database: a path, or where it is only read, a URI."""
    db = sqlite3.connect(address, uri=read_only, isolation_level=None, timeout=5)
    if not read_only:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # a commit survives a power cut, not only a kill
        db.execute("PRAGMA foreign_keys=ON")
    return db


def settle(db: sqlite3.Connection, patience: float = 5.0) -> None:
    """Takes a database out of WAL mode, for which nobody may be reading it.

    Where somebody reads it for longer than `patience` seconds it stays as it is, which loses
    nothing: the next one to close it tries again.
    """
    end = time.monotonic() + patience
    while True:
        try:
            db.execute("PRAGMA journal_mode=DELETE")  # minds no timeout of the connection's
            return
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                return
            time.sleep(0.02)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of what is written inside, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def make_tables(db: sqlite3.Connection, facts: Mapping[str, Any]) -> None:
    """Makes the tables of a new archive, and writes its facts."""
    with transaction(db):
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        for name, value in facts.items():
            write_fact(db, name, value)


def upgrade(db: sqlite3.Connection, version: int) -> None:
    """Brings an older archive to the present version."""
    if version < VERSION:
        with transaction(db):
            db.execute("ALTER TABLE trial ADD COLUMN path TEXT")
            write_fact(db, "schema", VERSION)


def write_fact(db: sqlite3.Connection, name: str, value: Any) -> None:
    """Writes plain JSON under a name, in the place of what stood there."""
    db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, json.dumps(value)))


def read_fact(db: sqlite3.Connection, name: str) -> str | None:
    """The JSON text under a name."""
    row = db.execute("SELECT value FROM fact WHERE name=?", (name,)).fetchone()
    return None if row is None else str(row[0])


def write_scores(
    db: sqlite3.Connection, number: int, split: Split, scores: Mapping[str, Measurement]
) -> None:
    """Writes a trial's measurements by goal."""
    db.executemany(
        "INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?, ?, ?)",
        [(number, split, goal, m.value, m.stderr, m.n) for goal, m in scores.items()],
    )


def write_answers(
    db: sqlite3.Connection, number: int, split: Split, answers: Mapping[str, Any]
) -> None:
    """Writes a trial's per-item answers by task."""
    for task, found in answers.items():
        body = zlib.compress(json.dumps(found, separators=(",", ":")).encode())
        db.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
            (number, split, task, zlib.crc32(body), body),
        )


def read_answers(db: sqlite3.Connection, number: int, split: Split, task: str) -> Any:
    """A trial's per-item answers to one task.

    Raises:
        UserError: they are not there, or not as they were written.
    """
    row = db.execute(
        "SELECT checksum, body FROM answers WHERE trial=? AND split=? AND task=?",
        (number, split, task),
    ).fetchone()
    if row is None:
        raise UserError(f"trial {number} has no {split} answers to {task}")
    if zlib.crc32(row[1]) != row[0]:
        raise UserError(f"trial {number}: its {split} answers to {task} are damaged")
    return json.loads(zlib.decompress(row[1]))


def read_trials(db: sqlite3.Connection, goals: Sequence[str]) -> Iterator[Trial]:
    """All trials by number, their scores in the order of the goals."""
    found: dict[tuple[int, str], dict[str, Measurement]] = {}
    for number, split, goal, *rest in db.execute("SELECT * FROM score"):
        found.setdefault((number, split), {})[goal] = Measurement(*rest)

    def scores(number: int, split: Split) -> dict[str, Measurement]:
        own = found.get((number, split), {})
        return {goal: own[goal] for goal in goals if goal in own}

    known = [row[1] for row in db.execute("PRAGMA table_info(trial)")]
    columns = "number, role, origin, status, config, unit, ask, digest, error, seconds, "
    columns += "path" if "path" in known else "NULL"  # version 1, opened for reading only
    for row in db.execute(f"SELECT {columns} FROM trial ORDER BY number"):
        number, role, origin, status, config, unit, ask, digest, error, seconds, path = row
        point = json.loads(unit)
        yield Trial(
            number,
            role,
            origin,
            status,
            json.loads(config),
            unit=None if point is None else tuple(point),
            ask=ask,
            scores=scores(number, "search"),
            holdout=scores(number, "holdout"),
            digest=digest,
            error=error,
            seconds=seconds,
            path=None if path is None else read_path(path),
        )


def path_text(path: Path | None) -> str | None:
    """A path as the text that is stored."""
    return None if path is None else json.dumps(path, separators=(",", ":"))


def read_path(text: str) -> Path:
    """A path as it was stored."""
    return tuple((int(member), int(layer)) for member, layer in json.loads(text))

"""The archive's tables: how they lie in SQLite, and how their rows are written and checked.

Rule: a transaction is on disk when it returns (`synchronous=FULL`), and every row carries a mark,
the checksum of its content; all marks together make the seal. SQLite itself sees no flipped bit in
data; whoever opens an archive compares both (`damage`).
"""

from __future__ import annotations

import functools
import json
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mergekit_mo.problems import UserError

VERSION = 3
"""Of the tables below. Version 1 had no paths, version 2 no marks and no stopped trials; both are
read, and brought up when they are written to."""

ADDED = {2: "path", 3: "stopped"}
"""The columns of trials that a version brought, texts all."""

MARKED = 3
"""The first version whose rows carry marks."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "fact": ("name",),
    "trial": ("number",),
    "score": ("trial", "split", "goal"),
    "answers": ("trial", "split", "task"),
    "opening": ("number",),
}
"""The tables, each with the columns that tell its rows apart."""

TABLES = frozenset(KEYS) | {"seal"}

_SCHEMA = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL, mark INTEGER NOT NULL DEFAULT 0);
CREATE TABLE trial (
    number INTEGER PRIMARY KEY, role TEXT NOT NULL, origin TEXT NOT NULL, ask INTEGER,
    unit TEXT, config TEXT NOT NULL, status TEXT NOT NULL, digest TEXT, error TEXT,
    seconds REAL, finished REAL, path TEXT, stopped TEXT, mark INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE score (
    trial INTEGER NOT NULL REFERENCES trial, split TEXT NOT NULL, goal TEXT NOT NULL,
    value REAL NOT NULL, stderr REAL, n INTEGER, mark INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (trial, split, goal)
);
CREATE TABLE answers (
    trial INTEGER NOT NULL REFERENCES trial, split TEXT NOT NULL, task TEXT NOT NULL,
    checksum INTEGER NOT NULL, body BLOB NOT NULL, mark INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (trial, split, task)
);
CREATE TABLE opening (
    number INTEGER PRIMARY KEY, trial INTEGER NOT NULL REFERENCES trial, at REAL NOT NULL,
    mark INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE seal (number INTEGER PRIMARY KEY, entries INTEGER NOT NULL, total INTEGER NOT NULL);
INSERT INTO seal VALUES (0, 0, 0)
"""

_WORD = 0xFFFFFFFF

CIRCUMSTANCES = frozenset(
    {"SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_NOMEM",
     "SQLITE_PERM", "SQLITE_READONLY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"}
)  # fmt: skip
"""What SQLite says of a disk or a lock; anything else is about what stands in the file."""


def error_name(error: sqlite3.Error) -> str:
    """What SQLite calls an error, without its finer kind."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return "_".join(name.split("_")[:2])


def connect(address: str, read_only: bool = False) -> sqlite3.Connection:
    """Opens a database: a path, or where it is only read, a URI."""
    return sqlite3.connect(address, uri=read_only, isolation_level=None, timeout=5)


def make_durable(db: sqlite3.Connection) -> None:
    """Sets a database up for writing: a commit survives a power cut, not only a kill."""
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA foreign_keys=ON")


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
    """All of what is written inside, or nothing of it.

    Raises:
        UserError: the disk takes no more, or another process has the archive.
    """
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
    except BaseException as error:
        if db.in_transaction:  # SQLite itself rolls back where the disk is full
            db.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError) and error_name(error) in CIRCUMSTANCES:
            what = f"the archive cannot be written ({error})"
            way = "what was recorded before is kept: mend that, then continue with --resume"
            raise UserError(f"{what}; {way}", status=1) from error
        raise


def make_tables(db: sqlite3.Connection, facts: Mapping[str, Any]) -> None:
    """Makes the tables of a new archive, and writes its facts."""
    with transaction(db):
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        for name, value in facts.items():
            write_fact(db, name, value)


def upgrade(db: sqlite3.Connection, version: int) -> None:
    """Brings an older archive to the present version."""
    if version == VERSION:
        return
    with transaction(db):
        for later in range(version + 1, VERSION + 1):
            db.execute(f"ALTER TABLE trial ADD COLUMN {ADDED[later]} TEXT")
        for table in KEYS:
            db.execute(f"ALTER TABLE {table} ADD COLUMN mark INTEGER NOT NULL DEFAULT 0")
        seal = _SCHEMA.index("CREATE TABLE seal")
        for statement in _SCHEMA[seal:].split(";"):
            db.execute(statement)
        for table in KEYS:
            for row in list(rows(db, table)):
                _mark(db, table, row, 0, new=True)
        write_fact(db, "schema", VERSION)


def put(db: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    """Writes a whole row, in the place of one with the same key; marks and seals it."""
    before = _found(db, table, row)
    names, keys = list(row), KEYS[table]
    others = ", ".join(f"{name}=excluded.{name}" for name in names if name not in keys)
    db.execute(
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {others}",
        list(row.values()),
    )
    _mark(db, table, row, before["mark"] if before else 0, new=before is None)


def _found(db: sqlite3.Connection, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row with a key as it stands in the table; None where there is none."""
    where = " AND ".join(f"{name}=?" for name in KEYS[table])
    cursor = db.execute(f"SELECT * FROM {table} WHERE {where}", [key[name] for name in KEYS[table]])
    row = cursor.fetchone()
    return None if row is None else dict(zip(_names(cursor), row, strict=True))


def _mark(
    db: sqlite3.Connection, table: str, key: Mapping[str, Any], before: int, *, new: bool
) -> None:
    """Marks a row that was just written, as it is read back, and brings the seal up."""
    row = _found(db, table, key)
    assert row is not None
    mark, keys = mark_of(row), KEYS[table]
    where = " AND ".join(f"{name}=?" for name in keys)
    db.execute(f"UPDATE {table} SET mark=? WHERE {where}", [mark, *(key[name] for name in keys)])
    db.execute(
        f"UPDATE seal SET entries=entries+?, total=(total+?)&{_WORD}", (int(new), mark - before)
    )


def mark_of(row: Mapping[str, Any]) -> int:
    """The checksum of a row: of its columns by name, but for empty ones, the mark and blobs.

    A column that is added later and left empty changes no mark; a blob has its own checksum.
    """
    content = [
        (name, row[name])
        for name in sorted(row)
        if name != "mark" and row[name] is not None and not isinstance(row[name], bytes)
    ]
    return zlib.crc32(repr(content).encode("utf-8", "surrogatepass"))


def rows(db: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    """Every row of a table by the names of its columns."""
    cursor = db.execute(f"SELECT * FROM {table}")
    names = _names(cursor)
    for row in cursor:
        yield dict(zip(names, row, strict=True))


def _names(cursor: sqlite3.Cursor) -> list[str]:
    return [column[0] for column in cursor.description]


def intact(row: Mapping[str, Any]) -> bool:
    """Whether a row is as it was written."""
    body = row.get("body")
    whole = not isinstance(body, bytes) or zlib.crc32(body) == row["checksum"]
    return whole and bool(mark_of(row) == row["mark"])


def damage(db: sqlite3.Connection) -> list[str]:
    """What is not as it was written; reads the whole archive.

    Raises:
        sqlite3.DatabaseError: the file cannot be read to its end.
    """
    found: list[str] = []
    entries = total = 0
    wanted = _columns()
    for table, keys in KEYS.items():
        # An empty column is in no mark, but it must be called what it is.
        if missing := wanted[table] - {row[1] for row in db.execute(f"PRAGMA table_info({table})")}:
            found.append(f"columns of {table}: {', '.join(sorted(missing))}")
        for row in rows(db, table):
            entries, total = entries + 1, (total + row["mark"]) & _WORD
            if not intact(row):
                found.append(" ".join([table, *(str(row[name]) for name in keys)]))
    (sealed,) = db.execute("SELECT entries, total FROM seal").fetchall()
    if not found and sealed != (entries, total):
        found.append(f"{sealed[0]} rows were written and {entries} are there, or an old one is")
    return found


def spoilt_answers(db: sqlite3.Connection) -> list[str]:
    """What is not as it was written in an archive without marks, as far as it can tell."""
    query = "SELECT trial, split, task, checksum, body FROM answers"
    return [
        f"answers {number} {split} {task}"
        for number, split, task, checksum, body in db.execute(query)
        if zlib.crc32(body) != checksum
    ]


@functools.cache
def _columns() -> dict[str, set[str]]:
    """The columns of each table."""
    db = sqlite3.connect(":memory:")
    db.executescript(_SCHEMA)
    found = {t: {row[1] for row in db.execute(f"PRAGMA table_info({t})")} for t in KEYS}
    db.close()
    return found


def write_fact(db: sqlite3.Connection, name: str, value: Any) -> None:
    """Writes plain JSON under a name, in the place of what stood there."""
    put(db, "fact", {"name": name, "value": json.dumps(value)})


def read_fact(db: sqlite3.Connection, name: str) -> str | None:
    """The JSON text under a name."""
    row = db.execute("SELECT value FROM fact WHERE name=?", (name,)).fetchone()
    return None if row is None else str(row[0])

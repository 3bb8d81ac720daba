"""What is whole in a damaged archive becomes a new one, which a search can go on with.

Rule: only rows whose marks are right are taken over. A trial that lost a part of its result waits
again, so that it is run again; one whose own row is lost is gone.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergekit_mo import storage
from mergekit_mo.files import locked, put_in_place, write_file
from mergekit_mo.problems import UserError
from mergekit_mo.soundness import copied

Row = dict[str, Any]

_BEYOND = 1_000
"""How many numbers in a row have to be missing before a table is taken to end."""

_LONGEST = 1 << 36
"""Bytes; a header that says more is damaged itself."""


@dataclass(frozen=True)
class Rescued:
    """What came of it.

    Attributes:
        kept: trials that are as they were.
        again: trials that lost a part of their result, and wait to be run again.
        gone: numbers of which nothing is left.
    """

    kept: tuple[int, ...]
    again: tuple[int, ...]
    gone: tuple[int, ...]


def rescue(run: Path, out: Path) -> Rescued:
    """Writes what is whole of a run's archive into a new run folder.

    Args:
        run: the run folder, which stays as it is.
        out: the new one.

    Raises:
        UserError: there is no archive, or too little of it; `out` holds a run; somebody writes.
    """
    path, new = run / "archive.db", out / "archive.db"
    if not path.is_file():
        raise UserError(f"{path}: no such archive", status=2)
    if new.exists():
        raise UserError(f"{out} holds a run already: choose another folder", status=2)
    with locked(out):
        aside = out / ".archive.db.new"
        aside.unlink(missing_ok=True)
        found = _found(path)
        facts = {row["name"]: row["value"] for row in found["fact"]}
        if facts.get("schema") not in (None, json.dumps(storage.VERSION)):
            what = f"an archive of version {facts['schema']} does not say which rows are whole"
            raise UserError(f"{path}: {what}", status=1)
        missing = [name for name in ("schema", "goals", "recipe", "search") if name not in facts]
        if missing:
            what = f"what the run was is lost ({', '.join(missing)})"
            raise UserError(f"{path}: {what}: start it anew", status=1)
        with closing(storage.connect(str(aside))) as db:
            storage.make_durable(db)
            storage.make_tables(db, {})
            result = _write(db, found, json.loads(facts["goals"]))
            storage.settle(db)
        if "recipe" in facts:
            write_file(out / "recipe.yaml", str(json.loads(facts["recipe"])))
        for split in ("search", "holdout"):
            items = {t: i[split] for t, i in json.loads(facts.get("items", "{}")).items()}
            write_file(out / "items" / f"{split}.json", json.dumps(items))
        put_in_place(aside, new)
    return result


def _found(path: Path) -> dict[str, list[Row]]:
    """The rows of each table that are as they were written."""
    with tempfile.TemporaryDirectory() as folder:
        copy = _padded(path, Path(folder))
        try:
            with closing(sqlite3.connect(copy)) as db:
                found = {t: [*_rows(db, t)] if _is_table(db, t) else [] for t in storage.KEYS}
        except sqlite3.Error as error:
            raise UserError(f"{path}: nothing of it can be read ({error})") from error
    return {table: [r for r in entries if _whole(r)] for table, entries in found.items()}


def _is_table(db: sqlite3.Connection, name: str) -> bool:
    """Whether a name is a table's: a view would run a stranger's SQL."""
    query = "SELECT type FROM sqlite_master WHERE name=?"
    try:
        return ("table",) in db.execute(query, (name,))
    except sqlite3.DatabaseError:
        return False


def _padded(path: Path, folder: Path) -> Path:
    """A copy of an archive, as long as its header says: SQLite opens none that is shorter."""
    copy = copied(path, folder)
    with copy.open("r+b") as file:
        head = file.read(100)
        if head.startswith(b"SQLite format 3\0") and len(head) == 100:
            size = int.from_bytes(head[16:18], "big") * int.from_bytes(head[28:32], "big")
            if copy.stat().st_size < size <= _LONGEST:
                file.truncate(size)
    return copy


def _whole(row: Row) -> bool:
    try:
        return storage.intact(row)
    except (KeyError, TypeError, ValueError):
        return False


def _rows(db: sqlite3.Connection, table: str) -> Iterator[Row]:
    """Every row that can be read: all at once or, where that breaks off, one by one."""
    try:
        yield from list(storage.rows(db, table))
        return
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        pass
    missed, place = 0, 0
    while missed < _BEYOND:
        found = None
        with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
            cursor = db.execute(f"SELECT * FROM {table} WHERE rowid=?", (place,))
            names, found = [column[0] for column in cursor.description], cursor.fetchone()
        missed, place = 0 if found else missed + 1, place + 1
        if found:
            yield dict(zip(names, found, strict=True))


def _write(db: sqlite3.Connection, found: Mapping[str, list[Row]], goals: list[Any]) -> Rescued:
    """Writes the rows into a new archive; whoever lost a part of the search's result waits."""
    facts = {row["name"]: json.loads(row["value"]) for row in found["fact"]}
    wanted = {str(goal[0]) for goal in (*goals, *(facts.get("auxiliary") or ()))}
    tasks = {name for name, items in (facts.get("items") or {}).items() if items["search"]}
    scores, answers = _by_trial(found["score"]), _by_trial(found["answers"])
    trials = {row["number"]: row for row in found["trial"]}
    kept: list[int] = []
    again: list[int] = []
    with storage.transaction(db):
        for row in found["fact"]:
            storage.put(db, "fact", _plain(row))
        for number, row in sorted(trials.items()):
            parts = [scores[number, "search"], answers[number, "search"]]
            whole = row["status"] in ("waiting", "failed") or (
                wanted == {score["goal"] for score in parts[0]}
                and tasks <= {answer["task"] for answer in parts[1]}
            )
            (kept if whole else again).append(number)
            storage.put(db, "trial", _plain(row) | ({} if whole else _UNDONE))
            held = [scores[number, "holdout"], answers[number, "holdout"]]
            if wanted == {score["goal"] for score in held[0]}:
                parts += held
            for table, part in zip(("score", "answers") * 2, parts if whole else [], strict=False):
                for entry in part:
                    storage.put(db, table, _plain(entry))
        for row in found["opening"]:
            if row["trial"] in trials:
                storage.put(db, "opening", _plain(row))
    gone = sorted(set(range(max(trials, default=-1) + 1)) - trials.keys())
    return Rescued(tuple(kept), tuple(again), tuple(gone))


_UNDONE = {"status": "waiting", "digest": None, "error": None, "seconds": None, "finished": None}


def _by_trial(entries: Sequence[Row]) -> dict[tuple[int, str], list[Row]]:
    """Rows by their trial and split."""
    found: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in entries:
        found[row["trial"], row["split"]].append(row)
    return found


def _plain(row: Row) -> Row:
    """A row without its mark, which it gets anew, and without what is empty."""
    return {k: value for k, value in row.items() if k != "mark" and value is not None}

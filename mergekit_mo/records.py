"""Trials, their scores and their answers as rows of the archive's tables, and back.

Rule: what is read is checked, and what is not of the form that this program writes is refused; who
calls a writer here holds the transaction.
"""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from mergekit_mo import storage
from mergekit_mo.layers import Path
from mergekit_mo.problems import UserError
from mergekit_mo.trial import Measurement, Role, Split, Status, Stop, Trial

_LONGEST = 1 << 28
"""Bytes of a trial's answers to a task, which seldom take a hundredth of that."""


def write_opening(db: sqlite3.Connection, number: int, at: float) -> None:
    """Notes that a trial's hold-out was scored."""
    (last,) = db.execute("SELECT max(number) FROM opening").fetchone()
    storage.put(db, "opening", {"number": (last or 0) + 1, "trial": number, "at": at})


def write_scores(
    db: sqlite3.Connection, number: int, split: Split, scores: Mapping[str, Measurement]
) -> None:
    """Writes a trial's measurements by goal."""
    for goal, m in scores.items():
        row = {"trial": number, "split": split, "goal": goal}
        storage.put(db, "score", {**row, "value": m.value, "stderr": m.stderr, "n": m.n})


def write_answers(
    db: sqlite3.Connection, number: int, split: Split, answers: Mapping[str, Any]
) -> None:
    """Writes a trial's per-item answers by task."""
    for task, found in answers.items():
        body = zlib.compress(json.dumps(found, separators=(",", ":")).encode())
        row = {"trial": number, "split": split, "task": task}
        storage.put(db, "answers", {**row, "checksum": zlib.crc32(body), "body": body})


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
    if (found := _unpacked(*row)) is None:
        raise UserError(f"trial {number}: its {split} answers to {task} are damaged")
    return found[0]


def _unpacked(checksum: object, body: object) -> tuple[Any] | None:
    """What was packed; None where it is not as it was written, or a stranger's that has no end."""
    if not isinstance(body, bytes) or zlib.crc32(body) != checksum:
        return None
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(body, _LONGEST)
        return (json.loads(text),) if inflater.eof else None
    except (zlib.error, ValueError, RecursionError):
        return None


def read_trials(db: sqlite3.Connection, goals: Sequence[str]) -> Iterator[Trial]:
    """All trials by number, their scores in the order of the goals.

    Raises:
        ValueError: a trial is not of the form that this program writes.
    """
    found: dict[tuple[int, str], dict[str, Measurement]] = {}
    columns = "trial, split, goal, value, stderr, n"
    for number, split, goal, *rest in db.execute(f"SELECT {columns} FROM score"):
        found.setdefault((number, split), {})[goal] = Measurement(*rest)

    def scores(number: int, split: Split) -> dict[str, Measurement]:
        own = found.get((number, split), {})
        return {goal: own[goal] for goal in goals if goal in own}

    known = [row[1] for row in db.execute("PRAGMA table_info(trial)")]
    columns = "number, role, origin, status, config, unit, ask, digest, error, seconds, "
    # An older version, opened for reading only, has not all of them.
    columns += ", ".join(name if name in known else "NULL" for name in storage.ADDED.values())
    for row in db.execute(f"SELECT {columns} FROM trial ORDER BY number"):
        number, role, origin, status, config, unit, ask, digest, error, seconds, path, stop = row
        point = json.loads(unit)
        trial = Trial(
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
            path=None if path is None else _read_path(path),
            stopped=None if stop is None else Stop(*json.loads(stop)),
        )
        _check(trial, goals)
        yield trial


def _check(trial: Trial, goals: Sequence[str]) -> None:
    """Sees that a trial is of the form that this program writes.

    Raises:
        ValueError: it is not.
    """
    unit, words = trial.unit or (), (trial.role, trial.origin, trial.status)
    fine = (
        trial.role in get_args(Role)
        and trial.status in get_args(Status)
        and all(isinstance(word, str) for word in words)
        and isinstance(trial.config, dict)
        and all(isinstance(x, int | float) and 0 <= x <= 1 for x in unit)
        and (trial.status != "done" or [*trial.scores] == [*goals])
        and all(_plausible(m) for m in (*trial.scores.values(), *trial.holdout.values()))
        and all(text is None or isinstance(text, str) for text in (trial.digest, trial.error))
        and all(x is None or isinstance(x, int | float) for x in (trial.ask, trial.seconds))
    )
    if not fine:
        raise ValueError(f"trial {trial.number} is not of the form that this program writes")


def _plausible(m: Measurement) -> bool:
    """Whether a measurement is one of finite numbers."""
    numbers = [x for x in (m.value, m.stderr, m.n) if x is not None]
    return all(isinstance(x, int | float) and math.isfinite(x) for x in numbers)


def row_of(trial: Trial) -> dict[str, Any]:
    """A trial as its row, but for the time at which it finished."""
    return {
        "number": trial.number,
        "role": trial.role,
        "origin": trial.origin,
        "ask": trial.ask,
        "unit": json.dumps(trial.unit),
        "config": json.dumps(trial.config),
        "path": _path_text(trial.path),
        "status": trial.status,
        "digest": trial.digest,
        "error": trial.error,
        "seconds": trial.seconds,
        "stopped": _stop_text(trial.stopped),
    }


def _stop_text(stop: Stop | None) -> str | None:
    """Where a race ended, as the text that is stored."""
    return None if stop is None else json.dumps([stop.asked, stop.of, stop.by])


def _path_text(path: Path | None) -> str | None:
    """A path as the text that is stored."""
    return None if path is None else json.dumps(path, separators=(",", ":"))


def _read_path(text: str) -> Path:
    """A path as it was stored."""
    return tuple((int(member), int(layer)) for member, layer in json.loads(text))

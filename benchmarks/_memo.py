"""What merges answered, so that each is made and scored once ever: a memo for each problem.

Rule: an answer is rounded once, to a sixteenth of a nat, as it enters the memo, and whoever scores
a merge scores what the memo holds, whether it was there before or not.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.uint16]

STEP = 1 / 16
"""Nats that a unit of a row is worth."""

DISTANCE = 2
"""Places at the end of a row: the L1 distance from the base, a float32 in two halves."""

_FAILED = np.uint16(65535)
_KEY = 8  # bytes of a key: a collision among a million merges has odds of 1 to 40 million
_ABOUT = "about.json"
_MAGIC = b"memo of merges 1\n"


@dataclass(frozen=True)
class About:
    """What the rows of a memo are answers of.

    Attributes:
        family: the digest of its definition.
        weights: the digest of its trained weights.
        sizes: of each goal, the bytes of every item.
    """

    family: str
    weights: str
    sizes: Mapping[str, list[int]]

    @property
    def width(self) -> int:
        """The places of a row."""
        return sum(len(sizes) for sizes in self.sizes.values()) + DISTANCE


class MemoError(ValueError):
    """Memos that do not belong together; the message says what to do."""


def key_of(family: str, config: Mapping[str, Any]) -> bytes:
    """The key of a merge: of its family's digest and its configuration."""
    text = json.dumps([family, config], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()[:_KEY]


def rounded(nats: NDArray[np.float64], distance: float) -> Row:
    """A row of negative log-likelihoods, at most 4,095 nats, and a distance."""
    answers = np.clip(np.round(nats / STEP), 0, int(_FAILED) - 1).astype(np.uint16)
    return np.concatenate([answers, np.array([distance], "<f4").view("<u2").astype(np.uint16)])


def distance_of(row: Row) -> float:
    """The distance that a row holds."""
    return float(row[-DISTANCE:].astype("<u2").view("<f4")[0])


def failure(width: int) -> Row:
    """The row of a merge that could not be made or scored."""
    return np.full(width, _FAILED)


def failed(row: Row) -> bool:
    """Whether a row is that of a failure."""
    return bool((row[:-DISTANCE] == _FAILED).all())


class Memo:
    """The rows of one problem: those that are shipped, and those of every process since.

    Args:
        family: the digest of the family's definition; rows of another are not read.
        shipped: the compact file.
        running: the folder in which each process appends to a file of its own.

    Raises:
        MemoError: shipped and running rows are answers of different weights.
    """

    def __init__(self, family: str, shipped: Path, running: Path) -> None:
        self.family = family
        self.shipped = shipped
        self.running = running
        self.about: About | None = None
        self._rows: dict[bytes, Row] = {}
        self._read: dict[Path, int] = {}
        self._own: Path | None = None
        if shipped.exists():
            about, rows = read_file(shipped)
            if about.family == family:
                self._agree(about)
                self._rows.update(rows)
        self.refresh()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> Mapping[bytes, Row]:
        """All rows by key."""
        return self._rows

    def get(self, key: bytes) -> Row | None:
        """A row; None where no process has made it."""
        if key not in self._rows:
            self.refresh()
        return self._rows.get(key)

    def put(self, key: bytes, row: Row, about: About) -> None:
        """Appends a row, which is on disk when this returns."""
        self._agree(about)
        if self._own is None:
            self.running.mkdir(parents=True, exist_ok=True)
            self._write_about(about)
            self._own = self.running / f"{os.getpid()}-{time.time_ns()}.rows"
        with self._own.open("ab") as file:
            file.write(key + row.astype("<u2").tobytes())
        self._rows[key] = row

    def refresh(self) -> None:
        """Reads what other processes have appended."""
        if not (self.running / _ABOUT).exists():
            return
        about = About(**json.loads((self.running / _ABOUT).read_text(encoding="utf-8")))
        if about.family != self.family:
            return
        self._agree(about)
        length = _KEY + 2 * about.width
        for path in self.running.glob("*.rows"):
            start = self._read.get(path, 0)
            if path.stat().st_size - start < length:
                continue
            with path.open("rb") as file:
                file.seek(start)
                data = file.read()
            whole = len(data) // length * length  # the last one may be half written
            for at in range(0, whole, length):
                row = np.frombuffer(data, "<u2", about.width, at + _KEY).astype(np.uint16)
                self._rows.setdefault(data[at : at + _KEY], row)
            self._read[path] = start + whole

    def export(self) -> int:
        """Writes all rows to the shipped file; returns its size in bytes."""
        if self.about is None:
            raise MemoError(f"{self.running} holds nothing to export")
        write_file(self.shipped, self.about, self._rows)
        return self.shipped.stat().st_size

    def _agree(self, about: About) -> None:
        if self.about is None:
            self.about = about
        elif self.about != about:
            raise MemoError(
                f"{self.shipped.name}: these answers are of other weights than those here, which "
                "another machine may have trained; to start anew, delete "
                f"{self.shipped} and {self.running}"
            )

    def _write_about(self, about: About) -> None:
        path = self.running / _ABOUT
        if path.exists():
            known = About(**json.loads(path.read_text(encoding="utf-8")))
            if known.family == about.family:
                return
            for stale in self.running.glob("*.rows"):  # of a family that is defined anew
                stale.unlink()
        aside = path.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(asdict(about)), encoding="utf-8")
        aside.replace(path)


def write_file(path: Path, about: About, rows: Mapping[bytes, Row]) -> None:
    """Writes rows compactly: sorted, as differences from their columns' medians, by byte planes."""
    keys = sorted(rows)
    table = np.array([rows[key] for key in keys], dtype=np.uint16).reshape(len(keys), about.width)
    middle = np.median(table, axis=0).astype(np.uint16) if keys else failure(about.width)
    differences = np.ascontiguousarray((table - middle).T)  # width x n, modulo 65536
    body = b"".join(
        [
            b"".join(keys),
            middle.astype("<u2").tobytes(),
            (differences & 255).astype(np.uint8).tobytes(),
            (differences >> 8).astype(np.uint8).tobytes(),
        ]
    )
    head = json.dumps({**asdict(about), "rows": len(keys)}).encode() + b"\n"
    packed = lzma.compress(_MAGIC + head + body, preset=9 | lzma.PRESET_EXTREME)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside.write_bytes(packed)
    aside.replace(path)


def read_file(path: Path) -> tuple[About, dict[bytes, Row]]:
    """Reads what `write_file` wrote.

    Raises:
        MemoError: it is something else.
    """
    data = lzma.decompress(path.read_bytes())
    if not data.startswith(_MAGIC):
        raise MemoError(f"{path} is no memo of merges")
    head, _, body = data[len(_MAGIC) :].partition(b"\n")
    facts = json.loads(head)
    count = facts.pop("rows")
    about = About(**facts)
    keys = [body[i * _KEY : (i + 1) * _KEY] for i in range(count)]
    at = count * _KEY
    middle = np.frombuffer(body, "<u2", about.width, at)
    at += 2 * about.width
    planes = np.frombuffer(body, np.uint8, 2 * count * about.width, at).astype(np.uint16)
    low, high = planes.reshape(2, about.width, count)
    table = (low + (high << 8) + middle[:, None]).T.astype(np.uint16)  # n x width, modulo 65536
    return about, {key: np.ascontiguousarray(row) for key, row in zip(keys, table, strict=True)}

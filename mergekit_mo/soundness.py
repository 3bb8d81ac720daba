"""Whether an archive's file is as it was written: opened, and compared with its marks and its seal.

Rule: nothing of a damaged archive is used before somebody asked for what is left of it (`rescue`).
"""

from __future__ import annotations

import json
import shlex
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mergekit_mo import storage
from mergekit_mo.problems import UserError

_PATIENCE = 0.3  # seconds for which an archive may be between two states
_SHOWN = 4


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Tells errors of reading an archive in words.

    Raises:
        UserError: in the place of whatever a damaged or foreign file raises.
    """
    try:
        yield
    except sqlite3.Error as error:
        if storage.error_name(error) in storage.CIRCUMSTANCES:
            raise UserError(f"{path}: the archive cannot be opened ({error})") from error
        raise damaged(path, str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def damaged(path: Path, what: str) -> UserError:
    """That an archive is damaged, and the way out."""
    out = path.parent.with_name(f"{path.parent.resolve().name}-rescued")
    way = shlex.join(["mergekit-mo", "rescue", str(path.parent), str(out)])
    return UserError(
        f"{path}: the archive is damaged ({what}); nothing of it is used. "
        f"What is whole can be saved:\n  {way}"
    )


def opened(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Opens an archive's file and sees that it is as it was written.

    Args:
        path: the file, which is there.
        read_only: leave it as it is; it may lie in a folder that nobody may write to.

    Raises:
        UserError: it is damaged, of another program or version, or cannot be read.
    """
    with ExitStack() as undo:
        with told(path):
            db = storage.connect(str(path)) if not read_only else _readable(path)
            undo.callback(db.close)
            if strange := _strangers(db):
                raise damaged(path, f"not of this program: {', '.join(strange[:_SHOWN])}")
            version = _version(db, path)
        with told(path), snapshot(db):
            found = _damage(db, version)
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise damaged(path, f"not as it was written: {', '.join(found[:_SHOWN])}{more}")
        if not read_only:
            with told(path):
                storage.make_durable(db)
                storage.upgrade(db, version)
        undo.pop_all()
        return db


def _damage(db: sqlite3.Connection, version: int) -> list[str]:
    (state,) = db.execute("PRAGMA integrity_check").fetchone()
    if state != "ok":
        return [" ".join(str(state).split())]
    return storage.damage(db) if version >= storage.MARKED else storage.spoilt_answers(db)


def _strangers(db: sqlite3.Connection) -> list[str]:
    """What an archive has besides its tables: views and triggers would run a stranger's SQL."""
    return [
        f"{kind} {name}"
        for kind, name, text in db.execute("SELECT type, name, sql FROM sqlite_master")
        if not (kind == "index" and str(name).startswith("sqlite_autoindex_"))
        and not (name in storage.TABLES and str(text).startswith(f"CREATE TABLE {name} ("))
    ]


def _version(db: sqlite3.Connection, path: Path) -> int:
    """The version that an archive says it has.

    Raises:
        UserError: this program knows none of that name.
    """
    version = json.loads(storage.read_fact(db, "schema") or "null")
    if isinstance(version, int) and version in range(1, storage.VERSION + 1):
        return version
    known = f"this program knows 1 to {storage.VERSION}"
    raise UserError(f"{path}: an archive of version {version}; {known}")


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """One state of an archive that somebody else may be writing to."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _readable(path: Path) -> sqlite3.Connection:
    """A connection that only reads.

    A run that was killed leaves its last transactions in a file beside the archive, or what undoes
    half of one; SQLite sees to that only in a file and a folder that it may write to. Elsewhere a
    copy of both is seen to, and read from memory.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        db = storage.connect(f"{path.resolve().as_uri()}?mode=ro", read_only=True)
        try:
            db.execute("SELECT * FROM sqlite_master").fetchall()
            return db
        except sqlite3.OperationalError as error:
            db.close()
            if storage.error_name(error) not in ("SQLITE_CANTOPEN", "SQLITE_READONLY"):
                raise
            # A search that ends takes the log away: for a moment it looks as in such a folder.
            if time.monotonic() > end:
                if not any(_beside(path)):
                    raise
                return _joined(path)
        time.sleep(0.02)


def _beside(path: Path) -> Iterator[Path]:
    """What a run that was killed left beside its archive."""
    names = (path.with_name(f"{path.name}-{kind}") for kind in ("wal", "journal"))
    return (file for file in names if file.is_file())


def copied(path: Path, folder: Path) -> Path:
    """A copy of an archive in another folder, with what lies beside it."""
    for file in (path, *_beside(path)):
        shutil.copyfile(file, folder / file.name)
    return folder / path.name


def _joined(path: Path) -> sqlite3.Connection:
    """A copy of an archive in memory, joined with what lies beside it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(path, Path(folder))
        db, aside = sqlite3.connect(":memory:", isolation_level=None), sqlite3.connect(copy)
        try:
            aside.backup(db)
        finally:
            aside.close()
    db.execute("PRAGMA query_only=ON")
    return db

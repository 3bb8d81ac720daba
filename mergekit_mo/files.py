"""Files of a run folder: written whole or not at all, by one process at a time.

Rule: nothing in a run folder is written in place, and nothing through a link: the folder may be a
stranger's, and lead to files of the user's own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from mergekit_mo.problems import UserError


def write_file(path: Path, content: str | bytes) -> None:
    """Writes a file aside, sees that the disk has it, and puts it in its place."""
    make_folder(path.parent)
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)  # of a process that was killed
    try:
        with aside.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(aside, path)
    finally:
        aside.unlink(missing_ok=True)  # there only where something failed


def put_in_place(aside: Path, path: Path) -> None:
    """Renames a finished file and sees that the folder has it on disk."""
    aside.replace(path)
    _sync(path.parent)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, and sees that the disk has their names."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        _sync(made.parent)


def _sync(folder: Path) -> None:
    """Sees that the disk has the names in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def within(folder: Path, path: Path) -> bool:
    """Whether a path lies in a folder, wherever links lead."""
    return path.resolve().is_relative_to(folder.resolve())


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a run folder; the lock goes with the process, however it ends.

    Raises:
        UserError: another process holds it, or it cannot be written to.
    """
    try:
        make_folder(folder)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}", status=1) from error
    with os.fdopen(handle, "r+"):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = f"{folder}: another search is running here"
            raise UserError(f"{what}; wait for it, or choose another --out", status=1) from None
        yield

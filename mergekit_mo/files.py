"""Files of a run folder: written whole or not at all, by one process at a time.

Rule: nothing in a run folder is written in place.
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
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    try:
        with aside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(aside, path)
    finally:
        aside.unlink(missing_ok=True)  # there only where something failed


def put_in_place(aside: Path, path: Path) -> None:
    """Renames a finished file and sees that the folder has it on disk."""
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a run folder; the lock goes with the process, however it ends.

    Raises:
        UserError: another process holds it, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}", status=1) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = f"{folder}: another search is running here"
            raise UserError(f"{what}; wait for it, or choose another --out", status=1) from None
        yield

"""What a killed search started goes with it: a program that waits for the search's end.

Rule: nothing but Python's own library is imported, so that it starts in an instant; it has a
session of its own, so that what ends a group of processes leaves it; and it acts when its standard
input ends without a word, which the kernel sees to whatever ended the search.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_PATIENCE = 10.0  # seconds in which processes have to go
_GLANCE = 0.1
_WORD = b"done"


@contextlib.contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Sees that a folder, and every process with an open file in it, go with this process.

    Args:
        folder: a new one, whose files nobody else opens; whoever leaves the block has removed it.
    """
    program = [sys.executable, "-I", "-S", __file__, str(folder)]
    silent = subprocess.DEVNULL
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=silent, stderr=silent, start_new_session=True
    ) as reaper:
        try:
            yield
        finally:
            with contextlib.suppress(BrokenPipeError):
                reaper.communicate(_WORD)


def main(folder: Path) -> None:
    """Waits for the end of whoever started this, and clears up where it had no time to."""
    if sys.stdin.buffer.read() == _WORD:
        return
    end = time.monotonic() + _PATIENCE
    while (left := _writers(folder)) and time.monotonic() < end:
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_GLANCE)
    shutil.rmtree(folder, ignore_errors=True)


def _writers(folder: Path) -> set[int]:
    """The processes that have a file in a folder open, where the kernel tells them."""
    found: set[int] = set()
    for process in filter(str.isdecimal, _names("/proc")):
        for handle in _names(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{process}/fd/{handle}").readlink().is_relative_to(folder):
                    found.add(int(process))
    return found


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 (there are hundreds of them, and they come and go)
    except OSError:
        return []


if __name__ == "__main__":
    main(Path(sys.argv[1]))

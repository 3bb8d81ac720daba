"""A vLLM engine in a process of its own, as the driver sees it.

Rule: after a failure nobody knows what state an engine is in, so it is never asked again: whoever
gets an `EngineError` stops it, and a new one is started for the next model.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

_GLANCE = 0.2  # seconds between two looks at a process that is at work
_PATIENCE = 5.0  # seconds in which an engine is to end by itself
_LOG = "engine.log"
_PREFIX = re.compile(r"^(\([^)]*\) )?([A-Z]+ [\d-]+ [\d:]+ \[[^]]*\] )?")
_ERROR = re.compile(r"^[\w.]*(Error|Exception|Exit)(:|$)|.* died unexpectedly ")
_CONSEQUENCES = ("cancelled", "EngineCore encountered", "Engine core initialization failed")


class EngineError(RuntimeError):
    """What an engine died of, in its own words."""


class Engine:
    """Starts the process; everything else is asked of it.

    Args:
        folder: of the engine's own files; removed with it, by the process itself if need be.
        environment: of the process.
        program: the module that is run; it serves by `_serving`.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], program: str) -> None:
        self.folder = folder
        self._asked_at = 0  # where the log stood when something was asked last
        self._connection, theirs = Pipe()
        with (folder / _LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", program),
                    *(str(theirs.fileno()), str(os.getpid()), str(folder)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env=environment,
                start_new_session=True,  # a group to end, and no Ctrl-C from the terminal
            )
        theirs.close()

    @property
    def pid(self) -> int:
        """The number of the process and of its group."""
        return self._process.pid

    def ask(self, verb: str, argument: Any) -> Any:
        """Lets the process do something.

        Raises:
            EngineError: it could not, or died of it.
        """
        self._asked_at = (self.folder / _LOG).stat().st_size
        try:
            self._connection.send((verb, argument))
            while not self._connection.poll(_GLANCE):
                if self._end() is not None:
                    raise EngineError(self._last_words())
            done, result = self._connection.recv()
        except (EOFError, OSError) as error:
            raise EngineError(self._last_words()) from error
        if not done:
            cause = self._cause() if _is_consequence(result) else ""
            raise EngineError(f"vLLM: {result}{cause}")
        return result

    def stop(self) -> None:
        """Ends the process and all that it started, and removes its files."""
        self._connection.close()
        self._wait()
        self.kill()

    def kill(self) -> None:
        """As `stop`, at once."""
        self._connection.close()
        os.killpg(self._process.pid, signal.SIGKILL)  # nobody waited for it: the number is its own
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _last_words(self) -> str:
        """What a process died of that did not reply."""
        end = self._wait()
        if end is None:
            return f"vLLM: the engine's process hung up{self._cause()}"
        exited = end.si_code == os.CLD_EXITED
        how = "exit status" if exited else "signal"
        what = str(end.si_status) if exited else signal.Signals(end.si_status).name
        return f"vLLM: the engine's process ended with {how} {what}{self._cause()}"

    def _wait(self) -> os.waitid_result | None:
        """Waits for the process to end by itself, within reason."""
        until = time.monotonic() + _PATIENCE
        while self._end() is None and time.monotonic() < until:
            time.sleep(_GLANCE / 4)
        return self._end()

    def _end(self) -> os.waitid_result | None:
        """How the process ended, if it has; its number stays taken until `kill`."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)

    def _cause(self) -> str:
        """What the log says was behind an error that names no cause, in brackets."""
        with (self.folder / _LOG).open("rb") as log:
            log.seek(self._asked_at)
            cause = root_cause(log.read().decode(errors="replace"))
        return f" ({cause})" if cause else ""


def root_cause(log: str) -> str:
    """The first error in a log that is not about another one; empty where there is none."""
    for line in log.splitlines():
        plain = line[_PREFIX.match(line).end() :].strip()  # type: ignore[union-attr]
        if _ERROR.match(plain) and not _is_consequence(plain):
            return plain
    return ""


def _is_consequence(error: str) -> bool:
    """Whether an error only tells that there was another one."""
    return any(words in error for words in _CONSEQUENCES)

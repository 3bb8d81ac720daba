"""Workers on this machine: a process for each, with its own models and, if need be, its own GPUs.

Rule: a worker ends with this process, whichever way that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from mergekit_mo.executors import Job, Result, Work
from mergekit_mo.executors._crew import PATIENCE, Crew, Hands, Report, answer

_BEATS = 10  # signs of life within the patience
_LAST_WORDS = 300  # characters of a dead worker's standard error that are told
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux
_BROKEN = (EOFError, OSError)


class Processes(Crew[Job, Result]):
    """Runs jobs in processes of this machine.

    Args:
        make: makes what a worker does, inside the worker; picklable.
        slots: how many workers.
        gave_up: the result of a job that too many workers have died of, with the reason.
        gpus: for each worker, the next ones in their order; 0 leaves all of them to all workers.
        patience: seconds without a sign of life after which a worker counts as dead.
    """

    def __init__(
        self,
        make: Callable[[], Work[Job, Result]],
        slots: int,
        gave_up: Callable[[Job, str], Result],
        *,
        gpus: int = 0,
        patience: float = PATIENCE,
    ) -> None:
        hands = _Processes(pickle.dumps(make), gpus, patience / _BEATS)
        super().__init__(hands, slots, gave_up, patience)


@dataclass
class _Member:
    process: SpawnProcess
    pipe: Connection
    words: Path
    beats: int = 0


class _Processes(Hands):
    """Spawned processes, each at the end of a pipe."""

    def __init__(self, make: bytes, gpus: int, every: float) -> None:
        self._make, self._gpus, self._every = make, gpus, every
        self._context = multiprocessing.get_context("spawn")
        self._members: dict[int, _Member] = {}
        self._words = tempfile.TemporaryDirectory(prefix="mergekit-mo-")

    def start(self, worker: int, place: int) -> None:
        """See `Hands.start`."""
        ours, theirs = self._context.Pipe()
        words = Path(self._words.name) / str(worker)
        visible = _visible(place, self._gpus)
        given = (theirs, self._make, self._every, str(words), visible)
        process = self._context.Process(target=_serve, args=given, daemon=True)
        process.start()
        theirs.close()
        self._members[worker] = _Member(process, ours, words)

    def give(self, worker: int, lease: int, job: Any) -> None:
        """See `Hands.give`."""
        with contextlib.suppress(*_BROKEN):  # it has died, which is reported
            self._members[worker].pipe.send((lease, job))

    def reports(self, seconds: float) -> Sequence[Report]:
        """See `Hands.reports`."""
        members = dict(self._members)
        by_pipe = {member.pipe: worker for worker, member in members.items()}
        found = []
        for pipe in wait(list(by_pipe), seconds):
            worker = by_pipe[pipe]  # type: ignore[index]
            member = members[worker]
            try:
                kind, lease, value = member.pipe.recv()
            except _BROKEN:
                found.append(Report(worker, "dead", -1, _reason(member)))
                continue
            except Exception as error:  # an answer that this process cannot read
                found.append(Report(worker, "dead", -1, f"{type(error).__name__}: {error}"))
                continue
            member.beats += 1
            if kind != "beat":
                found.append(Report(worker, kind, lease, value))
        return found

    def beats(self) -> Mapping[int, int]:
        """See `Hands.beats`."""
        return {worker: member.beats for worker, member in self._members.items() if member.beats}

    def end(self, worker: int) -> None:
        """See `Hands.end`."""
        member = self._members.pop(worker)
        member.process.kill()
        member.process.join()
        member.process.close()
        member.pipe.close()

    def close(self) -> None:
        """See `Hands.close`."""
        for worker in list(self._members):
            self.end(worker)
        self._words.cleanup()


def _visible(place: int, gpus: int) -> str | None:
    """The GPUs of a place as CUDA wants them named, of those that this process may use."""
    if not gpus:
        return None
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    known = named.split(",") if named else [str(i) for i in range((place + 1) * gpus)]
    return ",".join(known[place * gpus : (place + 1) * gpus])


def _reason(member: _Member) -> str:
    """What a dead process died of, with its last words."""
    member.process.join(1)
    code = member.process.exitcode
    signalled = code is not None and code < 0
    how = f"killed by {signal.Signals(-code).name}" if signalled and code else f"exit status {code}"
    words = member.words.read_text(errors="replace") if member.words.is_file() else ""
    last = words.strip()[-_LAST_WORDS:]
    return f"its process ended ({how})" + (f", saying: {last}" if last else "")


def _serve(pipe: Connection, pickled: bytes, every: float, words: str, visible: str | None) -> None:
    """What a worker process does until its pipe breaks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the search's to answer
    _die_with_parent()
    _write_to(words)
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    lock = threading.Lock()

    def say(kind: str, lease: int = -1, value: Any = None) -> None:
        with lock:
            pipe.send((kind, lease, value))

    def beat() -> None:
        while True:
            try:
                say("beat")
            except _BROKEN:
                os._exit(1)  # the search is gone
            threading.Event().wait(every)

    threading.Thread(target=beat, daemon=True).start()
    try:
        work = pickle.loads(pickled)()
    except Exception as error:
        say("unfit", -1, f"{type(error).__name__}: {error}")
        return
    say("ready")
    while True:
        try:
            lease, job = pipe.recv()
        except _BROKEN:
            return
        kind, value = answer(work, job)
        say(kind, lease, value)


def _die_with_parent() -> None:
    """Asks the kernel to kill this process with its parent, stopped or not; where it knows how."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _write_to(words: str) -> None:
    """Sends what libraries print to a file: the screen is the search's."""
    handle = os.open(words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


__all__ = ["Processes"]

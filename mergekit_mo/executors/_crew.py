"""Several workers: who has which job, and what becomes of it when its worker dies.

Rule: a job is handed out under a lease; what comes back under a lease that was taken away is
dropped, so that a job counts once however many workers have had it.
"""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, Literal

from mergekit_mo.crash import scrubbed
from mergekit_mo.executors import Executor, Job, Result
from mergekit_mo.problems import UserError

ATTEMPTS = 3
"""How often a job is begun before it is given up; and how many workers in a row may be unfit."""

PATIENCE = 300.0
"""Seconds without a sign of life after which a worker counts as dead.

The sign comes from a thread of its own: a long evaluation gives it too, a stopped process does not.
One that imports torch on a machine with ten times as much to do as it has cores may take minutes.
"""

_TICK = 0.1  # seconds; the longest that a new thing goes unseen
_LOOK = 0.1  # of the patience: how often signs of life are looked for


@dataclass(frozen=True)
class Report:
    """What a worker says, or what is said of it.

    Attributes:
        worker: its number.
        kind: `ready` for work; `unfit` where it could not be made so; `done`, or `raised`, with a
            job; or `dead`.
        lease: of the job that it is about.
        value: the result, the exception, or in words what is wrong.
    """

    worker: int
    kind: Literal["ready", "unfit", "done", "raised", "dead"]
    lease: int = -1
    value: Any = None


class Hands(ABC):
    """Processes that work: how they are started, spoken to and ended.

    `give` may be called while another thread is in `reports`; no other two calls overlap.
    """

    @abstractmethod
    def start(self, worker: int, place: int) -> None:
        """Starts a worker, which reports when it is ready.

        Args:
            worker: its number, never used before.
            place: which of the slots it fills.
        """

    @abstractmethod
    def give(self, worker: int, lease: int, job: Any) -> None:
        """Hands a job to a worker that is ready; returns at once."""

    @abstractmethod
    def reports(self, seconds: float) -> Sequence[Report]:
        """What there is to report, if need be after waiting for it for so long."""

    @abstractmethod
    def beats(self) -> Mapping[int, int]:
        """How many signs of life each worker has given, once it has given any."""

    @abstractmethod
    def end(self, worker: int) -> None:
        """Ends a worker, in whatever state it is."""

    @abstractmethod
    def close(self) -> None:
        """Ends all workers and what was started for them."""


@dataclass
class _Ticket(Generic[Job]):
    """A job with the number of workers that have died of it."""

    job: Job
    deaths: int = 0


@dataclass
class _Worker:
    place: int
    started: float
    ready: bool = False
    missed: bool = False
    lease: int | None = None
    beats: int = -1
    seen: float = field(default=0.0)


class Crew(Executor[Job, Result]):
    """Hands jobs to workers, and puts new workers in the place of dead ones.

    A thread of its own talks to the workers, so that they get their next job, and nothing of
    theirs is lost, while the search thinks.

    Args:
        hands: the workers.
        slots: how many there are.
        gave_up: the result of a job that too many workers have died of, with the reason.
        patience: seconds without a sign of life after which a worker counts as dead.
    """

    def __init__(
        self,
        hands: Hands,
        slots: int,
        gave_up: Callable[[Job, str], Result],
        patience: float = PATIENCE,
    ) -> None:
        self.slots = slots
        self._hands, self._gave_up, self._patience = hands, gave_up, patience
        self._waiting: deque[_Ticket[Job]] = deque()
        self._leased: dict[int, _Ticket[Job]] = {}
        self._workers: dict[int, _Worker] = {}
        self._unfit = 0
        self._numbers, self._leases = count(), count()
        self._finished: queue.SimpleQueue[tuple[Job, Result] | BaseException] = queue.SimpleQueue()
        self._notes: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stir = threading.Event()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._looked = time.monotonic()
        for place in range(slots):
            self._start(place)
        self._thread = threading.Thread(target=self._tend, name="crew", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        with self._lock:
            self._waiting.append(_Ticket(job))
            self._hand_out()

    def wait(self) -> tuple[Job, Result]:
        """See `Executor.wait`.

        Raises:
            UserError: no worker can be made ready.
        """
        found = self._finished.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def ready(self) -> bool:
        """See `Executor.ready`."""
        return not self._finished.empty()

    def news(self) -> bool:
        """See `Executor.news`."""
        while self._finished.empty() and self._notes.empty():
            self._stir.wait(1.0)
            self._stir.clear()
        return not self._finished.empty()

    def notes(self) -> list[str]:
        """See `Executor.notes`."""
        found = []
        while not self._notes.empty():
            found.append(self._notes.get())
        return found

    def close(self) -> None:
        """See `Executor.close`."""
        if not self._closing.is_set():
            self._closing.set()
            self._thread.join()
            self._hands.close()

    # What follows runs in the thread, but for `_hand_out`, under the lock.

    def _tend(self) -> None:
        try:
            while not self._closing.is_set():
                reports = self._hands.reports(_TICK)
                with self._lock:
                    for report in reports:
                        self._take(report)
                    self._miss_the_silent()
                    self._hand_out()
                if not (self._finished.empty() and self._notes.empty()):
                    self._stir.set()
        except BaseException as error:
            self._finished.put(error)
            self._stir.set()

    def _start(self, place: int) -> None:
        number = next(self._numbers)
        self._workers[number] = _Worker(place, time.monotonic())
        self._hands.start(number, place)

    def _hand_out(self) -> None:
        """Gives the jobs that wait to the workers that idle."""
        for number, worker in self._workers.items():
            if self._waiting and worker.ready and worker.lease is None:
                worker.lease = next(self._leases)
                ticket = self._leased[worker.lease] = self._waiting.popleft()
                self._hands.give(number, worker.lease, ticket.job)

    def _take(self, report: Report) -> None:
        worker = self._workers.get(report.worker)
        if report.kind in ("done", "raised"):
            self._take_result(worker, report)
        elif worker is None:
            return  # it was replaced, and says so long after
        elif report.kind == "ready":
            worker.ready, self._unfit = True, 0
        else:
            self._replace(report.worker, str(report.value))

    def _take_result(self, worker: _Worker | None, report: Report) -> None:
        if worker is not None and worker.lease == report.lease:
            worker.lease = None
        ticket = self._leased.pop(report.lease, None)
        if ticket is None:
            return  # the lease was taken away: the job is another worker's, or has its result
        if report.kind == "raised":
            self._finished.put(report.value)
        else:
            self._finished.put((ticket.job, report.value))

    def _replace(self, number: int, why: str) -> None:
        """Puts a new worker in the place of one that is dead, unfit or silent."""
        worker, why = self._workers.pop(number), scrubbed(why)
        self._hands.end(number)
        self._unfit += not worker.ready
        if self._unfit >= ATTEMPTS:
            self._finished.put(UserError(f"no worker could be made ready: {why}", status=1))
            return
        ticket = None if worker.lease is None else self._leased.pop(worker.lease)
        told = f"a worker was lost and is replaced: {why}"
        if ticket is not None:
            ticket.deaths += 1
            if ticket.deaths < ATTEMPTS:
                self._waiting.appendleft(ticket)
                told += "; what it had runs again"
            else:
                reason = f"{ticket.deaths} workers died of it; the last: {why}"
                self._finished.put((ticket.job, self._gave_up(ticket.job, reason)))
        self._notes.put(told)
        self._start(worker.place)

    def _miss_the_silent(self) -> None:
        """Replaces workers that have given no sign of life for too long.

        Where this process was itself stopped, the signs that came meanwhile are seen first.
        """
        now = time.monotonic()
        if now - self._looked < self._patience * _LOOK:
            return
        self._looked = now
        for other in self._workers.values():
            if not (other.ready or other.missed) and now - other.started > self._patience:
                other.missed = True
                what = (
                    f"a worker is not ready after {self._patience:.0f} s: it still loads its models"
                )
                self._notes.put(f"{what}, or the cluster has no room for it")
        for number, beats in self._hands.beats().items():
            worker = self._workers.get(number)
            if worker is None:
                continue
            if beats != worker.beats:
                worker.beats, worker.seen = beats, now
            elif now - worker.seen > self._patience:
                self._replace(number, f"it gave no sign of life for {self._patience:.0f} s")


def answer(work: Callable[[Job], Result], job: Job) -> tuple[Literal["done", "raised"], Any]:
    """What a worker reports of a job; an interrupt or an error is brought back, not lost."""
    try:
        return "done", work(job)
    except BaseException as error:
        return "raised", error


__all__ = ["ATTEMPTS", "PATIENCE", "Crew", "Hands", "Report", "answer"]

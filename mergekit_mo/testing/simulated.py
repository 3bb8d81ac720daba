"""Workers whose time is simulated: a search of hours with any number of them takes seconds.

Rule: only the workers' time is made up; what the search itself takes between two calls is measured
and passes on the same clock, so that workers idle while nobody has work for them.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable
from itertools import count

from mergekit_mo.executors import Executor, Job, Result, Work


class Simulated(Executor[Job, Result]):
    """Runs each job when it starts, and gives its result when its time has passed.

    Args:
        work: what is done with a job; it takes no time on the clock.
        slots: how many workers there are.
        seconds: how long a job takes on the clock.
        driver: the clock of the search itself; `lambda: 0.0` for one that takes no time.
        ahead: how many jobs should wait for a worker; None for every executor's own number.
    """

    def __init__(
        self,
        work: Work[Job, Result],
        slots: int,
        seconds: Callable[[Job], float],
        driver: Callable[[], float] = time.perf_counter,
        ahead: int | None = None,
    ) -> None:
        self.slots = slots
        self.now = 0.0
        self.spans: list[tuple[float, float]] = []
        """When each job began and when it ends."""
        self.running: list[Job] = []
        self._work, self._seconds, self._driver = work, seconds, driver
        self._queue: deque[Job] = deque()
        self._ends: list[tuple[float, int, Job, Result]] = []
        self._done: deque[tuple[Job, Result]] = deque()
        self._order = count()
        self._left = driver()
        self._ahead = super().ahead if ahead is None else ahead

    @property
    def ahead(self) -> int:
        """See `Executor.ahead`."""
        return self._ahead

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        self._enter()
        self._queue.append(job)
        self._start(self.now)
        self._leave()

    def wait(self) -> tuple[Job, Result]:
        """See `Executor.wait`."""
        self._enter()
        if not self._done:
            self._pass_until(self._ends[0][0])
        found = self._done.popleft()
        self._leave()
        return found

    def ready(self) -> bool:
        """See `Executor.ready`."""
        self._enter()
        self._leave()
        return bool(self._done)

    def close(self) -> None:
        """See `Executor.close`."""
        self._queue.clear()

    def _enter(self) -> None:
        """Lets the time pass that the search has taken since the last call."""
        self._pass_until(self.now + self._driver() - self._left)

    def _leave(self) -> None:
        self._left = self._driver()

    def _pass_until(self, moment: float) -> None:
        """Ends the jobs that end until then; each worker takes the next job in the queue."""
        while self._ends and self._ends[0][0] <= moment:
            end, _, job, result = heapq.heappop(self._ends)
            self.running.remove(job)
            self._done.append((job, result))
            self._start(end)
        self.now = max(self.now, moment)

    def _start(self, moment: float) -> None:
        while self._queue and len(self.running) < self.slots:
            job = self._queue.popleft()
            self.running.append(job)
            took = self._seconds(job)
            self.spans.append((moment, moment + took))
            heapq.heappush(self._ends, (moment + took, next(self._order), job, self._work(job)))


__all__ = ["Simulated"]

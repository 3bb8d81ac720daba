"""One job after the other, in this process."""

from __future__ import annotations

from collections import deque

from mergekit_mo.executors import Executor, Job, Result, Work


class Inline(Executor[Job, Result]):
    """Runs each job when its result is waited for.

    Args:
        work: what is done with a job.
    """

    def __init__(self, work: Work[Job, Result]) -> None:
        self._work = work
        self._jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        self._jobs.append(job)

    def wait(self) -> tuple[Job, Result]:
        """See `Executor.wait`."""
        job = self._jobs.popleft()
        return job, self._work(job)

    def close(self) -> None:
        """See `Executor.close`; work that holds something open has a `close` of its own."""
        close = getattr(self._work, "close", None)
        if close is not None:
            close()

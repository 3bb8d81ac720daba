"""Executors run jobs: one file each.

Rule: an executor knows a callable and nothing else, and every job that goes in comes out once,
whatever becomes of the worker that has it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class Executor(ABC, Generic[Job, Result]):
    """Runs jobs, `slots` of them at a time."""

    slots: int = 1

    @property
    def ahead(self) -> int:
        """How many jobs should wait for a worker, lest one idles while the next is thought of.

        None for one worker: its search is the same whoever runs it, to the last digit. For more,
        one for each eight of them: with evaluations of a minute and proposals of seconds, fewer
        workers than that finish during one proposal.
        """
        return -(-self.slots // 8) if self.slots > 1 else 0

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Takes a job; returns at once."""

    @abstractmethod
    def wait(self) -> tuple[Job, Result]:
        """Gives a finished job and its result, in order of completion.

        Raises:
            KeyboardInterrupt: the user wants to stop; running jobs are dropped.
        """

    def ready(self) -> bool:
        """Whether `wait` would return at once."""
        return False

    def news(self) -> bool:
        """Waits for a result or a note; whether there is a result, which `wait` gives at once."""
        return True

    def notes(self) -> list[str]:
        """What the user should know of the workers, each thing once."""
        return []

    def close(self) -> None:
        """Ends what is running; nothing is left behind."""


Work = Callable[[Job], Result]

__all__ = ["Executor", "Work"]

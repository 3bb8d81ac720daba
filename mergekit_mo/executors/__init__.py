"""Executors run jobs: one file each.

Rule: an executor knows a callable and nothing else, and every job that goes in comes out once.
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

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Takes a job; returns at once."""

    @abstractmethod
    def wait(self) -> tuple[Job, Result]:
        """Gives a finished job and its result, in order of completion.

        Raises:
            KeyboardInterrupt: the user wants to stop; running jobs are dropped.
        """

    def close(self) -> None:
        """Ends what is running; nothing is left behind."""


Work = Callable[[Job], Result]

__all__ = ["Executor", "Work"]

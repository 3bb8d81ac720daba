"""A conformance suite for executors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mergekit_mo.executors import Executor

Start = Callable[[Callable[[int], Any]], Executor[int, Any]]
"""Starts an executor with the work that it does."""


class ExecutorSuite:
    """What every executor owes a search. Inherit it, and give the fixture.

    Fixtures:
        start: starts the executor with some work, and closes it after the test.
    """

    def test_every_job_comes_back_once(self, start: Start) -> None:
        """With the result that belongs to it."""
        executor = start(_square)
        for job in range(7):
            executor.submit(job)
        found = [executor.wait() for _ in range(7)]
        assert sorted(found) == [(job, _square(job)) for job in range(7)]

    def test_jobs_may_come_while_others_run(self, start: Start) -> None:
        """As a search submits them: the slots are kept full."""
        executor = start(_square)
        waiting = list(range(9))
        for _ in range(executor.slots):
            executor.submit(waiting.pop())
        found = []
        for _ in range(9):
            found.append(executor.wait())
            if waiting:
                executor.submit(waiting.pop())
        assert sorted(found) == [(job, _square(job)) for job in range(9)]

    def test_one_slot_keeps_the_order(self, start: Start) -> None:
        """Else a search with one worker could not be repeated."""
        executor = start(_square)
        if executor.slots > 1:
            pytest.skip("several slots finish in any order")
        for job in (5, 1, 3):
            executor.submit(job)
        assert [executor.wait()[0] for _ in range(3)] == [5, 1, 3]

    def test_results_are_brought_back_whole(self, start: Start) -> None:
        """Whatever way they come."""
        executor = start(_rich)
        executor.submit(4)
        assert executor.wait() == (4, _rich(4))

    def test_equal_jobs_are_two_jobs(self, start: Start) -> None:
        """Nothing is remembered."""
        executor = start(_square)
        executor.submit(3)
        executor.submit(3)
        assert [executor.wait(), executor.wait()] == [(3, 9), (3, 9)]

    def test_an_interrupt_passes_through(self, start: Start) -> None:
        """The user wants to stop, and that is no result."""
        executor = start(_interrupted)
        executor.submit(1)
        with pytest.raises(KeyboardInterrupt):
            executor.wait()

    def test_closing_twice_is_borne(self, start: Start) -> None:
        """Also with jobs that nobody waited for."""
        executor = start(_square)
        executor.submit(1)
        executor.close()
        executor.close()


def _square(job: int) -> int:
    return job * job


def _rich(job: int) -> dict[str, Any]:
    return {
        "text": "naïve\n" * job,
        "numbers": [0.1, 1e-300, float("inf")],
        "nested": {"none": None},
    }


def _interrupted(job: int) -> int:
    raise KeyboardInterrupt(job)


__all__ = ["ExecutorSuite", "Start"]

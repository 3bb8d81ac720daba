from __future__ import annotations

import pytest

from mergekit_mo.executors.inline import Inline
from mergekit_mo.testing.executors import ExecutorSuite, Start


class TestConformance(ExecutorSuite):
    @pytest.fixture
    def start(self) -> Start:
        return Inline


def test_a_job_is_run_when_it_is_waited_for() -> None:
    ran: list[int] = []
    executor: Inline[int, None] = Inline(ran.append)
    executor.submit(1)
    executor.submit(2)
    assert ran == []
    assert executor.wait() == (1, None)
    assert ran == [1]


def test_an_interrupted_job_is_not_run_again() -> None:
    def work(job: int) -> int:
        if job == 1:
            raise KeyboardInterrupt
        return job

    executor: Inline[int, int] = Inline(work)
    executor.submit(1)
    executor.submit(2)
    with pytest.raises(KeyboardInterrupt):
        executor.wait()
    assert executor.wait() == (2, 2)

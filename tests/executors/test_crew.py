"""Who has which job, with workers that do what the test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from mergekit_mo.executors._crew import ATTEMPTS, Crew, Hands, Report
from mergekit_mo.problems import UserError


class Puppets(Hands):
    """Workers that do nothing; the test reports for them."""

    def __init__(self, *, fit: bool = True, without: Sequence[int] = ()) -> None:
        self.fit, self.without = fit, without
        self.said: list[Report] = []
        self.given: list[tuple[int, int, Any]] = []
        self.ended: list[int] = []
        self.alive: dict[int, int] = {}
        self.closed = 0
        self._change = threading.Condition()

    def start(self, worker: int, place: int) -> None:
        if place in self.without:
            return
        self.alive[worker] = 0
        self.say(Report(worker, "ready") if self.fit else Report(worker, "unfit", -1, "no disk"))

    def give(self, worker: int, lease: int, job: Any) -> None:
        with self._change:
            self.given.append((worker, lease, job))
            self._change.notify_all()

    def reports(self, seconds: float) -> Sequence[Report]:
        with self._change:
            self._change.wait_for(lambda: self.said, min(seconds, 0.01))
            found, self.said = self.said, []
            return found

    def beats(self) -> Mapping[int, int]:
        return dict(self.alive)

    def end(self, worker: int) -> None:
        self.ended.append(worker)
        self.alive.pop(worker, None)

    def close(self) -> None:
        self.closed += 1

    # What the test does.

    def say(self, *reports: Report) -> None:
        with self._change:
            self.said += reports
            self._change.notify_all()

    def done(self, number: int, value: Any = "ok") -> None:
        """The `number`-th job that was handed out is done."""
        worker, lease, _ = self.handed(number)
        self.say(Report(worker, "done", lease, value))

    def dead(self, number: int) -> None:
        worker, _, _ = self.handed(number)
        self.say(Report(worker, "dead", -1, "it fell"))

    def handed(self, number: int) -> tuple[int, int, Any]:
        with self._change:
            assert self._change.wait_for(lambda: len(self.given) > number, 5)
            return self.given[number]


def gave_up(job: str, reason: str) -> str:
    return f"{job} failed: {reason}"


@pytest.fixture
def puppets() -> Puppets:
    return Puppets()


@pytest.fixture
def crew(puppets: Puppets) -> Iterator[Crew[str, str]]:
    made: Crew[str, str] = Crew(puppets, 2, gave_up, patience=0.4)
    stop = threading.Event()

    def live() -> None:
        while not stop.wait(0.02):
            for worker in list(puppets.alive):
                if puppets.alive.get(worker, -1) >= 0:
                    puppets.alive[worker] += 1

    thread = threading.Thread(target=live)
    thread.start()
    yield made
    stop.set()
    thread.join()
    made.close()


def test_workers_get_their_next_job_while_nobody_waits(
    crew: Crew[str, str], puppets: Puppets
) -> None:
    for job in "abc":
        crew.submit(job)
    puppets.done(0)
    assert puppets.handed(2)[2] == "c"
    assert crew.ready()
    assert crew.wait() == ("a", "ok")


def test_a_job_whose_worker_dies_runs_again_and_counts_once(
    crew: Crew[str, str], puppets: Puppets
) -> None:
    crew.submit("a")
    puppets.dead(0)
    assert not crew.news()  # a note, and no result yet
    first, second = puppets.handed(0), puppets.handed(1)
    assert first[2] == second[2] == "a"
    assert first[:2] != second[:2]
    puppets.done(1)
    assert crew.wait() == ("a", "ok")
    assert puppets.ended == [first[0]]
    assert crew.notes() == ["a worker was lost and is replaced: it fell; what it had runs again"]


def test_what_a_dead_worker_said_is_told_without_its_secrets(
    crew: Crew[str, str], puppets: Puppets
) -> None:
    crew.submit("a")
    for number in range(ATTEMPTS):
        worker, _, _ = puppets.handed(number)
        puppets.say(Report(worker, "dead", -1, "saying: hf_abcdefghijkl is no token"))
    told = [crew.wait()[1], *crew.notes()]
    assert len(told) == 1 + ATTEMPTS
    assert all("saying: <hidden> is no token" in text for text in told)


def test_the_result_of_a_worker_that_was_given_up_is_dropped(
    crew: Crew[str, str], puppets: Puppets
) -> None:
    crew.submit("a")
    puppets.dead(0)
    puppets.handed(1)
    puppets.done(0, "late")
    puppets.done(1, "in time")
    puppets.done(0, "later still")
    crew.submit("b")
    puppets.done(2)
    assert [crew.wait(), crew.wait()] == [("a", "in time"), ("b", "ok")]
    assert not crew.ready()


def test_a_job_that_workers_die_of_is_given_up(crew: Crew[str, str], puppets: Puppets) -> None:
    crew.submit("a")
    for number in range(ATTEMPTS):
        puppets.dead(number)
    assert crew.wait() == ("a", "a failed: 3 workers died of it; the last: it fell")
    crew.submit("b")
    puppets.done(ATTEMPTS)
    assert crew.wait() == ("b", "ok")


def test_a_worker_without_a_sign_of_life_is_replaced(
    crew: Crew[str, str], puppets: Puppets
) -> None:
    crew.submit("a")
    silent = puppets.handed(0)[0]
    puppets.alive[silent] = -1
    again = puppets.handed(1)
    assert again[0] != silent
    puppets.done(1)
    assert crew.wait() == ("a", "ok")
    assert puppets.ended == [silent]


def test_a_long_job_is_no_silence(crew: Crew[str, str], puppets: Puppets) -> None:
    crew.submit("a")
    puppets.handed(0)
    time.sleep(0.7)
    assert not puppets.ended


def test_where_no_worker_can_be_made_ready_the_search_ends() -> None:
    puppets = Puppets(fit=False)
    crew: Crew[str, str] = Crew(puppets, 2, gave_up)
    crew.submit("a")
    with pytest.raises(UserError, match="no worker could be made ready: no disk"):
        crew.wait()
    crew.close()
    assert puppets.closed == 1


def test_others_work_while_there_is_no_room_for_a_worker_and_that_is_told_once() -> None:
    puppets = Puppets(without=[1])
    crew: Crew[str, str] = Crew(puppets, 2, gave_up, patience=0.1)
    puppets.alive.clear()  # who has never given a sign of life is not missed
    for number, job in enumerate("abc"):
        crew.submit(job)
        puppets.done(number)
    assert [crew.wait()[0] for _ in range(3)] == ["a", "b", "c"]
    time.sleep(0.3)
    crew.close()
    (note,) = crew.notes()
    assert "a worker is not ready after 0 s" in note


def test_an_error_of_the_workers_own_is_raised_where_results_are_waited_for(
    crew: Crew[str, str], puppets: Puppets
) -> None:
    crew.submit("a")
    worker, lease, _ = puppets.handed(0)
    puppets.say(Report(worker, "raised", lease, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        crew.wait()

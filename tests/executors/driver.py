"""A search whose workers are Ray's, for a test that kills it.

`python -m tests.executors.driver FOLDER [ADDRESS]` searches in FOLDER/run, with a Ray of its own or
on the cluster at an address; scores are made up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from mergekit_mo import loop
from mergekit_mo.evaluate import Job
from mergekit_mo.executors import Executor
from mergekit_mo.executors.ray import Ray
from mergekit_mo.hiring import lost
from mergekit_mo.trial import Outcome
from tests.executors.stubs import Scores
from tests.stubbed import GOALS, stubbed

BUDGET, HELD = 7, 3
"""Candidates, and the number of the first trial that is held up until the diary holds a `go`."""


class ByNumber(Executor[Job, Outcome]):
    """Sends trials' numbers alone, so that workers import no torch.

    Args:
        inner: who runs the jobs.
        word: what a worker is to do with a trial of a number; see `stubs.Diary`.
    """

    def __init__(self, inner: Executor[str, Outcome], word: Callable[[int], str]) -> None:
        self.inner, self.slots, self.word = inner, inner.slots, word
        self.jobs: dict[str, Job] = {}

    def submit(self, job: Job) -> None:
        key = f"{self.word(job.number)} {job.number} {job.split}"
        self.jobs[key] = job
        self.inner.submit(key)

    def wait(self) -> tuple[Job, Outcome]:
        key, outcome = self.inner.wait()
        return self.jobs[key], outcome

    def ready(self) -> bool:
        return self.inner.ready()

    def news(self) -> bool:
        return self.inner.news()

    def notes(self) -> list[str]:
        return self.inner.notes()

    def close(self) -> None:
        self.inner.close()


def search(folder: Path, address: str | None = None) -> None:
    """Searches to the end, resuming whatever is there; workers write into FOLDER/diary."""
    scores = Scores(folder / "diary", tuple(goal.name for goal in GOALS))

    def hire(_: object) -> ByNumber:
        inner: Ray[str, Outcome] = Ray(scores, 2, lost, address=address)
        return ByNumber(inner, lambda number: "hold" if number >= HELD else "score")

    ready = stubbed(folder, budget=BUDGET)
    for _ in loop.search(ready, folder / "run", resume=True, hire=hire):
        pass


if __name__ == "__main__":
    search(Path(sys.argv[1]), *sys.argv[2:])

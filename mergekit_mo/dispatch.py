"""Jobs under way: trials go to the executor, and what comes back is recorded.

Rule: an outcome is on disk before anybody hears of it, and one that nobody is waiting for (of a
trial that has its outcome, or was handed out anew) is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.evaluate import Job
from mergekit_mo.events import Event, Finished, Opened, Warned
from mergekit_mo.executors import Executor
from mergekit_mo.making import walk_of
from mergekit_mo.rivals import race_of
from mergekit_mo.trial import Split, Trial


class Dispatch:
    """The jobs of one run that are queued or running.

    Args:
        archive: where outcomes go.
        executor: who runs the jobs.
        races: whether candidates may be stopped, where the recipe has rungs.
    """

    def __init__(
        self, archive: Archive, executor: Executor[Job, Outcome], *, races: bool = True
    ) -> None:
        self.archive = archive
        self.executor = executor
        self.races = races
        self._under_way: list[Job] = []

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def room(self) -> int:
        """How many more jobs keep every worker busy while the next candidates are thought of."""
        return max(0, self.executor.slots + self.executor.ahead - len(self._under_way))

    def submit(self, trials: Iterable[Trial], split: Split = "search") -> None:
        """Hands out trials that the archive has."""
        for trial in trials:
            race = race_of(self.archive, trial) if self.races and split == "search" else None
            job = Job(trial.number, trial.config, split, walk_of(self.archive, trial), race)
            self._under_way.append(job)
            self.executor.submit(job)

    def collect(self) -> Iterator[Event]:
        """Waits for one job and records its outcome; the events of it."""
        while not self.executor.news():
            yield from (Warned(note) for note in self.executor.notes())
        job, outcome = self.executor.wait()
        yield from (Warned(note) for note in self.executor.notes())
        if job in self._under_way:
            self._under_way.remove(job)
            yield self._record(job, outcome)
            if outcome.note:
                yield Warned(f"trial {job.number}: {outcome.note}")

    def drain(self) -> Iterator[Event]:
        """Records the outcomes that are there, without waiting."""
        while self._under_way and self.executor.ready():
            yield from self.collect()

    def run(self, trials: Iterable[Trial], split: Split = "search") -> Iterator[Event]:
        """Runs trials until the last of them is recorded."""
        self.submit(trials, split)
        while self._under_way:
            yield from self.collect()

    def _record(self, job: Job, outcome: Outcome) -> Event:
        if job.split == "search":
            trial = self.archive.finish(job.number, outcome, time.time())
            return Finished(trial, trial in self.archive.front())
        if complaint := _holdout_complaint(self.archive, job, outcome):
            return Warned(complaint)
        return Opened(self.archive.finish(job.number, outcome, time.time(), "holdout"))


def _holdout_complaint(archive: Archive, job: Job, outcome: Outcome) -> str:
    """Why a hold-out score cannot be believed; empty where it can."""
    if outcome.error is not None:
        return f"trial {job.number} could not be scored on the hold-out: {outcome.error}"
    trial = archive.trial(job.number)
    assert trial is not None
    if outcome.digest != trial.digest:
        return (
            f"trial {job.number} merged to other weights than those that were scored: have the "
            "sources changed? It has no hold-out score"
        )
    return ""

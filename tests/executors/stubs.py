"""What workers of tests do; nothing here takes long to import in a worker."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergekit_mo.trial import Measurement, Outcome


@dataclass(frozen=True)
class Suite:
    """Makes the work of `ExecutorSuite`, by its name there: the suite itself imports pytest."""

    name: str

    def __call__(self) -> Callable[[int], Any]:
        return {"_square": square, "_rich": rich, "_interrupted": interrupted}[self.name]


def square(job: int) -> int:
    return job * job


def rich(job: int) -> dict[str, Any]:
    return {
        "text": "naïve\n" * job,
        "numbers": [0.1, 1e-300, float("inf")],
        "nested": {"none": None},
    }


def interrupted(job: int) -> int:
    raise KeyboardInterrupt(job)


@dataclass(frozen=True)
class Diary:
    """Makes workers that write down who begins and ends which job; `hold` jobs are held up.

    Attributes:
        folder: where.
    """

    folder: Path

    def __call__(self) -> Callable[[str], Any]:
        return self.work

    def work(self, job: str) -> str:
        """Does as it is told: `fall` always, `die` and `hold` once; others are quick."""
        told = job.partition(" ")[0]
        again = any(self.folder.glob(f"{job}.*"))
        (self.folder / f"{job}.{os.getpid()}").write_text("begun")
        if told == "fall" or (told == "die" and not again):
            os.kill(os.getpid(), signal.SIGKILL)
        while told == "hold" and not again and not (self.folder / "go").exists():
            time.sleep(0.02)
        return f"{job} by {os.getpid()}"


@dataclass(frozen=True)
class Scores(Diary):
    """As `Diary`, and gives scores that depend on the job alone.

    Attributes:
        goals: by what names.
    """

    goals: tuple[str, ...] = ("toy_choice", "toy_bits", "sparsity")

    def __call__(self) -> Callable[[str], Any]:
        return self.scored

    def scored(self, job: str) -> Outcome:
        """Does as it is told, and gives an outcome."""
        self.work(job)
        draw = random.Random(job.rpartition(" ")[0])
        scores = {name: Measurement(draw.random()) for name in self.goals}
        return Outcome(scores, {}, "same", None, 1.0)


@dataclass(frozen=True)
class Unfit:
    """Makes no worker."""

    def __call__(self) -> Callable[[int], str]:
        raise FileNotFoundError("no such model")


def gave_up(job: Any, reason: str) -> str:
    return f"{job} failed: {reason}"


def workers_of(folder: Path, job: str) -> list[int]:
    """Who has begun a job, the first first."""
    found = sorted(folder.glob(f"{job}.*"), key=lambda p: p.stat().st_mtime)
    return [int(path.suffix[1:]) for path in found]

"""The executor of a search: a description of the search goes to every worker, which builds its own.

Rule: a worker that would ask other items, or in another setting, than the search recorded is not
taken: its scores could not be compared.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mergekit_mo.executors
from mergekit_mo.adapters import merge_adapters
from mergekit_mo.archive import Outcome
from mergekit_mo.budget import Budget
from mergekit_mo.contents import Content
from mergekit_mo.evaluate import Evaluator, Job
from mergekit_mo.executors import Executor
from mergekit_mo.executors.inline import Inline
from mergekit_mo.identity import fingerprint
from mergekit_mo.kinds import class_of
from mergekit_mo.options import MergeFlags
from mergekit_mo.preflight import Ready, prepare
from mergekit_mo.problems import UserError
from mergekit_mo.workers import INLINE, PROCESSES, RAY, Workers


@dataclass(frozen=True)
class Blueprint:
    """All that a worker needs to build what evaluates; it travels as it is.

    Attributes:
        path: of the recipe, absolute; relative names in it start from its folder.
        text: of the recipe, whatever its file says by now.
        budget: the search's.
        seed: likewise.
        flags: mergekit's.
        device: where merging and scoring happen.
        threads: how many.
        workers: the search's.
        task_code: whether the Python functions that task files name may run.
        fingerprint: of what is asked.
        contents: what the sources' folders held when the run began.
    """

    path: Path
    text: str
    budget: Budget
    seed: int
    flags: MergeFlags
    device: str
    threads: int
    workers: Workers
    task_code: bool
    fingerprint: str
    contents: Mapping[str, Content]

    @classmethod
    def of(cls, ready: Ready) -> Blueprint:
        """Describes a search."""
        recipe = ready.recipe
        return cls(
            recipe.folder / Path(recipe.source.name).name,
            recipe.source.text,
            recipe.limits,
            recipe.seed,
            ready.flags,
            ready.device,
            ready.threads,
            ready.workers,
            ready.task_code,
            fingerprint(ready),
            dict(ready.contents),
        )

    def __call__(self) -> Evaluator:
        """Builds what evaluates, in the worker.

        Raises:
            UserError: the recipe's models, tasks or data are not here, or not the same.
        """
        ready = prepare(
            self.path,
            replace(self.flags, device=self.device, cuda=False, num_threads=self.threads),
            text=self.text,
            budget=self.budget,
            seed=self.seed,
            allow_test_sets=True,  # the search has asked the user
            run_task_code=self.task_code,
        )
        if fingerprint(ready) != self.fingerprint:
            what = f"{os.uname().nodename}: the tasks, their data or the settings are not those"
            raise UserError(
                f"{what} that the search began with: see that all machines have the same"
            )
        merge_adapters(ready.recipe.configuration.sources, ready.flags, ready.device)
        return replace(ready, workers=self.workers, contents=self.contents).evaluator()


def hire(ready: Ready) -> Executor[Job, Outcome]:
    """Starts the executor that a search wants.

    Raises:
        UserError: there is none of that kind, or it cannot start.
    """
    workers = ready.workers
    if workers.executor == INLINE:
        return Inline(ready.evaluator())
    kind: Any = class_of(mergekit_mo.executors, Executor, workers.executor)
    more: dict[str, Any] = {}
    if workers.executor == PROCESSES:
        more = {"gpus": workers.gpus}
    if workers.executor == RAY:
        more = {"gpus": workers.gpus, "cpus": ready.threads, "address": workers.ray_address}
    made = kind(Blueprint.of(ready), workers.count or 1, lost, **more)
    assert isinstance(made, Executor)
    return made


def lost(job: object, reason: str) -> Outcome:
    """The outcome of a job whose workers died."""
    del job
    return Outcome({}, {}, None, reason, 0.0)


__all__ = ["Blueprint", "hire", "lost"]

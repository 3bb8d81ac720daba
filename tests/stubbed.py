"""A search whose merges and scores are made up: the real loop, archive and export, and no model.

Every place at which it could be killed is a *step*: before, within and after each commit, before
and after each file takes its place, at each fsync, in each merge, score and proposal.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from numpy.random import SeedSequence

from mergekit_mo import export, files, identity, loop, storage
from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.evaluate import Job
from mergekit_mo.optimizers import Optimizer, chosen
from mergekit_mo.options import MergeFlags
from mergekit_mo.preflight import Ready
from mergekit_mo.recipe import read_recipe
from mergekit_mo.space import Candidate, Space
from mergekit_mo.trial import Goal, Measurement

RECIPE = """
merge_method: ties
base_model: a/base
models:
  - model: a/one
    parameters:
      weight: {value: 0.5, low: 0.0, high: 1.0}
      density: {value: 0.5, low: 0.1, high: 1.0}
  - model: a/two
    parameters: {weight: {value: 0.5, low: 0.0, high: 1.0}}
search:
  objectives: [{task: quiz.yaml}, {task: prose.yaml}]
  evaluation: {limit: 6, holdout: 3}
  optimizer: sobol
"""
GOALS = (Goal("quiz", True), Goal("prose", False))

Step = Callable[[str], None]
"""Is told the name of each step before it is taken."""


def nothing(_: str) -> None:
    """Takes every step."""


@dataclass(frozen=True)
class Stubbed(Ready):
    """A search that is ready to start, and needs nothing but its recipe.

    Attributes:
        step: is told of merges, scores and proposals.
        items: how many answers each score comes from.
    """

    step: Step = field(default=nothing, compare=False)

    def evaluator(self) -> Any:
        """Scores that depend on the configuration alone."""

        def evaluate(job: Job) -> Outcome:
            self.step("merge")
            text = json.dumps(job.config, sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()
            self.step("score")
            values = [int(digest[i : i + 6], 16) / 16**6 for i in (0, 6, 12)]
            shift = 0.01 * values[2] if job.split == "holdout" else 0.0
            scores = {
                goal.name: Measurement(value + shift, 0.01, 6)
                for goal, value in zip(GOALS, values, strict=False)
            }
            answers = {name: {"values": values, "split": job.split} for name in ("quiz", "prose")}
            return Outcome(scores, answers, digest, None, 0.0)

        return evaluate


@dataclass(frozen=True)
class Told(Optimizer):
    """An optimizer that tells of its asks."""

    inner: Optimizer
    step: Step = field(default=nothing, compare=False)

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """Asks."""
        self.step("ask")
        found = self.inner.ask(space, archive, count, seed)
        self.step("asked")
        return found


def stubbed(folder: Path, step: Step = nothing, **settings: Any) -> Stubbed:
    """Writes a recipe into a folder and makes it ready.

    Args:
        folder: of the recipe.
        step: is told of every step.
        **settings: `budget` and `seed` take the place of the recipe's.
    """
    path = folder / "stub.yaml"
    if not path.exists():
        path.write_text(RECIPE, encoding="utf-8")
    recipe, _, problems = read_recipe(path, **settings)
    assert recipe is not None, problems
    optimizer, problems = chosen(recipe)
    assert optimizer is not None, problems
    documents = [{"question": str(i)} for i in range(9)]
    tasks = []
    for name in ("quiz", "prose"):
        config = SimpleNamespace(output_type="loglikelihood")
        task = SimpleNamespace(eval_docs=documents, config=config, get_config=lambda _: 0)
        items = {"search": (0, 1, 2, 3, 4, 5), "holdout": (6, 7, 8)}
        tasks.append(
            SimpleNamespace(name=name, path=path, task=task, items=items, total=9, documents=None)
        )
    return Stubbed(
        recipe,
        Space(recipe.configuration),
        Told(optimizer, step),
        {},
        GOALS,
        (),
        tuple(tasks),  # type: ignore[arg-type]
        MergeFlags(device="cpu", num_threads=1),
        "cpu",
        1,
        None,
        step=step,
    )


@contextmanager
def stepping(step: Step) -> Iterator[None]:
    """Tells of the steps of archive and files; the picture is not drawn, which takes longest."""
    with pytest.MonkeyPatch.context() as patch:
        transaction, put_in_place, fsync = storage.transaction, files.put_in_place, os.fsync

        @contextmanager
        def committing(db: Any) -> Iterator[None]:
            step("begin")
            with transaction(db):
                yield
                step("commit")
            step("committed")

        def placing(aside: Path, path: Path) -> None:
            step(f"place {path.name}")
            put_in_place(aside, path)
            step(f"placed {path.name}")

        def syncing(handle: int) -> None:
            step("fsync")
            fsync(handle)

        patch.setattr(storage, "transaction", committing)
        for module in (files, identity):
            patch.setattr(module, "put_in_place", placing)
        patch.setattr(os, "fsync", syncing)
        patch.setattr(export, "draw_front", lambda _: b"a picture")
        patch.setattr("mergekit_mo.dispatch.time.time", lambda: 0.0)
        yield


def search(folder: Path, out: Path, step: Step = nothing, **settings: Any) -> None:
    """Searches to the end, resuming whatever is there."""
    with stepping(step):
        for _ in loop.search(stubbed(folder, step, **settings), out, resume=True):
            pass

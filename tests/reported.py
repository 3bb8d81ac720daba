"""Planted runs on disk for tests of the report: many trials, strange names, failures, gradients."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.space import Space
from mergekit_mo.testing.planted import Function, small_space
from mergekit_mo.trial import Goal, Measurement

DEEP = """
merge_method: ties
base_model: a/base
dtype: bfloat16
models:
  - model: a/code
    parameters:
      weight:
        - {filter: self_attn, value: [0.3, 0.5, 0.7], low: 0, high: 1}
        - {value: [0.5, 0.5, 0.5], low: 0, high: 1}
      density: {value: 0.5, low: 0.05, high: 1, log: true}
  - model: a/prose
    parameters:
      weight: {value: [0.4, 0.6, 0.2], low: 0, high: 1}
      density: 0.5
parameters:
  normalize: {value: true, choices: [true, false]}
"""
"""Filters, gradients, a logarithm and a choice: eleven dimensions."""

STRANGE = (
    "<script>alert(1)</script>",
    '</script><img src=x onerror="alert(2)">',
    "{a|b}{b} \"'`& 🦊",
    "org/עברית-\u202eevil",
)
"""Names that would do harm where a text is taken for something else."""


def plant_run(
    folder: Path,
    space: Space | str,
    goals: Sequence[Goal],
    function: Function,
    n: int,
    *,
    parents: Sequence[str] = ("a/base", "a/code", "a/prose"),
    failed: Iterable[int] = (),
    waiting: int = 0,
    noise: float = 0.0,
) -> Path:
    """Makes a run folder with an archive: parents, then random candidates with these scores.

    Args:
        folder: is made.
        space: or the text of its recipe.
        goals: what the function's values are called.
        function: the scores of a candidate's coordinates; parent `i` scores best on goal `i`.
        n: how many candidates are finished or failed.
        parents: the names of the references.
        failed: which candidates failed, counted from 0.
        waiting: how many more candidates wait.
        noise: the standard deviation of an error on each score, and its standard error.
    """
    own = space if isinstance(space, Space) else small_space(space)
    configuration = own.configuration
    facts = {
        "search": {
            "configuration": dict(configuration.tree),
            "methods": [method.name for method in configuration.methods],
            "optimizer": ["sobol", {}],
        },
        "machine": "a machine",
        "items": {"quiz": {"search": [1, 2, 3], "holdout": [4]}},
    }
    rng = np.random.default_rng(0)
    lost = set(failed)
    with Archive.create(":memory:", goals, facts) as archive:
        archive.propose("reference", [(name, {"merge_method": "passthrough"}) for name in parents])
        for number in range(len(parents)):
            values = [0.9 if number % max(len(goals), 2) == i else 0.2 for i in range(len(goals))]
            _finish(archive, goals, number, values, noise, held=True)
        drawn = [
            *own.starts(),
            *(own.candidate(rng.random(own.dim).tolist(), "sobol") for _ in range(n)),
        ]
        chosen = drawn[: n + waiting]
        trials = archive.propose("candidate", [(c, own.config(c.unit)) for c in chosen])
        for i, trial in enumerate(trials[:n]):
            if i in lost:
                error = f"RuntimeError: planted {'first' if i % 2 else 'second'} reason\n  a trace"
                archive.finish(trial.number, Outcome({}, {}, None, error, 2.0), 1e9 + 60 * i)
                continue
            scores = np.array(function(trial.unit or ())) + noise * rng.normal(size=len(goals))
            _finish(archive, goals, trial.number, scores.tolist(), noise)
        for trial in archive.front():
            values = [trial.scores[g.name].value - 0.01 for g in goals]
            _finish(archive, goals, trial.number, values, noise, held=True)
        folder.mkdir(parents=True)
        with closing(sqlite3.connect(folder / "archive.db")) as file:
            archive._db.backup(file)
    return folder


def _finish(
    archive: Archive,
    goals: Sequence[Goal],
    number: int,
    values: Sequence[float],
    noise: float,
    *,
    held: bool = False,
) -> None:
    """Finishes a trial; `held` opens its hold-out with the same scores."""
    pairs = zip(goals, values, strict=True)
    scores = {g.name: Measurement(float(v), noise or None, 50) for g, v in pairs}
    outcome = Outcome(scores, {}, "0" * 64, None, 2.5)
    archive.finish(number, outcome, 1e9 + 60 * number)
    if held:
        archive.finish(number, outcome, 1e9, "holdout")

"""A run folder with a planted front, and a way to type a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.space import Candidate
from mergekit_mo.trial import Goal, Measurement

Type = Callable[..., Result]
Plant = Callable[..., Path]

ROWS = ((0.0, 1.0), (0.4, 0.95), (0.8, 0.8), (0.95, 0.4), (1.0, 0.0), (0.1, 0.1))


@pytest.fixture
def typed() -> Type:
    """Runs `mergekit-mo NAME WORD…`."""

    def run(name: str, *words: object) -> Result:
        command = import_module(f"mergekit_mo.commands.{name}").command
        result = CliRunner().invoke(command, [str(word) for word in words])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def planted(tmp_path: Path) -> Plant:
    """Makes `runs/base` with two parents, numbered 0 and 1, and candidates with these scores."""

    def make(rows: Sequence[Sequence[float]] = ROWS, threshold: float | None = None) -> Path:
        run = tmp_path / "runs" / "base"
        run.mkdir(parents=True)
        goals = [Goal("task", True, threshold), Goal("other", True)]
        with Archive.create(run / "archive.db", goals, {}) as archive:
            archive.propose("reference", [("org/one", {}), ("org/two", {})])
            for i in range(len(rows)):
                config = {"merge_method": "linear", "models": [{"model": "org/one"}], "i": i}
                archive.propose("candidate", [(Candidate((i / 64,), "sobol"), config)])
            for number, row in enumerate([(0.0, 1.0), (1.0, 0.0), *rows]):
                scores = {g.name: Measurement(v, 0.01, 50) for g, v in zip(goals, row, strict=True)}
                outcome = Outcome(scores, {}, "abc", None, 1.0)
                archive.finish(number, outcome, 0.0)
                archive.finish(number, outcome, 0.0, "holdout")
        return run

    return make

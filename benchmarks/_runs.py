"""One run of one optimizer on one problem, and the file in which finished runs are kept.

Rule: all optimizers of a seed begin with the same points: the recipe's own, then Sobol points of
the run's seed. The hand-tuner's grid alone is walked from its first point, in its own space; and on
real merges who has a design of its own begins with that, after the recipe's own points.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from filelock import FileLock
from numpy.random import SeedSequence

import mergekit_mo.optimizers
from benchmarks._problem import Problem, record, value
from mergekit_mo.archive import Archive
from mergekit_mo.kinds import make
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers.qlognehvi import default_initial
from mergekit_mo.optimizers.sobol import spread
from mergekit_mo.space import Candidate

GRID = "soup"
_RIVALS = {"optuna-gp": "benchmarks._gpsampler:GPSampler"}
_DIGITS = 5


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        problem: its name.
        optimizer: as it was given: a kind, or a kind with settings.
        seed: of the search and of the split of items.
        trace: after each evaluation, the hypervolume of the search front by true scores, on the
            run's anchored scales.
        seconds: median of a proposal beyond the initial design; None where there is none.
    """

    problem: str
    optimizer: str
    seed: int
    trace: tuple[float, ...]
    seconds: float | None

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from other runs."""
        return self.problem, self.optimizer, self.seed


def parse_optimizer(text: str) -> tuple[str, Optimizer]:
    """An optimizer as a recipe has it: `qlognehvi`, `{mm-mo: {variant: paper}}`.

    Returns:
        The text in one fixed form, and the optimizer.

    Raises:
        ValueError: there is no such optimizer, or it has no such settings.
    """
    node = yaml.safe_load(text)
    if isinstance(node, dict) and len(node) == 1:
        ((kind, settings),) = node.items()
    else:
        kind, settings = node, {}
    if not isinstance(kind, str) or not isinstance(settings or {}, dict):
        raise ValueError(f"an optimizer is a kind, or {{kind: {{setting: value}}}}, not {text!r}")
    optimizer, problems = make(
        mergekit_mo.optimizers,
        Optimizer,  # type: ignore[type-abstract]
        _RIVALS.get(kind, kind),
        settings or {},
        (),
    )
    if optimizer is None:
        raise ValueError("; ".join(f"{p.what} {p.hint}".strip() for p in problems))
    return label(kind, settings or {}), optimizer


def label(kind: str, settings: dict[str, Any]) -> str:
    """A kind with its settings in one fixed form."""
    if not settings:
        return kind
    inside = ", ".join(f"{k}: {json.dumps(v)}" for k, v in sorted(settings.items()))
    return f"{{{kind}: {{{inside.replace(chr(34), '')}}}}}"


def run(
    problem: Problem, name: str, optimizer: Optimizer, seed: int, budget: int | None = None
) -> Run:
    """Runs an optimizer on a problem; it is asked for as many candidates as belong together.

    Args:
        problem: what to solve.
        name: what the run is to be called.
        optimizer: who proposes.
        seed: of the search, the split and the noise.
        budget: evaluations; None for the problem's own.
    """
    space = problem.grid if name == GRID and problem.grid else problem.space
    trace: list[float] = []
    seconds: list[float] = []
    budget = budget or problem.budget
    with problem.archive(seed, optimizer.auxiliary) as archive:
        found = _first(problem, archive, name, optimizer, seed)[:budget]
        while len(trace) < budget:
            ask = archive.asks
            if trace or not found:
                count = min(optimizer.batch, budget - len(trace))
                start = time.perf_counter()
                found = optimizer.ask(space, archive, count, SeedSequence((seed, ask)))
                seconds.append((time.perf_counter() - start) / max(1, len(found)))
            if not found:
                break  # the space has no more points
            entries = [(candidate, space.config(candidate.unit)) for candidate in found]
            for trial in archive.propose("candidate", entries, ask):
                candidate = Candidate(trial.unit or (), trial.origin)
                record(archive, trial.number, problem.score(candidate, trial.config, seed))
                trace.append(value(archive))
    middle = round(statistics.median(seconds), 4) if seconds else None
    return Run(problem.name, name, seed, tuple(_short(v) for v in trace), middle)


def _first(
    problem: Problem, archive: Archive, name: str, optimizer: Optimizer, seed: int
) -> list[Candidate]:
    """What a run begins with, before its optimizer is asked."""
    if name == GRID:
        return []
    if problem.real and getattr(optimizer, "design", "sobol") != "sobol":
        return list(problem.starts)
    count = default_initial(problem.space.dim, len(problem.goals)) - len(problem.starts)
    taken = [candidate.unit for candidate in problem.starts]
    points = spread(problem.space, archive, max(0, count), SeedSequence((seed, 0)), "sobol", taken)
    return [*problem.starts, *points]


def _ends_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _short(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


class Results:
    """Finished runs, one JSON line each; several processes may append.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(f"{path.parent / ('.' + path.name)}.lock")

    def read(self) -> list[Run]:
        """All runs; of equal ones the last."""
        return list({run.key: run for run in self._lines()}.values())

    def append(self, run: Run) -> None:
        """Adds a run, which is on disk when this returns."""
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                torn = file.tell() > 0 and not _ends_line(file)
                line = json.dumps(asdict(run), separators=(",", ":"))
                file.write(f"{chr(10) if torn else ''}{line}\n".encode())

    def forget(self, keys: Iterable[tuple[str, str, int]]) -> int:
        """Takes runs out, because what made them has changed; returns how many there were."""
        gone = set(keys)
        with self._lock:
            kept = [run for run in self.read() if run.key not in gone]
            count = len(self.read()) - len(kept)
            lines = [json.dumps(asdict(run), separators=(",", ":")) for run in kept]
            aside = self.path.with_name(f".{self.path.name}.new")
            aside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            aside.replace(self.path)
        return count

    def _lines(self) -> Iterator[Run]:
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                facts = json.loads(line)
            except json.JSONDecodeError:  # a process was killed while it wrote this
                continue
            yield Run(**{**facts, "trace": tuple(facts["trace"])})

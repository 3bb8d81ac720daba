"""A search that takes seconds and is real: untrained models, two small tasks, a recipe."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml
from numpy.random import SeedSequence

from mergekit_mo import loop, preflight
from mergekit_mo.archive import Archive
from mergekit_mo.events import Event
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers.sobol import Sobol
from mergekit_mo.options import MergeFlags
from mergekit_mo.space import Candidate, Space
from mergekit_mo.testing import untrained
from mergekit_mo.testing.planted import random_path
from mergekit_mo.trial import Measurement

FLAGS = MergeFlags(device="cpu", num_threads=1)
ITEMS = 40

_CHOICE = """\
task: toy_choice
dataset_path: json
dataset_kwargs: {data_files: {validation: items.json}}
validation_split: validation
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: gold
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
_BITS = """\
task: toy_bits
dataset_path: json
dataset_kwargs: {data_files: {validation: items.json}}
validation_split: validation
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}} the quick brown fox"
metric_list: [{metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}]
"""
_RECIPE: dict[str, Any] = {
    "merge_method": "ties",
    "base_model": "models/base",
    "dtype": "float32",
    "models": [
        {
            "model": "models/one",
            "parameters": {
                "weight": {"value": 0.4, "low": 0, "high": 1},
                "density": {"value": 0.6, "low": 0.1, "high": 1},
            },
        },
        {
            "model": "models/two",
            "parameters": {"weight": {"value": [0.7, 0.3], "low": 0, "high": 1}},
        },
    ],
    "search": {
        "objectives": [{"task": "tasks/choice.yaml"}, {"task": "tasks/bits.yaml"}, "sparsity"],
        "evaluation": {"limit": 8, "holdout": 4, "batch_size": 8},
        "optimizer": "sobol",
        "budget": 4,
    },
}
QLOGNEHVI = {
    "qlognehvi": {
        "initial": 3,
        "samples": 16,
        "restarts": 2,
        "raw_samples": 16,
        "iterations": 5,
        "fit_iterations": 5,
    }
}
"""The Bayesian optimizer at settings that take no time."""


@dataclass(frozen=True)
class Toy:
    """A folder with models, tasks and the recipes that tests write beside them."""

    folder: Path

    def recipe(
        self,
        name: str,
        *,
        method: str = "ties",
        models: list[Any] | None = None,
        drop: tuple[str, ...] = (),
        head: Mapping[str, Any] | None = None,
        **search: Any,
    ) -> Path:
        """Writes a recipe: the usual one, but for what is given here."""
        tree = deepcopy(_RECIPE) | {"merge_method": method} | dict(head or {})
        if models is not None:
            tree["models"] = models
        tree["search"] |= search
        path = self.folder / f"{name}.yaml"
        text = yaml.safe_dump({k: v for k, v in tree.items() if k not in drop}, sort_keys=False)
        path.write_text(text, encoding="utf-8")
        return path


def make_toy(folder: Path) -> Toy:
    """Writes models and tasks into a folder."""
    for seed, name in enumerate(("base", "one", "two")):
        untrained(folder / "models" / name, layers=2, hidden=32, seed=seed)
    make_tasks(folder / "tasks")
    return Toy(folder)


def make_tasks(folder: Path) -> None:
    """Writes two tasks, with their items beside them."""
    folder.mkdir(parents=True)
    draw = random.Random(0)
    words = ["the fox", "a dog", "brown", "quick", "lazy", "over", "jumps"]
    items = [
        {
            "question": f"what is {draw.choice(words)} {i} {draw.choice(words)}",
            "choices": draw.sample(words, 2),
            "gold": draw.randrange(2),
        }
        for i in range(ITEMS)
    ]
    (folder / "items.json").write_text(json.dumps(items), encoding="utf-8")
    (folder / "choice.yaml").write_text(_CHOICE, encoding="utf-8")
    (folder / "bits.yaml").write_text(_BITS, encoding="utf-8")


def run(
    recipe: Path,
    out: Path,
    *,
    resume: bool = False,
    flags: MergeFlags = FLAGS,
    budget: int | None = None,
    seed: int | None = None,
    code: bool = False,
) -> list[Event]:
    """Searches to the end; gives the events."""
    ready = preflight.prepare(recipe, flags, budget=budget, seed=seed, run_task_code=code)
    return list(loop.search(ready, out, resume=resume))


def dump(out: Path) -> Mapping[str, list[Any]]:
    """Every row of a run's archive, but for what the clock wrote and where the recipe lies."""
    columns = {
        "fact": "name, value",
        "trial": "number, role, origin, ask, unit, path, config, status, digest, error, stopped",
        "score": "trial, split, goal, value, stderr, n",
        "answers": "trial, split, task, checksum, body",
        "opening": "number, trial",
    }
    with closing(sqlite3.connect(out / loop.ARCHIVE)) as db:
        return {
            table: sorted(db.execute(f"SELECT {names} FROM {table}"), key=repr)
            for table, names in columns.items()
        }


@dataclass(frozen=True)
class Wander(Optimizer):
    """Any paths that the rules allow, each at the start values of the holes."""

    searches_layers: ClassVar[bool] = True

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """Draws steps among the successors until paths that are new have come to their end."""
        assert space.layers is not None
        draw = random.Random(int(seed.generate_state(1)[0]))
        known = {trial.path for trial in archive.candidates}
        found: list[Candidate] = []
        while len(found) < count:
            path = random_path(space.layers, draw)
            if path not in known:
                known.add(path)
                found.append(space.candidate(space.starts()[0].unit, "wander", path))
        return found


@dataclass(frozen=True)
class Fussy(Objective):
    """Counts nothing; raises for models too far from the base.

    Attributes:
        most: the farthest that it takes.
    """

    most: float

    @property
    def title(self) -> str:
        """Its name in tables."""
        return "fussy"

    @property
    def maximize(self) -> bool:
        """As good as any."""
        return True

    def score(self, subject: Subject) -> Measurement:
        """A constant."""
        distance = subject.distance()
        if distance > self.most:
            raise ArithmeticError(f"{distance:.3f} is too far for me")
        return Measurement(1.0)


@dataclass(frozen=True)
class Threes(Sobol):
    """Sobol points that belong together by threes."""

    @property
    def batch(self) -> int:
        """Three at a time."""
        return 3


@dataclass(frozen=True)
class Wide(Sobol):
    """Sobol points; keeps what it was told and asked for.

    Attributes:
        together: how many candidates belong together.
    """

    together: int = 1
    asked: ClassVar[list[tuple[int, int]]] = []

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        self.asked.append((len(archive.data().pending), count))
        return super().ask(space, archive, count, seed)

    @property
    def batch(self) -> int:
        """See `Optimizer.batch`."""
        return self.together

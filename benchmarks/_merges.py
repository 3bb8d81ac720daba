"""Real merges as problems: made and scored by the package's own engine, once ever, then remembered.

Rule: a memo holds answers to all items; a run's seed says which half of them the search sees.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._memo import (
    STEP,
    About,
    Memo,
    MemoError,
    Row,
    distance_of,
    failed,
    failure,
    key_of,
    rounded,
)
from benchmarks._problem import Problem, Reference, Scored, Scores
from benchmarks._scoring import Passages
from benchmarks.families import (
    CONTEXT,
    FAMILIES,
    ROOT,
    SPACES,
    Family,
    grid,
    located,
    read_items,
    recipe,
    trained,
    weights_digest,
)
from mergekit_mo.files import write_file
from mergekit_mo.layers import Walk
from mergekit_mo.pareto import hypervolume
from mergekit_mo.scales import make_scales, reference_point
from mergekit_mo.space import Candidate
from mergekit_mo.testing.planted import small_space
from mergekit_mo.trial import Goal, Measurement, Trial

BUDGET = 60
SPARSITY = Goal("sparsity", False)
_METRIC = "bits_per_byte,none"
DATA = ROOT / "benchmarks" / "data"
CACHE = ROOT / ".cache" / "merges"


class Merges(Problem):
    """Merges of one family in one space.

    Args:
        family: whose models.
        space: `global` or `layered`.
        data: the folder of the shipped memos.
        cache: the folder of those that grow.
    """

    real = True
    budget = BUDGET

    def __init__(self, family: Family, space: str, data: Path = DATA, cache: Path = CACHE) -> None:
        self.name = f"{family.name}-{space}"
        self.family = family
        self.space = small_space(recipe(family, space))
        self.starts = self.space.starts()
        self.measured = {SPARSITY.name: SPARSITY}
        self.grid = small_space(grid(family))
        self.goals = tuple(Goal(goal, False) for goal in family.goals)
        self.memo = Memo(family.digest, data / f"{self.name}.memo.xz", cache / self.name)
        self._live: Live | None = None
        self._most: dict[tuple[int, int], float] = {}

    def row(self, config: Mapping[str, Any]) -> Row:
        """The answers of a merge to all items; made now if no process ever made it."""
        key = key_of(self.family.digest, config)
        row = self.memo.get(key)
        if row is None:
            if self._live is None:
                self._live = Live(self.family)
            row = self._live.row(config)
            self.memo.put(key, row, self._live.about)
        return row

    def facts(self) -> dict[str, Any]:
        """What answers are measured by, and how far the sources lie from the base."""
        measures = {goal.name: [goal.name, _METRIC] for goal in self.goals}
        return {"measures": measures, "differences": norms(self.family)}

    def references(self, seed: int) -> list[Reference]:
        """Base and sources as they are."""
        configs = {model: _as_it_is(model) for model in self.family.models}
        return [Reference(m, c, self._scored(self.row(c), seed)) for m, c in configs.items()]

    def score(self, candidate: Candidate, config: Mapping[str, Any], seed: int) -> Scored:
        """See `Problem.score`."""
        del candidate
        return self._scored(self.row(config), seed)

    def most(self, seed: int) -> float:
        """The hypervolume of all known merges together, by the hold-out of a seed.

        Raises:
            MemoError: none is known.
        """
        self.memo.refresh()
        if not self.memo:
            raise MemoError(f"{self.name}: no merge of it is known; {self.memo.shipped} is missing")
        at = (seed, len(self.memo))
        if at not in self._most:
            own = {key_of(self.family.digest, _as_it_is(m)) for m in self.family.models}
            rows = [r for k, r in self.memo.rows.items() if k not in own and not failed(r)]
            table = np.array(rows, dtype=np.uint16).reshape(len(rows), -1)
            holdout = [self._values(table, g, seed)[1] for g in range(len(self.goals))]
            trials = [
                Trial(i, "reference", r.name, "done", r.config, scores=r.scored.search)
                for i, r in enumerate(self.references(seed))
            ]
            scales = make_scales(self.goals, trials)
            Y = np.column_stack(
                [(s.worst - v) / s.width for s, v in zip(scales, holdout, strict=True)]
            )  # n x m
            self._most[at] = hypervolume(Y, reference_point(len(scales)))
        return self._most[at]

    def scores(self, row: Row, items: NDArray[np.intp] | None = None) -> Scores:
        """A merge's scores on some items of each goal; on all of them by default."""
        found = {}
        for index, goal in enumerate(self.goals):
            nats, sizes = self._part(row, index)
            chosen = slice(None) if items is None else items
            found[goal.name] = bits_per_byte(nats[chosen], sizes[chosen])
        return found

    def _scored(self, row: Row, seed: int) -> Scored:
        if failed(row):
            return Scored({}, {}, "the merge could not be made or scored")
        exact = {SPARSITY.name: Measurement(distance_of(row), 0.0)}
        search, true = dict(exact), dict(exact)
        answers = {}
        for index, goal in enumerate(self.goals):
            nats, sizes = self._part(row, index)
            for found, items in zip((search, true), split(len(sizes), seed, index), strict=True):
                found[goal.name] = bits_per_byte(nats[items], sizes[items])
            seen, _ = split(len(sizes), seed, index)
            pairs = np.column_stack([-nats[seen], sizes[seen]]).tolist()
            answers[goal.name] = {"values": {_METRIC: pairs}}
        return Scored(search, true, answers=answers)

    def _part(self, row: Row, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A goal's share of a row, in nats, and its items' bytes."""
        assert self.memo.about is not None
        sizes = [self.memo.about.sizes[goal.name] for goal in self.goals]
        start = sum(map(len, sizes[:index]))
        nats = row[start : start + len(sizes[index])].astype(float) * STEP
        return nats, np.array(sizes[index], dtype=float)

    def _values(
        self, table: NDArray[np.uint16], index: int, seed: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A goal's values of many rows on both halves of its items."""
        assert self.memo.about is not None
        sizes = [len(self.memo.about.sizes[goal.name]) for goal in self.goals]
        start = sum(sizes[:index])
        bytes_ = np.array(self.memo.about.sizes[self.goals[index].name], dtype=float)
        nats = table[:, start : start + sizes[index]] * STEP
        search, holdout = (
            nats[:, items].sum(axis=1) / bytes_[items].sum() / math.log(2)
            for items in split(sizes[index], seed, index)
        )
        return search, holdout


def split(count: int, seed: int, goal: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The items of a goal that a run searches by, and those that it is judged by: half each."""
    order = np.random.default_rng(np.random.SeedSequence((seed, goal))).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


@cache
def norms(family: Family) -> dict[str, dict[str, float]]:
    """How far a family's sources lie from its base, by source and tensor; taken once, and shipped.

    They are there without the models, like the answers in the memos.
    """
    path = DATA / "differences.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if family.name not in known:
        known[family.name] = _measured_norms(family)
        text = json.dumps(known, indent=1, sort_keys=True)
        write_file(path, f"{text}\n")
    found: dict[str, dict[str, float]] = known[family.name]
    return found


def _measured_norms(family: Family) -> dict[str, dict[str, float]]:
    from mergekit_mo.differences import differences
    from mergekit_mo.options import MergeFlags
    from mergekit_mo.planning import merge_options

    folder = trained(family, print)
    names = {str(folder / model.partition("/")[2]): model for model in family.models}
    base, *sources = names
    found = differences(base, sources, merge_options(MergeFlags(), "cpu"))
    return {
        names[source]: {tensor: float(f"{norm:.4g}") for tensor, norm in own.items()}
        for source, own in found.items()
    }


def bits_per_byte(nats: NDArray[np.float64], sizes: NDArray[np.float64]) -> Measurement:
    """Bits per byte of items with its jackknifed standard error (Efron and Stein 1981).

    The figures that the search's own harness gives, without a loop over items.

    Args:
        nats: `n` negative log-likelihoods.
        sizes: `n` lengths in bytes.
    """
    n, scale = len(nats), math.log(2)
    value = float(nats.sum() / sizes.sum() / scale)
    left_out = (nats.sum() - nats) / (sizes.sum() - sizes) / scale  # n
    stderr = math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))
    return Measurement(value, stderr, n)


class Live:
    """The package's own engine on one family: merges a configuration and asks all items."""

    def __init__(self, family: Family) -> None:
        import torch
        from transformers import AutoTokenizer

        from mergekit_mo.console import quiet_libraries
        from mergekit_mo.merging import Merger
        from mergekit_mo.options import MergeFlags

        torch.set_num_threads(1)  # merges are bit-identical at the same number alone
        quiet_libraries()
        folder = trained(family, print)
        self.family = family
        self.merger = Merger(MergeFlags(num_threads=1), "cpu")
        items = {goal: read_items(folder / "tasks" / f"{goal}.json") for goal in family.goals}
        tokenizer = AutoTokenizer.from_pretrained(folder / "base")
        self.base: dict[str, Any] = {}
        self.passages = Passages([t for texts in items.values() for t in texts], tokenizer, CONTEXT)
        sizes = {goal: [len(text.encode()) for text in texts] for goal, texts in items.items()}
        self.about = About(family.digest, weights_digest(family), sizes)

    def row(self, config: Mapping[str, Any], walk: Walk | None = None) -> Row:
        """The answers of a merge, or of layers of it and of its sources; of a failure if it fails.

        Args:
            config: of the merge.
            walk: the layers; without them, the distance from the base is taken as well.
        """
        try:
            walked = walk and tuple((located(name, self.family), layer) for name, layer in walk)
            merged = self.merger.merge(located(config, self.family), walked)
            nats = self.passages.nats(merged.model)
            distance = 0.0 if walk else self._distance(merged.model)
        except Exception:  # whatever mergekit raises: the search would record it and go on
            return failure(self.about.width)
        whole = np.isfinite(nats).all()
        return rounded(nats, distance) if whole else failure(self.about.width)

    def _distance(self, model: Any) -> float:
        """The L1 distance of a merge from the base, as the objective `sparsity` has it."""
        if not self.base:
            self.base = self._read_base()
        own = model.named_parameters()
        return sum(float((p.double() - self.base[name]).abs().sum()) for name, p in own)

    def _read_base(self) -> dict[str, Any]:
        from safetensors.torch import load_file

        tensors = load_file(self.family.folder / "base" / "model.safetensors")
        return {name: tensor.double() for name, tensor in tensors.items()}


def _as_it_is(model: str) -> dict[str, Any]:
    """The configuration whose merge is a source itself."""
    entry = {"model": model}
    return {"merge_method": "passthrough", "base_model": model, "models": [entry]}


@cache
def merges(name: str) -> Merges:
    """A problem by its name, `family-space`."""
    family, _, space = name.partition("-")
    return Merges(FAMILIES[family], space)


def names() -> list[str]:
    """Every problem of real merges."""
    return [f"{family}-{space}" for family in FAMILIES for space in SPACES]


def describe(family: Family) -> str:
    """A table of what base, sources and their uniform merge score on all items."""
    problem = merges(f"{family.name}-global")
    base, *sources = family.models
    uniform = {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "dtype": "float32",
        "parameters": {"normalize": False},
        "models": [{"model": s, "parameters": {"weight": 0.5}} for s in sources],
    }
    configs = {m.partition("/")[2]: _as_it_is(m) for m in family.models}
    configs |= {"sum of halves": uniform}
    lines = [f"{family.name:16}" + "".join(f"{goal:>12}" for goal in family.goals)]
    for name, config in configs.items():
        scores = problem.scores(problem.row(config))
        cells = (f"{scores[g].value:.3f}±{scores[g].stderr:.3f}" for g in family.goals)
        lines.append(f"  {name:14}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)

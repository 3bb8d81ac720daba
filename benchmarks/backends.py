"""Seconds from a candidate to its answers, by transformers and by vLLM, and whether they agree.

Rule: both answer the same items of the same merges, by turns within one run; the first candidate
pays for what is made once and is reported apart.

    make vllm
    .venv-vllm/bin/python benchmarks/backends.py [--candidates 4] [--items 32] [--tokens 48]
        [--real] [--json FILE]

The tiny family's heads are widened to what vLLM's kernels for a CPU know. `--real` adds a model of
135M parameters (`_smollm`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lm_eval.api.instance import Instance
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, only this folder is on the path
    sys.path.insert(0, str(ROOT))

from benchmarks._smollm import smollm  # noqa: E402
from mergekit_mo.backends import Backend  # noqa: E402
from mergekit_mo.backends.hf import Transformers  # noqa: E402
from mergekit_mo.backends.vllm import Vllm  # noqa: E402
from mergekit_mo.console import quiet_libraries  # noqa: E402
from mergekit_mo.harness import Harness  # noqa: E402
from mergekit_mo.machine import free_cores, versions  # noqa: E402
from mergekit_mo.merging import Merger  # noqa: E402
from mergekit_mo.options import MergeFlags  # noqa: E402
from mergekit_mo.preflight import Ready, prepare  # noqa: E402
from mergekit_mo.testing import Family, family  # noqa: E402
from mergekit_mo.testing.continuations import write_continuations  # noqa: E402
from mergekit_mo.testing.widened import widened  # noqa: E402


@dataclass
class Both(Backend):
    """Lets both backends answer, and keeps what they wrote and how long it took."""

    hf: Backend
    vllm: Vllm
    seconds: dict[str, float] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)

    def respond(self, model: Any, tokenizer: Any, requests: Sequence[Instance]) -> list[Any]:
        """See `Backend.respond`; the answers are vLLM's."""
        times = [time.perf_counter()]
        written = self.hf.respond(model, tokenizer, requests)
        times.append(time.perf_counter())
        self.vllm.take(model, tokenizer)
        times.append(time.perf_counter())
        found = self.vllm.answer(requests)
        times.append(time.perf_counter())
        again = self.vllm.answer(requests)
        names = ("hf: generate", "vllm: swap", "vllm: generate")
        self.seconds = dict(zip(names, (b - a for a, b in pairwise(times)), strict=True))
        self.texts = {"hf": written, "vllm": found, "vllm again": again}
        return found

    def close(self) -> None:
        """Ends the engine."""
        self.vllm.close()


def tiny_models(small: Family, at: Path) -> list[Path]:
    """The widened base and its experts."""
    models = (small.base, small.code, small.prose, small.arithmetic)
    return [widened(model, at / model.name) for model in models]


def prepared(models: Sequence[Path], task: Path, dtype: str, at: Path, args: Any) -> Ready:
    """A recipe over a base and its experts with one goal that is written."""
    base, *experts = map(str, models)
    weight = {"value": 0.4, "low": 0.0, "high": 1.0}
    recipe = {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "dtype": dtype,
        "models": [{"model": e, "parameters": {"weight": weight}} for e in experts],
        "search": {
            "objectives": [{"generated-tokens": {"task": str(task)}}],
            "evaluation": {
                "backend": "vllm",
                "limit": args.items,
                "holdout": 0,
                "vllm": {"max_model_len": 256},
            },
            "optimizer": "sobol",
        },
    }
    path = at / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return prepare(path, MergeFlags(device="cpu", num_threads=args.threads))


def measured(name: str, ready: Ready, candidates: int) -> dict[str, Any]:
    """Runs some candidates through both backends.

    Args:
        name: of the case.
        ready: its recipe.
        candidates: how many, besides the one that pays for what is made once.
    """
    torch.set_num_threads(ready.threads)
    evaluation = ready.recipe.evaluation
    both = Both(Transformers(evaluation.batch_size), Vllm(evaluation, ready.threads))
    harness, merger = Harness(ready.tasks, evaluation, both), Merger(ready.flags, "cpu")
    points = np.random.default_rng(0).random((candidates + 1, ready.space.dim))
    rounds: list[dict[str, float]] = []
    pairs: list[tuple[str, ...]] = []
    first: dict[str, float] = {}
    try:
        for number, unit in enumerate(points.tolist()):
            begun = time.perf_counter()
            merged = merger.merge(ready.space.config(tuple(unit)))
            seconds = {"merge": time.perf_counter() - begun}
            harness.ask(merged.model, merged.tokenizer, "search")
            seconds |= both.seconds
            first = first or seconds
            if number:
                rounds.append(seconds)
                pairs += list(zip(*both.texts.values(), strict=True))
    finally:
        engines = both.vllm.started
        both.close()
    median = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
    vllm = median["merge"] + median["vllm: swap"] + median["vllm: generate"]
    return {
        "case": name,
        "parameters": sum(p.numel() for p in merged.model.parameters()),
        "first": first,
        "median": median,
        "total": {"hf": median["merge"] + median["hf: generate"], "vllm": vllm},
        "share of the swap": median["vllm: swap"] / vllm,
        "engines": engines,
        "answers": len(pairs),
        "differ": sum(hf != vllm for hf, vllm, _ in pairs),
        "differ when asked again": sum(vllm != again for _, vllm, again in pairs),
    }


def table(found: Sequence[dict[str, Any]]) -> Table:
    """The medians, side by side."""
    shown = Table()
    rows = ("merge", "hf: generate", "vllm: swap", "vllm: generate")
    for column in ("seconds", *(f"{f['case']} ({f['parameters']:,})" for f in found)):
        shown.add_column(column, justify="left" if column == "seconds" else "right")
    for row in rows:
        shown.add_row(row, *(f"{f['median'][row]:.2f}" for f in found))
    for name in ("hf", "vllm"):
        shown.add_row(f"{name}, in all", *(f"{f['total'][name]:.2f}" for f in found))
    shown.add_row("the swap's share", *(f"{f['share of the swap']:.1%}" for f in found))
    shown.add_row("engine's start", *(f"{f['first']['vllm: swap']:.1f}" for f in found))
    shown.add_row("engines", *(str(f["engines"]) for f in found))
    for row in ("differ", "differ when asked again"):
        shown.add_row(f"answers that {row}", *(f"{f[row]} of {f['answers']}" for f in found))
    return shown


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--items", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--threads", type=int, default=free_cores())
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    quiet_libraries()
    at = Path(tempfile.mkdtemp())
    try:
        small = family(ROOT / ".cache" / "tiny")
        task = write_continuations(small.tasks, at, tokens=args.tokens)
        found = [
            measured(
                "tiny", prepared(tiny_models(small, at), task, "float32", at, args), args.candidates
            )
        ]
        if args.real:
            models = list(smollm(ROOT / ".cache" / "smollm2").values())
            ready = prepared(models, task, "bfloat16", at, args)
            found.append(measured("SmolLM2-135M", ready, args.candidates))
    finally:
        shutil.rmtree(at, ignore_errors=True)
    Console(width=120).print(table(found))
    if args.json:
        told = {"versions": versions(), "threads": args.threads, "cases": found}
        args.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

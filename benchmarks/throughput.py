"""Seconds for one evaluation: the bare LM calls, ours, a loop of `run_merge`, the shell commands.

Rule: the ways take turns within one process tree, and medians are compared, because machines are
noisy; every way answers the same items and makes the same merge.

    python benchmarks/throughput.py [--rounds 5] [--shell-rounds 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from rich.console import Console
from rich.table import Table

from mergekit_mo.console import quiet_libraries
from mergekit_mo.evaluate import Evaluator, Job
from mergekit_mo.machine import free_cores
from mergekit_mo.merging import merge_options
from mergekit_mo.options import MergeFlags
from mergekit_mo.preflight import Ready, prepare
from mergekit_mo.testing import Family, family

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Case:
    """A recipe to evaluate one candidate of."""

    name: str
    ready: Ready
    config: dict[str, Any]
    folder: Path

    @property
    def samples(self) -> dict[str, list[int]]:
        """The search items, as lm-eval takes them."""
        return {asked.name: list(asked.items["search"]) for asked in self.ready.tasks}


def make_case(name: str, models: Mapping[str, Path], tasks: Path, limit: int, at: Path) -> Case:
    """A case of three experts on a base, merged by task arithmetic.

    Args:
        name: what it is called.
        models: folders of base, code, prose and arithmetic.
        tasks: the folder of the tiny tasks.
        limit: items of each task.
        at: a folder for its files.
    """
    at.mkdir(parents=True, exist_ok=True)
    experts = [str(folder) for key, folder in models.items() if key != "base"]
    recipe = {
        "merge_method": "task_arithmetic",
        "base_model": str(models["base"]),
        "dtype": "float32",
        "models": [
            {"model": e, "parameters": {"weight": {"value": 0.4, "low": 0, "high": 1}}}
            for e in experts
        ],
        "search": {
            "objectives": [
                {"task": str(tasks / f"{task}.yaml")}
                for task in ("tiny_code", "tiny_prose", "tiny_sums")
            ],
            "evaluation": {"limit": limit, "holdout": 0, "batch_size": 16, "device": "cpu"},
            "optimizer": "sobol",
        },
    }
    path = at / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    ready = prepare(path, MergeFlags(device="cpu"))
    config = ready.space.config(ready.space.starts()[0].unit)
    (at / "config.yaml").write_text(yaml.safe_dump(config))
    (at / "samples.json").write_text(
        json.dumps({asked.name: asked.items["search"] for asked in ready.tasks})
    )
    return Case(name, ready, config, at)


def large_models(small: Family, at: Path) -> dict[str, Path]:
    """A base and three experts of some 110 million random weights, with the tiny tokenizer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(small.base)
    config = transformers.LlamaConfig(
        vocab_size=16384,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    found = {}
    for seed, name in enumerate(("base", "code", "prose", "arithmetic")):
        found[name] = at / name
        if not found[name].is_dir():
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = transformers.AutoModelForCausalLM.from_config(config)
            model.save_pretrained(found[name])
            tokenizer.save_pretrained(found[name])
    return found


class Ways:
    """The four ways to evaluate a case's candidate, each a function without arguments."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.evaluator: Evaluator = case.ready.evaluator()
        warm = self.evaluator(Job(0, case.config))
        if warm.error:
            raise RuntimeError(warm.error)
        merged = self.evaluator.merger.merge(case.config)
        self.merged = merged
        asked = self.evaluator.harness.tasks.values()
        self.requests = [r for a in asked for i in a.items["search"] for r in a._requests[i]]

    def bare(self) -> None:
        """The LM calls alone, on prompts that are built, with the weights that are there."""
        harness = self.evaluator.harness
        harness.backend.respond(self.merged.model, self.merged.tokenizer, self.requests)

    def merge(self) -> None:
        """The merge alone, into the resident model."""
        self.evaluator.merger.merge(self.case.config)

    def ours(self) -> None:
        """One evaluation as a search does it, merge included."""
        outcome = self.evaluator(Job(0, self.case.config))
        assert outcome.error is None, outcome.error

    def plain_loop(self) -> None:
        """`run_merge` to disk, then `simple_evaluate`, in this process."""
        out = self.case.folder / "plain"
        shutil.rmtree(out, ignore_errors=True)
        options = merge_options(MergeFlags(), "cpu")
        merge = MergeConfiguration.model_validate(self.case.config)
        folder = self.case.ready.tasks[0].path.parent
        with contextlib.redirect_stderr(io.StringIO()), contextlib.chdir(folder):
            run_merge(merge, str(out), options)
            simple_evaluate(
                model="hf",
                model_args={"pretrained": str(out)},
                tasks=list(self.case.samples),
                samples=self.case.samples,
                batch_size=16,
                device="cpu",
                task_manager=TaskManager(include_defaults=False, include_path=str(folder)),
            )

    def shell(self) -> None:
        """`mergekit-yaml`, then `lm_eval`."""
        out = self.case.folder / "shell"
        shutil.rmtree(out, ignore_errors=True)
        folder = self.case.ready.tasks[0].path.parent
        tasks = ",".join(str(asked.path) for asked in self.case.ready.tasks)
        merge = [BIN / "mergekit-yaml", self.case.folder / "config.yaml", out]
        score = [BIN / "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={out}"]
        score += ["--tasks", tasks, "--device", "cpu", "--batch_size", "16"]
        score += ["--samples", self.case.folder / "samples.json"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        for command in (merge, score):
            subprocess.run(
                [str(word) for word in command],
                cwd=folder,
                env=environment,
                check=True,
                capture_output=True,
            )


def measure(case: Case, rounds: int, shell_rounds: int) -> dict[str, float]:
    """Median seconds of each way, the ways taking turns.

    Args:
        case: what is evaluated.
        rounds: of all but the shell.
        shell_rounds: of the shell commands.
    """
    ways = Ways(case)
    turns: dict[str, Callable[[], None]] = {
        "bare": ways.bare,
        "merge": ways.merge,
        "ours": ways.ours,
        "plain": ways.plain_loop,
        "shell": ways.shell,
    }
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for turn in range(rounds):
        for name, way in turns.items():
            if name == "shell" and turn >= shell_rounds:
                continue
            begun = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in seconds.items()}


def show(results: Mapping[str, Mapping[str, float]]) -> None:
    """Prints the table, and the ratios that matter."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("seconds, median")
    for name in results:
        table.add_column(name, justify="right")
    labels = {
        "bare": "bare LM calls on prebuilt prompts",
        "merge": "merge into the resident model",
        "ours": "one evaluation of ours, merge included",
        "plain": "run_merge to disk + simple_evaluate, one process",
        "shell": "mergekit-yaml, then lm_eval",
    }
    for key, label in labels.items():
        table.add_row(label, *(f"{result[key]:.2f}" for result in results.values()))
    ratios: dict[str, Callable[[Mapping[str, float]], float]] = {
        "ours ÷ (bare calls + merge)": lambda r: r["ours"] / (r["bare"] + r["merge"]),
        "plain loop ÷ ours": lambda r: r["plain"] / r["ours"],
        "shell ÷ ours": lambda r: r["shell"] / r["ours"],
    }
    for label, ratio in ratios.items():
        table.add_row(label, *(f"{ratio(result):.2f}" for result in results.values()))
    console.print(table)
    console.print(f"{free_cores()} cores, torch {torch.__version__}")


def main() -> None:
    """Measures both sizes and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shell-rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    quiet_libraries()
    small = family(ROOT / ".cache" / "tiny")
    tiny = {n: getattr(small, n) for n in ("base", "code", "prose", "arithmetic")}
    with tempfile.TemporaryDirectory() as scratch:
        at = Path(scratch)
        cases = [
            make_case("tiny, 0.6M", tiny, small.tasks, 100, at / "tiny"),
            make_case("110M", large_models(small, at / "large"), small.tasks, 16, at / "110m"),
        ]
        results = {case.name: measure(case, chosen.rounds, chosen.shell_rounds) for case in cases}
    show(results)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

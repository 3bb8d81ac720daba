"""Seconds for evaluations, log-likelihoods and merges: ours, and those of others.

Rule: the ways take turns within one process tree, and medians are compared, because machines are
noisy; every way answers the same items and makes merges of the same kind.

    python benchmarks/throughput.py [--rounds 5] [--shell-rounds 3] [--only sharing] [--json FILE]

The first run fetches a real model of 135M parameters into `.cache`: see `_smollm.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, only this folder is on the path
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from lm_eval import simple_evaluate  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402
from mergekit.config import MergeConfiguration  # noqa: E402
from mergekit.merge import run_merge  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from benchmarks._merge_speed import merges  # noqa: E402
from benchmarks._prompts import Shapes  # noqa: E402
from benchmarks._replay import Replay  # noqa: E402
from benchmarks._smollm import smollm  # noqa: E402
from benchmarks._turns import interleaved  # noqa: E402
from mergekit_mo.backends.hf import Transformers  # noqa: E402
from mergekit_mo.console import quiet_libraries  # noqa: E402
from mergekit_mo.evaluate import Evaluator, Job  # noqa: E402
from mergekit_mo.machine import free_cores, set_threads  # noqa: E402
from mergekit_mo.options import MergeFlags  # noqa: E402
from mergekit_mo.planning import merge_options  # noqa: E402
from mergekit_mo.preflight import Ready, prepare  # noqa: E402
from mergekit_mo.testing import family  # noqa: E402

BIN = Path(sys.executable).parent
BATCH = 16
FLAGS = MergeFlags()


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
            "evaluation": {"limit": limit, "holdout": 0, "batch_size": BATCH, "device": "cpu"},
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


class Ways:
    """The ways to evaluate a case's candidates, each a function without arguments.

    Every merge has weights of its own: what did not change would not be merged again.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.evaluator: Evaluator = case.ready.evaluator()
        self._draw = np.random.default_rng(0)
        warm = self.evaluator(Job(0, case.config))
        if warm.error:
            raise RuntimeError(warm.error)
        self.harness = self.evaluator.harness
        self.merged = self.evaluator.merger.merge(case.config)
        asked = self.harness.tasks.values()
        requests = [r for a in asked for i in a.items["search"] for r in a._requests[i]]
        self.replay = Replay(self.merged.model, self.merged.tokenizer, requests, BATCH)

    def _config(self) -> dict[str, Any]:
        """Another candidate's configuration."""
        space = self.case.ready.space
        config: dict[str, Any] = space.config(self._draw.random(space.dim).tolist())
        return config

    def bare(self) -> None:
        """lm-eval's calls of the model alone, on batches that are tokens already."""
        self.replay.bare()

    def answers(self) -> None:
        """Our evaluation but for the merge: calls, filters, metrics, standard errors."""
        self.harness.ask(self.merged.model, self.merged.tokenizer, "search")

    def merge(self) -> None:
        """The merge alone, into the resident model."""
        self.evaluator.merger.merge(self._config())

    def ours(self) -> None:
        """One evaluation as a search does it, merge included."""
        outcome = self.evaluator(Job(0, self._config()))
        assert outcome.error is None, outcome.error

    def plain_loop(self) -> None:
        """`run_merge` to disk, then `simple_evaluate`, in this process."""
        out = self.case.folder / "plain"
        shutil.rmtree(out, ignore_errors=True)
        options = merge_options(FLAGS, "cpu")
        merge = MergeConfiguration.model_validate(self._config())
        folder = self.case.ready.tasks[0].path.parent
        with contextlib.redirect_stderr(io.StringIO()), contextlib.chdir(folder):
            run_merge(merge, str(out), options)
            simple_evaluate(
                model="hf",
                model_args={"pretrained": str(out)},
                tasks=list(self.case.samples),
                samples=self.case.samples,
                batch_size=BATCH,
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
        score += ["--tasks", tasks, "--device", "cpu", "--batch_size", str(BATCH)]
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


def evaluations(case: Case, rounds: int, shell_rounds: int) -> dict[str, float]:
    """Median seconds of each way to evaluate a candidate.

    Args:
        case: what is evaluated.
        rounds: of all but the shell.
        shell_rounds: of the shell commands.
    """
    ways = Ways(case)
    turns: dict[str, Callable[[], None]] = {
        "bare": ways.bare,
        "answers": ways.answers,
        "merge": ways.merge,
        "ours": ways.ours,
        "plain": ways.plain_loop,
    }
    found = interleaved(turns, rounds)
    if shell_rounds:
        found |= interleaved({"shell": ways.shell, "beside": ways.ours}, shell_rounds)
    return found


def sharing(folder: Path, items: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of lm-eval's calls and of ours, and how far apart their answers are.

    Args:
        folder: a model's; it is asked in float32.
        items: of each shape of request.
        rounds: of each.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    results = {}
    for shape, requests in Shapes(tokenizer, items).all().items():
        backend = Transformers(BATCH)
        replay = Replay(model, tokenizer, requests, BATCH)
        ours = backend.respond(model, tokenizer, requests)
        turns: dict[str, Callable[[], object]] = {
            "lm-eval": replay.scored,
            "ours": partial(backend.respond, model, tokenizer, requests),
        }
        results[shape] = interleaved(turns, rounds)
        results[shape]["apart"] = _apart(ours, replay.answers)
    return results


def _apart(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """The largest difference between log-likelihoods; infinite where greedy answers differ."""
    largest = 0.0
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(one, tuple):
            largest = max(largest, abs(one[0] - other[0]))
            if one[1] != other[1]:
                return float("inf")
        else:
            largest = max(largest, abs(one - other))
    return largest


def show(results: Mapping[str, Any]) -> None:
    """Prints the tables, and the ratios that matter."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    if "evaluations" in results:
        console.print(_evaluations_table(results["evaluations"]))
    for name, found in results.get("sharing", {}).items():
        table = _table(f"log-likelihoods, {name}", "lm-eval, s", "ours, s", "times", "apart")
        for shape, row in found.items():
            times = f"{row['lm-eval'] / row['ours']:.2f}"
            table.add_row(
                shape, f"{row['lm-eval']:.2f}", f"{row['ours']:.2f}", times, f"{row['apart']:.0e}"
            )
        console.print(table)
    if "merges" in results:
        heads = ("first, s", "again, s", "run_merge, s", "copy, s", "times", "MB/s read")
        table = _table("merge of three, 135M, bfloat16", *heads)
        for method, row in results["merges"].items():
            seconds = [f"{row[key]:.2f}" for key in ("first", "ours", "run_merge", "copy")]
            rate = f"{row['megabytes'] / row['ours']:.0f}"
            table.add_row(method, *seconds, f"{row['run_merge'] / row['ours']:.2f}", rate)
        console.print(table)
    console.print(f"{free_cores()} cores, torch {torch.__version__}")


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, head in enumerate(heads):
        table.add_column(head, justify="right" if i else "left")
    return table


def _evaluations_table(results: Mapping[str, Mapping[str, float]]) -> Table:
    table = _table("seconds, median", *results)
    labels = {
        "bare": "lm-eval's bare calls, on batches of tokens",
        "answers": "our evaluation but for the merge",
        "merge": "merge into the resident model",
        "ours": "one evaluation of ours, merge included",
        "plain": "run_merge to disk + simple_evaluate, one process",
        "shell": "mergekit-yaml, then lm_eval",
    }
    ratios: dict[str, Callable[[Mapping[str, float]], float]] = {
        "ours but for the merge ÷ bare calls": lambda r: r["answers"] / r["bare"],
        "plain loop ÷ ours": lambda r: r["plain"] / r["ours"],
        "shell ÷ ours": lambda r: r["shell"] / r["beside"],
    }
    for key, label in labels.items():
        cells = (f"{found[key]:.2f}" if key in found else "" for found in results.values())
        table.add_row(label, *cells)
    for label, ratio in ratios.items():
        known = [
            found if label[:5] != "shell" or "shell" in found else None
            for found in results.values()
        ]
        table.add_row(label, *(f"{ratio(found):.2f}" if found else "" for found in known))
    return table


def main() -> None:
    """Measures and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shell-rounds", type=int, default=3)
    parser.add_argument("--only", choices=("evaluations", "sharing", "merges"), action="append")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    wanted = chosen.only or ["evaluations", "sharing", "merges"]
    quiet_libraries()
    set_threads(free_cores())
    small = family(ROOT / ".cache" / "tiny")
    tiny = {n: getattr(small, n) for n in ("base", "code", "prose", "arithmetic")}
    real = smollm(ROOT / ".cache" / "smollm2")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        at = Path(scratch)
        if "evaluations" in wanted:
            cases = [
                make_case("tiny, 0.6M", tiny, small.tasks, 100, at / "tiny"),
                make_case("SmolLM2-135M", real, small.tasks, 4, at / "135m"),
            ]
            results["evaluations"] = {
                case.name: evaluations(case, chosen.rounds, chosen.shell_rounds) for case in cases
            }
        if "sharing" in wanted:
            results["sharing"] = {
                "tiny, 0.6M": sharing(small.base, 100, chosen.rounds),
                "SmolLM2-135M": sharing(real["base"], 3, chosen.rounds),
            }
        if "merges" in wanted:
            results["merges"] = merges(real, at / "merged", chosen.rounds)
    show(results)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

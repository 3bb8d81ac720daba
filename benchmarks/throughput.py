"""Seconds for evaluations, log-likelihoods and merges: ours, and those of others.

Rule: the ways take turns within one process tree, and medians are compared, because machines are
noisy; every way answers the same items and makes merges of the same kind.

    python benchmarks/throughput.py [--only PART …] [--rounds 5] [--threads 1] [--json FILE]

With `--json` turns are added to those in the file, and the tables are of all of them, so that a
long measurement can be made part by part (`--rounds 0` draws them only). The first run fetches a
real model of 135M parameters into `.cache`: see `_smollm.py`.
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

import mergekit_mo  # noqa: E402, F401  # asks for large pages, which torch must find asked for

# isort: split
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

from benchmarks._merge_speed import METHODS, merges  # noqa: E402
from benchmarks._prompts import Shapes  # noqa: E402
from benchmarks._replay import Replay  # noqa: E402
from benchmarks._smollm import smollm  # noqa: E402
from benchmarks._turns import Rounds, Turns, interleaved, median  # noqa: E402
from mergekit_mo.backends.hf import Transformers  # noqa: E402
from mergekit_mo.console import quiet_libraries  # noqa: E402
from mergekit_mo.evaluate import Evaluator, Job  # noqa: E402
from mergekit_mo.likelihood import score_tokens  # noqa: E402
from mergekit_mo.machine import set_threads  # noqa: E402
from mergekit_mo.options import MergeFlags  # noqa: E402
from mergekit_mo.planning import merge_options  # noqa: E402
from mergekit_mo.preflight import Ready, prepare  # noqa: E402
from mergekit_mo.testing import family  # noqa: E402

BIN = Path(sys.executable).parent
BATCH = 16
FLAGS = MergeFlags()
PARTS = ("evaluations", "shell", "sharing", "merges")
SIZES = {"tiny": "tiny, 0.6M", "135M": "SmolLM2-135M"}
_ITEMS = {"tiny": 100, "135M": 4}  # of each task
_SHARED = {"tiny": 24, "135M": 3}  # of each shape of request


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
    # Or the evaluator would take all cores for its own.
    ready = prepare(path, MergeFlags(device="cpu", num_threads=torch.get_num_threads()))
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
        backend = Transformers(BATCH)
        wrapper = backend.wrapper(self.merged.model, self.merged.tokenizer)
        self.plan, _ = backend.plan(wrapper, requests)

    def _config(self) -> dict[str, Any]:
        """Another candidate's configuration."""
        space = self.case.ready.space
        config: dict[str, Any] = space.config(self._draw.random(space.dim).tolist())
        return config

    def bare(self) -> None:
        """lm-eval's calls of the model alone, on batches that are tokens already."""
        self.replay.bare()

    def calls(self) -> None:
        """Our own calls alone, shared beginnings and logarithms included."""
        score_tokens(self.merged.model, self.plan)

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
        threads = str(torch.get_num_threads())
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": threads}
        for command in (merge, score):
            subprocess.run(
                [str(word) for word in command],
                cwd=folder,
                env=environment,
                check=True,
                capture_output=True,
            )


def evaluations(case: Case, rounds: Rounds, turns: Turns) -> None:
    """Times the ways to evaluate a candidate, all but the shell commands."""
    ways = Ways(case)
    interleaved(
        {
            "bare": ways.bare,
            "calls": ways.calls,
            "answers": ways.answers,
            "merge": ways.merge,
            "ours": ways.ours,
            "plain": ways.plain_loop,
        },
        rounds,
        turns,
    )


def shell(case: Case, rounds: Rounds, turns: Turns) -> None:
    """Times the two shell commands, and our evaluations beside them."""
    ways = Ways(case)
    interleaved({"shell": ways.shell, "ours": ways.ours}, rounds, turns)


def sharing(folder: Path, items: int, rounds: Rounds, turns: dict[str, Turns]) -> dict[str, float]:
    """Times lm-eval's calls and ours on requests of several shapes.

    Args:
        folder: a model's; it is asked in float32.
        items: of each shape of request.
        rounds: of each.
        turns: by shape, what they take is added to.

    Returns:
        By shape, how far the answers are apart.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    apart = {}
    for shape, requests in Shapes(tokenizer, items).all().items():
        backend = Transformers(BATCH)
        replay = Replay(model, tokenizer, requests, BATCH)
        apart[shape] = _apart(backend.respond(model, tokenizer, requests), replay.answers)
        ways: dict[str, Callable[[], object]] = {
            "lm-eval": replay.scored,
            "ours": partial(backend.respond, model, tokenizer, requests),
        }
        interleaved(ways, rounds, turns.setdefault(shape, {}))
    return apart


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


def show(results: Mapping[str, Any], *, wall: bool) -> None:
    """Prints the tables, and the ratios that matter.

    Args:
        results: turns by part.
        wall: whether seconds are those of the wall clock.
    """
    console = Console(width=None if sys.stdout.isatty() else 140)
    for part in ("evaluations", "shell"):
        known = {name: results[f"{part} {key}"] for key, name in SIZES.items()
                 if f"{part} {key}" in results}  # fmt: skip
        if known:
            console.print(_ways_table(part, known, wall=wall))
    for key, name in SIZES.items():
        if found := results.get(f"sharing {key}"):
            table = _table(f"log-likelihoods, {name}", "lm-eval, s", "ours, s", "times", "apart")
            for shape, turns in found["turns"].items():
                theirs, ours = (median(turns, way, wall=wall) for way in ("lm-eval", "ours"))
                apart = f"{found['apart'][shape]:.0e}"
                table.add_row(shape, f"{theirs:.3f}", f"{ours:.3f}", f"{theirs / ours:.2f}", apart)
            console.print(table)
    ways = ("first", "ours", "run_merge", "copy")
    if known := {method: results[f"merges {method}"] for method in METHODS
                 if f"merges {method}" in results}:  # fmt: skip
        heads = ("first, s", "again, s", "run_merge, s", "copy, s", "times", "MB/s read")
        table = _table("merge of three, 135M, bfloat16", *heads)
        for method, found in known.items():
            seconds = {way: median(found["turns"], way, wall=wall) for way in ways}
            cells = [f"{seconds[way]:.2f}" for way in ways]
            rate = f"{found['megabytes'] / seconds['ours']:.0f}"
            table.add_row(method, *cells, f"{seconds['run_merge'] / seconds['ours']:.2f}", rate)
        console.print(table)
    what = "by the wall clock" if wall else "of the processor"
    console.print(f"seconds {what}, {results['threads']} threads, torch {torch.__version__}")


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, head in enumerate(heads):
        table.add_column(head, justify="right" if i else "left")
    return table


_LABELS = {
    "bare": "lm-eval's bare calls, on batches of tokens",
    "calls": "our bare calls, on batches of tokens",
    "answers": "our evaluation but for the merge",
    "merge": "merge into the resident model",
    "shell": "mergekit-yaml, then lm_eval",
    "ours": "one evaluation of ours, merge included",
    "plain": "run_merge to disk + simple_evaluate, one process",
}
_RATIOS = {
    "evaluations": (("answers", "bare"), ("answers", "calls"), ("plain", "ours")),
    "shell": (("shell", "ours"),),
}


def _ways_table(part: str, results: Mapping[str, Any], *, wall: bool) -> Table:
    table = _table(f"{part}, median seconds", *results)
    found = [row["turns"] for row in results.values()]
    for way in found[0]:
        cells = [f"{median(turns, way, wall=wall):.2f}" for turns in found]
        table.add_row(_LABELS[way], *cells)
    for one, other in _RATIOS[part]:
        ratios = (median(t, one, wall=wall) / median(t, other, wall=wall) for t in found)
        table.add_row(f"{one} ÷ {other}", *(f"{ratio:.2f}" for ratio in ratios))
    return table


def parts() -> list[str]:
    """The names of what can be measured by itself."""
    sized = [f"{part} {size}" for part in PARTS[:-1] for size in SIZES]
    return [*sized, *(f"merges {method}" for method in METHODS)]


def measure(part: str, rounds: Rounds, known: dict[str, Any]) -> None:
    """Adds turns of one part to those that are known."""
    found: dict[str, Any] = known.setdefault(part, {"turns": {}})
    kind, _, which = part.partition(" ")
    small, real = family(ROOT / ".cache" / "tiny"), smollm(ROOT / ".cache" / "smollm2")
    tiny = {n: getattr(small, n) for n in ("base", "code", "prose", "arithmetic")}
    models = tiny if which == "tiny" else real
    with tempfile.TemporaryDirectory() as scratch:
        at = Path(scratch)
        if kind == "merges":
            found |= merges(which, real, at / "merged", rounds, found["turns"])
        elif kind == "sharing":
            found["apart"] = sharing(models["base"], _SHARED[which], rounds, found["turns"])
        else:
            case = make_case(SIZES[which], models, small.tasks, _ITEMS[which], at / which)
            timed = evaluations if kind == "evaluations" else shell
            timed(case, rounds, found["turns"])


def main() -> None:
    """Measures and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=parts(), nargs="+", default=parts(), metavar="PART")
    parser.add_argument("--wall", action="store_true", help="seconds by the wall clock")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    quiet_libraries()
    set_threads(chosen.threads)
    results: dict[str, Any] = {}
    if chosen.json and chosen.json.exists():
        results = json.loads(chosen.json.read_text())
    if results.setdefault("threads", chosen.threads) != chosen.threads:
        raise SystemExit(f"{chosen.json} holds turns with {results['threads']} threads")

    def keep() -> None:
        if chosen.json:
            chosen.json.write_text(json.dumps(results, indent=1))

    for part in chosen.only if chosen.rounds else ():
        measure(part, Rounds(chosen.rounds, keep), results)
        keep()
    show(results, wall=chosen.wall)


if __name__ == "__main__":
    main()

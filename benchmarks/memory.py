"""Memory of a merge and its scoring, each in a process of its own, against what is foretold.

Rule: what counts is memory that nobody can take back (Linux: RssAnon), seen every 2 ms, from the
second merge on, when the resident model is whole. Pages of the source files are mapped and belong
to the system's cache; the largest group's are added, as these are in use at that moment.

    python benchmarks/memory.py [--models wide sharded 135M] [--methods linear ties …] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

import mergekit_mo  # noqa: F401  # asks for large pages, as a search does

if TYPE_CHECKING:
    from mergekit_mo.options import MergeFlags
    from mergekit_mo.sizes import Size

SHAPES: dict[str, dict[str, Any]] = {
    # One tensor outweighs all others, so that a method's own needs show.
    "wide": {"layers": 1, "hidden": 64, "inner": 128, "vocab": 262_144, "shards": 1},
    "sharded": {"layers": 12, "hidden": 512, "inner": 1408, "vocab": 32_768, "shards": 8},
    "135M": {"layers": 30, "hidden": 576, "inner": 1536, "vocab": 49_152, "shards": 1},
}
"""Random weights, bfloat16, tied embeddings; the last has the shape of SmolLM2-135M."""

METHODS = (
    *("linear", "task_arithmetic", "ties", "dare_ties", "slerp", "nuslerp", "multislerp"),
    *("breadcrumbs", "breadcrumbs_ties", "dare_linear", "della", "della_linear", "sce"),
    *("model_stock", "karcher", "passthrough", "arcee_fusion", "nearswap"),
)
EXPERTS = 3
_OF_ONE = ("slerp", "nearswap", "arcee_fusion", "passthrough")
_OF_TWO = ("nuslerp",)
_BASELESS = ("linear", "karcher", "passthrough")


def make_models(shape: dict[str, Any], folder: Path) -> list[Path]:
    """A base and its experts."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from mergekit_mo.testing.untrained import _tokenizer

    config = AutoConfig.for_model(
        "llama",
        hidden_size=shape["hidden"],
        intermediate_size=shape["inner"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["hidden"] // 64,
        num_key_value_heads=max(1, shape["hidden"] // 192),
        vocab_size=shape["vocab"],
        tie_word_embeddings=True,
        max_position_embeddings=512,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    size = sum(p.numel() * 2 for p in model.parameters())
    found = []
    for number in range(1 + EXPERTS):
        at = folder / f"m{number}"
        if number:
            with torch.no_grad():
                for weight in model.parameters():
                    weight.add_(torch.randn_like(weight) * 0.01)
        model.save_pretrained(at, max_shard_size=-(-size // shape["shards"]) + 1)
        _tokenizer().save_pretrained(at)
        found.append(at)
    return found


def configuration(method: str, models: list[str], dtype: str) -> dict[str, Any]:
    """A merge by a method of as many models as it takes."""
    base, *experts = models
    count = 1 if method in _OF_ONE else 2 if method in _OF_TWO else len(experts)
    parameters: dict[str, Any] = {}
    if method not in ("slerp", "nearswap", "karcher", "model_stock", "passthrough", "arcee_fusion"):
        parameters["weight"] = 0.4
    if any(part in method for part in ("ties", "dare", "della", "breadcrumbs")):
        parameters["density"] = 0.6
    chosen = [{"model": m, "parameters": dict(parameters)} for m in experts[:count]]
    result: dict[str, Any] = {"merge_method": method, "dtype": dtype, "models": chosen}
    if method not in _BASELESS:
        result["base_model"] = base
    if method == "slerp":
        result["models"] = [{"model": base}, *result["models"]]
    if method in ("slerp", "nearswap"):
        result["parameters"] = {"t": 0.5 if method == "slerp" else 0.001}
    return result


def anonymous() -> int:
    """Bytes that this process holds and nobody can take back."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this needs Linux")


@contextmanager
def watched() -> Iterator[list[int]]:
    """The most of it while a block runs."""
    peak, over = [anonymous()], threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            peak[0] = max(peak[0], anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def measure(method: str, models: list[str], dtype: str) -> dict[str, Any]:
    """Runs in a process of its own: merges three times, watching from the second on."""
    import torch

    from mergekit_mo.harness import Harness
    from mergekit_mo.memory import merge_bytes
    from mergekit_mo.merging import Merger
    from mergekit_mo.options import MergeFlags

    del Harness  # it is here for what its import takes
    torch.set_num_threads(1)
    flags = MergeFlags(num_threads=1)
    chosen = configuration(method, models, dtype)
    size = size_here(chosen, flags)
    before = anonymous()
    merger = Merger(flags, "cpu")
    merger.merge(chosen)
    for entry in chosen["models"]:  # what did not change would not be merged again
        if "weight" in entry.get("parameters", {}):
            entry["parameters"]["weight"] = 0.41
    held, start = anonymous(), time.perf_counter()
    with watched() as peak:
        merger.merge(chosen)
    return {
        "method": method,
        "dtype": dtype,
        "group": size.group,
        "model": size.model,
        "k": (peak[0] - held + size.group) / size.group,
        "before": before,
        "peak": peak[0] + size.group,
        "foretold": before + size.model + merge_bytes([method], size),
        "seconds": time.perf_counter() - start,
    }


def size_here(chosen: dict[str, Any], flags: MergeFlags) -> Size:
    """The sizes of a configuration's merge, as a search is told them."""
    from mergekit_mo.merging import parse_reference
    from mergekit_mo.planning import merge_options, plan_merge
    from mergekit_mo.sizes import size_of
    from mergekit_mo.sources import header_only, read_header

    options = merge_options(flags, "cpu")
    names = {entry["model"] for entry in chosen["models"]}
    names |= {chosen["base_model"]} if "base_model" in chosen else set()
    known = {name: read_header(parse_reference(name), options) for name in sorted(names)}
    headers = {name: header for name, header in known.items() if header is not None}
    with header_only(headers):
        found = size_of(plan_merge(chosen, options), headers)
    assert found is not None
    return found


def main() -> None:
    """Measures every model and method, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--methods", nargs="+", default=["task_arithmetic", "dare_ties", "ties"])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(**json.loads(args.case))))
        return
    found = []
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            models = [str(path) for path in make_models(SHAPES[name], Path(folder))]
            for method in METHODS if args.methods == ["all"] else args.methods:
                for dtype in args.dtypes:
                    case = {"method": method, "models": models, "dtype": dtype}
                    found.append({"model_name": name, **in_process(case)})
                    print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    show(found)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


def in_process(case: dict[str, Any]) -> dict[str, Any]:
    """A case, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--case", json.dumps(case)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"method": case["method"], "error": done.stderr.strip().splitlines()[-1]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def show(found: list[dict[str, Any]]) -> None:
    """The table."""
    table = Table("model", "method", "dtype", "group MB", "k", "peak MB", "foretold MB", "off")
    for row in found:
        if "error" in row:
            table.add_row(row["model_name"], row["method"], row["error"])
            continue
        off = row["foretold"] / row["peak"] - 1
        sizes = [f"{row[key] / 1e6:.0f}" for key in ("peak", "foretold")]
        group, k = f"{row['group'] / 1e6:.0f}", f"{row['k']:.2f}"
        table.add_row(
            row["model_name"], row["method"], row["dtype"], group, k, *sizes, f"{off:+.0%}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()

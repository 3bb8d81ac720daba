"""Merges of three experts by several methods: ours in memory, mergekit's to disk, a plain copy.

Rule: every merge has numbers of its own, since what did not change is not merged again. mergekit's
are made in a process of its own, where nothing of ours makes them faster.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any

if __name__ == "__main__":  # the process of mergekit's own merges
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge

from benchmarks._turns import Rounds, Told, Turns, interleaved, timed
from mergekit_mo.merging import Merger
from mergekit_mo.options import MergeFlags
from mergekit_mo.planning import merge_options

METHODS = ("linear", "task_arithmetic", "ties", "dare_ties")


class _Maker:
    """Makes merges by one method."""

    def __init__(self, method: str, models: Mapping[str, Path], at: Path) -> None:
        self.method = method
        self.models = models
        self.at = at
        self.merger = Merger(MergeFlags(device="cpu"), "cpu", orders=2**32)
        self._draw = np.random.default_rng(0)

    def _config(self) -> dict[str, Any]:
        """Another configuration."""
        given = {"weight": round(float(self._draw.uniform(0.2, 0.6)), 3)}
        if "ties" in self.method:
            given["density"] = round(float(self._draw.uniform(0.4, 0.8)), 3)
        experts = (str(folder) for name, folder in self.models.items() if name != "base")
        base = {} if self.method == "linear" else {"base_model": str(self.models["base"])}
        return {
            "merge_method": self.method,
            **base,
            "models": [{"model": expert, "parameters": dict(given)} for expert in experts],
            "dtype": "bfloat16",
        }

    def ours(self) -> torch.nn.Module:
        """A merge into the resident model."""
        model: torch.nn.Module = self.merger.merge(self._config()).model
        return model


class _Mergekit:
    """`run_merge` in another process.

    Args:
        maker: of the configurations.
        into: takes what is asked for.
        out: gives what it took.
    """

    def __init__(self, maker: _Maker, into: IO[str], out: IO[str]) -> None:
        self.maker = maker
        self.into = into
        self.out = out

    def to_disk(self) -> Told:
        """One merge."""
        asked = {"config": self.maker._config(), "threads": torch.get_num_threads()}
        self.into.write(json.dumps({**asked, "at": str(self.maker.at)}) + "\n")
        self.into.flush()
        return Told(**json.loads(self.out.readline()))


@contextmanager
def _mergekit(maker: _Maker) -> Iterator[_Mergekit]:
    """The other process, which has none of our settings."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "THP_MEM_ALLOC_ENABLE": "0"},
    )
    assert process.stdin
    assert process.stdout
    with process:
        yield _Mergekit(maker, process.stdin, process.stdout)
        process.stdin.close()


def _answer() -> None:
    """What the other process does."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    for line in sys.stdin:
        asked = json.loads(line)
        torch.set_num_threads(asked["threads"])
        shutil.rmtree(asked["at"], ignore_errors=True)
        merge = MergeConfiguration.model_validate(asked["config"])
        options = merge_options(MergeFlags(), "cpu")
        told = timed(partial(run_merge, merge, asked["at"], options))
        out.write(json.dumps(asdict(told)) + "\n")
        out.flush()


def merges(
    method: str, models: Mapping[str, Path], at: Path, rounds: Rounds, turns: Turns
) -> dict[str, float]:
    """Times merges by a method: ours, mergekit's to disk, and a copy of the result.

    Args:
        method: mergekit's name of it.
        models: folders of base and experts, in bfloat16.
        at: a folder for what `run_merge` writes.
        rounds: of each.
        turns: what they take is added to; `first` is a merge into nothing.

    Returns:
        The megabytes of the sources that are read.
    """
    maker = _Maker(method, models, at)
    interleaved({"first": maker.ours}, Rounds(1, rounds.keep), turns)
    model = maker.ours()
    flat = torch.cat([p.reshape(-1) for p in model.parameters()])
    with _mergekit(maker) as mergekit:
        mergekit.to_disk()
        ways: dict[str, Callable[[], object]]
        ways = {"ours": maker.ours, "run_merge": mergekit.to_disk, "copy": flat.clone}
        interleaved(ways, rounds, turns)
    sources = len(models) - (method == "linear")
    return {"megabytes": sources * flat.numel() * flat.element_size() / 1e6}


if __name__ == "__main__":
    _answer()

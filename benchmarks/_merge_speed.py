"""Merges of three experts by several methods: ours in memory, mergekit's to disk, a plain copy.

Rule: every merge has numbers of its own, since what did not change is not merged again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge

from benchmarks._turns import Rounds, Turns, interleaved
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

    def to_disk(self) -> None:
        """Mergekit's own merge."""
        shutil.rmtree(self.at, ignore_errors=True)
        merge = MergeConfiguration.model_validate(self._config())
        run_merge(merge, str(self.at), merge_options(MergeFlags(), "cpu"))


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
    ways: dict[str, Callable[[], object]]
    ways = {"ours": maker.ours, "run_merge": maker.to_disk, "copy": flat.clone}
    interleaved(ways, rounds, turns)
    sources = len(models) - (method == "linear")
    return {"megabytes": sources * flat.numel() * flat.element_size() / 1e6}

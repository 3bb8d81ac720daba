"""What a search takes of memory and disk, foretold before any weight is read, and what there is.

Rule: a forecast is made of sizes that headers tell and of one measured factor for each method;
`benchmarks/memory.py` holds it against what processes really take. Pages of the source files count
once, for the group of tensors at hand: the others the system takes back when it needs them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergekit_mo import machine
from mergekit_mo.sizes import Size

FACTORS: Mapping[str, float] = {
    "arcee_fusion": 3.5,
    "breadcrumbs": 4.0,
    "breadcrumbs_ties": 4.8,
    "dare_linear": 3.0,
    "dare_ties": 3.9,
    "della": 5.0,
    "della_linear": 5.0,
    "karcher": 5.4,
    "linear": 2.4,
    "model_stock": 2.5,
    "multislerp": 4.0,
    "nearswap": 3.5,
    "nuslerp": 3.4,
    "passthrough": 2.0,  # the tensor, and a copy in another number format
    "sce": 4.4,
    "slerp": 3.4,
    "task_arithmetic": 2.5,
    "ties": 5.1,
}
"""The most that a merge holds above the resident model, in groups of tensors, itself included.

Measured in bfloat16 on a processor, of a base and three experts, or as many as the method takes.
"""

UNKNOWN = 6.0
"""The factor of a method that was not measured, larger than any that was."""

_WIDENED = 1.5  # of what tensors gain that are cast before they are merged
_LOGITS = 2**25  # of one call on a processor, see `calls`
_LATER = 250_000_000  # optimizers, pictures and reports, imported once they are needed
_CONTEXT = 600_000_000  # what a GPU's driver keeps for a process
_QUANTISED = {"4bit": 0.35, "8bit": 0.6}  # of a model in 16 bits, its embeddings whole
_RUN = 3_000_000  # of a run folder that holds next to nothing: the report and the pictures
_ANSWER = 24  # bytes of an item's answer, compressed


@dataclass(frozen=True)
class Forecast:
    """What a search will take, in bytes.

    Attributes:
        ram: the most memory of this machine, of all processes together.
        held: what of that is held already.
        gpu: the most memory of one GPU; 0 where none is used.
        disk: what is written to the run folder, merged adapters included.
        download: what the Hub's client will fetch, if it is not there already.
    """

    ram: int
    held: int
    gpu: int
    disk: int
    download: int

    def text(self) -> str:
        """For people."""
        parts = [f"{_gb(self.ram)} of memory"]
        parts += [f"{_gb(self.gpu)} on the GPU"] if self.gpu else []
        parts += [f"{_gb(self.disk)} of disk"]
        parts += [f"up to {_gb(self.download)} of downloads"] if self.download else []
        return ", ".join(parts)

    def facts(self) -> dict[str, int]:
        """Plain JSON."""
        return {name: value for name, value in vars(self).items() if name != "held"}


@dataclass(frozen=True)
class Plans:
    """What of a recipe decides what it takes.

    Attributes:
        methods: the merge methods that are searched.
        gpu: whether models are merged and scored on a GPU.
        load_in: `4bit` or `8bit`, where a quantised copy is scored.
        growth: the largest model that layer paths make, beside the merge; 0 where they are none.
        adapters: sources with a LoRA, which are merged with it to disk.
        workers: processes that merge and score beside this one; 0 where this one does.
        logits: the most that one call of a model could want.
        answers: items that are answered over all trials.
    """

    methods: Sequence[str]
    gpu: bool = False
    load_in: str | None = None
    growth: float = 0.0
    adapters: int = 0
    workers: int = 0
    logits: int = _LOGITS
    answers: int = 0


def forecast(size: Size, plans: Plans, held: int | None = None) -> Forecast:
    """What a search takes.

    Args:
        size: of a merge.
        plans: for it.
        held: bytes that a process holds before the first merge; None for this one, now.
    """
    held = held_now() if held is None else held
    model = round(size.model * max(1.0, plans.growth))
    stock = size.model if plans.growth else 0  # the merge, kept beside the path that is scored
    width = size.model / max(size.parameters, 1)
    merging = merge_bytes(plans.methods, size)
    scoring = round(2 * min(plans.logits, _LOGITS) * width)  # logits and their logarithms
    copy = round(_QUANTISED[plans.load_in] * 2 * size.parameters) if plans.load_in else 0
    gpu = 0
    if plans.gpu:
        on_gpu = copy if plans.load_in else model
        gpu = _CONTEXT + on_gpu + max(merging, scoring)
        each = stock + merging + (model if plans.load_in else 0)
    else:
        each = model + stock + copy + max(merging, scoring)
    ram = held + _LATER + (plans.workers * (held + each) if plans.workers else each)
    disk = _RUN + plans.answers * _ANSWER + plans.adapters * size.model
    return Forecast(ram, held, gpu, disk, size.download)


def merge_bytes(methods: Sequence[str], size: Size) -> int:
    """What a merge by any of some methods holds above the resident model, at most."""
    factor = max(FACTORS.get(method, UNKNOWN) for method in methods)
    return round(factor * size.group + _WIDENED * max(0, size.group - size.largest))


def shortage(found: Forecast, gpu: int | None, folder: Path) -> tuple[str, str]:
    """What there is too little of for a search, and the way out; empty where all of it fits.

    Args:
        found: what it takes.
        gpu: bytes that are free on the GPU; None where none is used or that cannot be told.
        folder: where it writes.
    """
    free = free_memory()
    if free is not None and found.ram - found.held > free:
        what = (
            f"this search takes {_gb(found.ram)} of memory, and {_gb(free + found.held)} are there"
        )
        return what, "fewer workers, a method that needs less (linear), or smaller sources"
    if gpu is not None and found.gpu > gpu:
        what = f"this search takes {_gb(found.gpu)} on the GPU, and {_gb(gpu)} are free"
        return what, "merge and score with --device cpu, or score with load_in: 4bit"
    at = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.is_dir())
    room = shutil.disk_usage(at).free
    if found.disk > room:
        return f"this search writes {_gb(found.disk)}, and {_gb(room)} are free", "make room"
    return "", ""


def held_now() -> int:
    """Bytes of memory that this process holds, files that it maps left out where that is told."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rows = dict(line.partition(":")[::2] for line in status.splitlines())
    found = rows.get("RssAnon") or rows.get("VmRSS") or "0"
    return int(found.split()[0]) * 1024


def free_memory() -> int | None:
    """Bytes of memory that can still be had here, its container's bounds kept; None if unknown."""
    found = [machine.free_memory()] if machine.free_memory() else []
    try:
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text())
        found.append(most - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # none, or "max"
        pass
    return min(found, default=None)


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size < 1e10 else f"{size / 1e9:.0f} GB"

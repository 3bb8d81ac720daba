"""What this machine gives and what is installed on it; threads are set here and nowhere else.

Rule: torch with more threads than free cores is ten to twenty times slower, and merges are only
bit-identical at the same number of threads, so the number is taken once and recorded.
"""

from __future__ import annotations

import gc
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

RECORDED = ("mergekit-mo", "mergekit", "torch", "transformers", "botorch", "lm-eval", "moocore")


def free_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(count: int) -> None:
    """Gives torch, and what it calls, that many threads."""
    import torch

    torch.set_num_threads(count)


def free_memory() -> int:
    """Bytes of main memory that could be had now without swapping; 0 where nothing tells."""
    import psutil

    return int(psutil.virtual_memory().available)


@contextmanager
def uncollected() -> Iterator[None]:
    """Keeps Python from looking for circular garbage during a block that leaves none behind.

    It looks after every 700 objects, through all that were ever made after some thousands; a plan
    of a merge is many objects, and all are kept (seen: a twentieth of a merge at 135M).
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextmanager
def one_thread() -> Iterator[None]:
    """Gives torch and every BLAS one thread for a block, and what they had back after it.

    Matrices of a hundred rows gain nothing by more; on a busy machine OpenBLAS waits for its other
    threads at each call (seen: 15 times slower), and the last bits would depend on their number.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    try:
        with threadpool_limits(limits=1):
            torch.set_num_threads(1)
            yield
    finally:
        torch.set_num_threads(before)


def resolve_device(name: str) -> str:
    """The device that `auto` stands for here: a GPU where there is one."""
    if name != "auto":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "xpu" if hasattr(torch, "xpu") and torch.xpu.is_available() else "cpu"


def versions() -> dict[str, str]:
    """The versions that results depend on."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe() -> str:
    """The machine in a line, for the records of a run."""
    return f"{platform.machine()}, {free_cores()} cores, {sys.platform}"

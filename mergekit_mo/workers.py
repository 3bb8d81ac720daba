"""Who runs the trials, and with what: how many workers, their cores and their GPUs.

Rule: nothing here changes a score but the threads, which a run records when it begins; so a run may
go on with other workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mergekit_mo.machine import free_cores, resolve_device
from mergekit_mo.optional import require
from mergekit_mo.options import MergeFlags
from mergekit_mo.problems import Problem, UserError

INLINE, PROCESSES, RAY = "inline", "processes", "ray"


@dataclass(frozen=True)
class Workers:
    """What the user says of the workers.

    Attributes:
        executor: the kind of executor.
        count: how many; None for one on each GPU, or group of GPUs.
        gpus_per_trial: whole GPUs for each worker; None for one, where models are on GPUs.
        ray_address: of the Ray cluster to work on; None for a Ray of the search's own.
    """

    executor: str = INLINE
    count: int | None = None
    gpus_per_trial: int | None = None
    ray_address: str | None = None

    @property
    def gpus(self) -> int:
        """Whole GPUs for each worker; 0 where it has none of its own."""
        return self.gpus_per_trial or 0


@dataclass(frozen=True)
class Node:
    """A machine that workers may run on.

    Attributes:
        cores: that they may use.
        gpus: likewise.
    """

    cores: int
    gpus: int

    def takes(self, gpus: int) -> int:
        """How many workers with so many GPUs fit."""
        return self.gpus // gpus


@dataclass(frozen=True)
class Settled:
    """What a search goes by.

    Attributes:
        workers: with their number.
        device: where they merge and score.
        threads: of each.
    """

    workers: Workers
    device: str
    threads: int


def settle(workers: Workers, flags: MergeFlags, device: str) -> Settled:
    """Sees that there can be such workers, and how many cores each of them gets.

    With the address of a Ray cluster, this process is connected to it from here on.

    Args:
        workers: as the user wants them.
        flags: mergekit's.
        device: that the recipe names; `auto` where it names none.

    Raises:
        UserError: they contradict each other or the machines.
    """
    device = flags.named_device(device)
    if workers.executor == INLINE:
        _refuse_idle_flags(workers)
        return Settled(workers, resolve_device(device), flags.num_threads or free_cores())
    if workers.ray_address and workers.executor != RAY:
        raise _error(f"--ray-address is of no use to the executor {workers.executor}")
    if ":" in device:
        what = f"{device} is one device, and every worker has its own"
        raise _error(f"{what}: say --device {device.partition(':')[0]}")
    nodes = _nodes(workers)
    if device == "auto":
        device = "cuda" if any(node.gpus for node in nodes) else resolve_device(device)
    workers = _counted(workers, nodes, device)
    assert workers.count
    return Settled(workers, device, flags.num_threads or _share(nodes, workers))


def unusable(device: str, flags: MergeFlags) -> Problem | None:
    """Why torch cannot put a model on a device, if it cannot."""
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # each backend its own
        reason = str(error).strip().partition("\n")[0]
        asked = flags.named_device("")
        place = () if asked else ("search", "evaluation", "device")
        what = f"torch cannot use the device {device!r} here: {reason}"
        return Problem(place, what, "devices are cpu, cuda, cuda:1, …; auto finds one")
    return None


def _refuse_idle_flags(workers: Workers) -> None:
    """Refuses flags that would be ignored without a word."""
    given = {
        "--workers": workers.count if workers.count != 1 else None,
        "--gpus-per-trial": workers.gpus_per_trial,
        "--ray-address": workers.ray_address,
    }
    for flag, value in given.items():
        if value is not None:
            what = f"{flag} {value} needs several workers, and inline has one"
            raise _error(f"{what}: say --executor {RAY if 'ray' in flag else PROCESSES}")


def _counted(workers: Workers, nodes: Sequence[Node], device: str) -> Workers:
    """The workers with their number and their GPUs."""
    if device != "cuda":
        if workers.gpus_per_trial:
            what = f"--gpus-per-trial {workers.gpus_per_trial}, but models are on {device}"
            raise _error(f"{what}: say --device cuda, or leave it out")
        if workers.count is None:
            what = f"how many workers? On {device} each has its own models in the same memory"
            raise _error(f"{what}: say --workers N")
        return workers
    each = workers.gpus_per_trial or 1
    most = sum(node.takes(each) for node in nodes)
    count = most if workers.count is None else workers.count
    if not 0 < count <= most:
        there = ", ".join(str(node.gpus) for node in nodes)
        what = f"{max(count, 1)} workers of {each} GPUs each, but there are GPUs for {most}"
        raise _error(f"{what} (on each machine: {there}): lower --workers or --gpus-per-trial")
    return replace(workers, count=count, gpus_per_trial=each)


def _nodes(workers: Workers) -> list[Node]:
    """The machines that there are."""
    if workers.executor == RAY:
        require("ray", "--executor ray")
    if not workers.ray_address:
        import torch

        return [Node(free_cores(), torch.cuda.device_count())]
    from mergekit_mo.executors.ray import join

    return [Node(cores, gpus) for cores, gpus in join(workers.ray_address)]


def _share(nodes: Sequence[Node], workers: Workers) -> int:
    """Cores for each worker, so that all of them fit."""
    assert workers.count
    share = sum(node.cores for node in nodes) // workers.count
    while share > 1 and sum(_fitting(node, share, workers.gpus) for node in nodes) < workers.count:
        share -= 1
    return max(1, share)


def _fitting(node: Node, cores: int, gpus: int) -> int:
    """How many workers of so many cores and GPUs a machine takes."""
    fitting = node.cores // cores
    return min(fitting, node.takes(gpus)) if gpus else fitting


def _error(text: str) -> UserError:
    return UserError(text, status=2)


__all__ = ["INLINE", "PROCESSES", "RAY", "Node", "Settled", "Workers", "settle", "unusable"]

"""Workers on a Ray cluster, or on a Ray of this search's own: an actor for each.

Rule: actors compute and this process alone writes; Ray's own retries are off, since a job that runs
again needs a new lease.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mergekit_mo.executors import Job, Result, Work
from mergekit_mo.executors._crew import PATIENCE, Crew, Hands, Report, answer
from mergekit_mo.executors._reaper import guarded
from mergekit_mo.optional import require
from mergekit_mo.problems import UserError

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

_STORE = 128 * 2**20  # bytes of shared memory of a Ray of our own: jobs and answers are small
_BEATS = 10  # signs of life within the patience
_KNOCK = 10.0  # seconds in which a cluster's machine answers


class Ray(Crew[Job, Result]):
    """Runs jobs in Ray actors, each with its own models in memory.

    Args:
        make: makes what a worker does, inside the worker; picklable.
        slots: how many workers.
        gave_up: the result of a job that too many workers have died of, with the reason.
        cpus: cores for each worker.
        gpus: whole GPUs for each worker, all of one node.
        address: of a cluster; None for the one that is connected, or else one of our own, which
            ends with the search.
        patience: seconds without a sign of life after which a worker counts as dead.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self,
        make: Callable[[], Work[Job, Result]],
        slots: int,
        gave_up: Callable[[Job, str], Result],
        *,
        cpus: int = 1,
        gpus: int = 0,
        address: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        with contextlib.ExitStack() as undo:
            undo.enter_context(connected(address, cpus=slots * cpus))
            hands = _Actors(make, cpus=cpus, gpus=gpus, patience=patience)
            super().__init__(hands, slots, gave_up, patience)
            self._undo = undo.pop_all()

    def close(self) -> None:
        """See `Executor.close`."""
        super().close()
        self._undo.close()


def join(address: str) -> list[tuple[int, int]]:
    """Connects this process to a cluster until it ends; the cores and GPUs of each machine there.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    import ray

    if not ray.is_initialized():
        _connect(address)
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in alive]


@contextlib.contextmanager
def connected(address: str | None = None, *, cpus: int | None = None) -> Iterator[None]:
    """Connects to Ray for a block, unless this process is connected already.

    Args:
        address: of a cluster; None to start one on this machine, which ends with the block.
        cpus: how many cores a cluster of our own should think that it has.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    require("ray", "the executor ray")
    import ray

    if ray.is_initialized():
        yield
        return
    with contextlib.ExitStack() as undo:
        if address is None:
            folder = tempfile.mkdtemp(prefix="mergekit-mo-")
            # Where a search was killed, Ray's helpers look for its head for a minute.
            undo.enter_context(guarded(Path(folder)))
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            # Ray makes its workers nicer than everything else, and they are what the search is for.
            os.environ.setdefault("RAY_worker_niceness", "0")
            own = {"_temp_dir": folder, "object_store_memory": _STORE, "include_dashboard": False}
            _connect(None, num_cpus=cpus, **own)
        else:
            _connect(address)
        undo.callback(ray.shutdown)
        yield


def _connect(address: str | None, **more: Any) -> None:
    """Connects to a cluster, or starts one.

    Raises:
        UserError: there is no cluster at the address.
    """
    # Ray counts its users over the network unless it is told not to.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    try:
        _knock(address)
        with _own_handlers():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **more)
    except (OSError, ValueError) as error:
        if address is None:
            raise
        what = f"no Ray cluster answers at {address} ({str(error).partition(chr(10))[0]})"
        raise UserError(f"{what}: start one with ray start --head, or see ray status") from error


def _knock(address: str | None) -> None:
    """Sees that somebody listens where an address names a port: Ray itself would wait for minutes.

    Raises:
        OSError: nobody does.
        ValueError: the port is none.
    """
    text = address or ""
    named = urlsplit(text if "://" in text else f"//{text}")
    if named.hostname and named.port:
        socket.create_connection((named.hostname, named.port), _KNOCK).close()


@contextlib.contextmanager
def _own_handlers() -> Iterator[None]:
    """Keeps the handler of SIGTERM, in whose place Ray puts one of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


class _Actors(Hands):
    """Ray actors; what given-up ones say late is reported too: their leases decide."""

    def __init__(
        self, make: Callable[[], Work[Any, Any]], *, cpus: int, gpus: int, patience: float
    ) -> None:
        import ray

        self._ray = ray
        self._make = ray.put(make)
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        self._kind = ray.remote(_Actor).options(**options, scheduling_strategy="SPREAD")
        self._every = patience / _BEATS
        self._run = f"mergekit-mo/{uuid.uuid4().hex}/"
        self._actors: dict[int, ActorHandle] = {}
        self._said: dict[ObjectRef, tuple[int, int | None]] = {}

    def start(self, worker: int, place: int) -> None:
        """See `Hands.start`."""
        del place  # Ray knows which GPUs are free
        actor = self._kind.remote(self._make, self._key(worker), self._every)
        self._actors[worker] = actor
        self._said[actor.hello.remote()] = (worker, None)

    def give(self, worker: int, lease: int, job: Any) -> None:
        """See `Hands.give`."""
        self._said[self._actors[worker].run.remote(job)] = (worker, lease)

    def reports(self, seconds: float) -> Sequence[Report]:
        """See `Hands.reports`."""
        references = list(self._said)
        if not references:
            threading.Event().wait(seconds)
            return []
        done, _ = self._ray.wait(references, timeout=seconds)
        return [self._report(reference) for reference in done]

    def _report(self, reference: ObjectRef) -> Report:
        worker, lease = self._said.pop(reference)
        try:
            found = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            return Report(worker, "dead", -1, _reason(error))
        except (
            Exception
        ) as error:  # an answer that could not be sent, or a module that is not there
            return Report(worker, "dead", -1, f"{type(error).__name__}: {error}")
        if lease is None:
            return Report(worker, "unfit" if found else "ready", -1, found)
        kind, value = found
        return Report(worker, kind, lease, value)

    def beats(self) -> Mapping[int, int]:
        """See `Hands.beats`."""
        from ray.experimental.internal_kv import _internal_kv_get

        found = {worker: _internal_kv_get(self._key(worker)) for worker in self._actors}
        return {worker: int(count) for worker, count in found.items() if count is not None}

    def end(self, worker: int) -> None:
        """See `Hands.end`."""
        self._ray.kill(self._actors.pop(worker), no_restart=True)

    def close(self) -> None:
        """See `Hands.close`."""
        from ray.experimental.internal_kv import _internal_kv_del

        for worker in list(self._actors):
            self.end(worker)
        self._said.clear()
        _internal_kv_del(self._run.encode(), del_by_prefix=True)

    def _key(self, worker: int) -> bytes:
        """Where a worker's signs of life stand: in the store of Ray's own head, which all reach."""
        return f"{self._run}{worker}".encode()


class _Actor:
    """A worker: what it does, and a thread that gives signs of life.

    Not a method that is asked whether it lives: that would take the work off the main thread, and
    some tasks of lm-eval need it for their alarms.
    """

    def __init__(self, make: Callable[[], Work[Any, Any]], key: bytes, every: float) -> None:
        threading.Thread(target=_beat, args=(key, every), daemon=True).start()
        self._problem = ""
        try:
            self._work = make()
        except Exception as error:
            self._problem = f"{type(error).__name__}: {error}"

    def hello(self) -> str:
        """What keeps it from working; empty where it can."""
        return self._problem

    def run(self, job: Any) -> tuple[str, Any]:
        """Does a job."""
        return answer(self._work, job)


def _beat(key: bytes, every: float) -> None:
    from ray.experimental.internal_kv import _internal_kv_put

    beats = 0
    while True:
        beats += 1
        _internal_kv_put(key, str(beats).encode(), overwrite=True)
        threading.Event().wait(every)


def _reason(error: Exception) -> str:
    """What Ray says of a dead actor, in its last line and without its advice."""
    text = " ".join(str(error).split())
    for mark in ("The actor is dead because", "The actor died because of an error"):
        if mark in text:
            text = text[text.index(mark) :]
    return text.partition(" Some common causes")[0][:300]


__all__ = ["Ray", "connected"]

"""What an optimizer proposes in a process of its own, for the price of one start a test session.

A server for each hash seed imports everything once and forks for each question, so that whoever
answers has asked nothing before.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import pickle
import subprocess
import sys
import traceback
from typing import Any

from mergekit_mo.layers import Path
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.space import Candidate, Space

_LATE = ("mergekit_mo.optimizers._acquisition", "mergekit_mo.optimizers._surrogate")
"""What optimizers import only when they are asked, and takes seconds."""


def ask_fresh(optimizer: Optimizer, space: Space, seed: int, hash_seed: int) -> list[Candidate]:
    """What an optimizer proposes after ten planted trials, in a new process.

    Args:
        optimizer: of a class that another process can import.
        space: where candidates come from.
        seed: of the ask.
        hash_seed: that process's PYTHONHASHSEED.
    """
    server = _server(hash_seed)
    assert server.stdin is not None
    assert server.stdout is not None
    question = pickle.dumps((optimizer, space, seed, _threads()))
    head = json.dumps([sys.path, len(question)]).encode() + b"\n"
    server.stdin.write(head + question)
    server.stdin.flush()
    found = json.loads(server.stdout.readline() or '"the process has died"')
    assert isinstance(found, list), found
    return [Candidate(tuple(unit), origin, _path(path)) for unit, origin, path in found]


def serve() -> None:
    """The other side: questions from standard input, a line for each on standard output."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for name in _LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    while line := sys.stdin.buffer.readline():
        sys.path[:], size = json.loads(line)
        question = sys.stdin.buffer.read(size)
        with contextlib.suppress(Exception):  # the child will tell; its modules are imported here
            pickle.loads(question)
        read, write = os.pipe()
        if not (child := os.fork()):
            os.close(read)
            _answer(question, write)
        os.close(write)
        with os.fdopen(read) as told:
            print(told.read() or '"the process has died"', file=out, flush=True)
        os.waitpid(child, 0)


def _answer(question: bytes, write: int) -> None:
    """Answers in a child, and ends it."""
    with os.fdopen(write, "w") as told:
        try:
            optimizer, space, seed, threads = pickle.loads(question)
            if threads:
                import torch

                torch.set_num_threads(threads)
            from mergekit_mo.testing.optimizers import ask_planted

            found = ask_planted(optimizer, space, seed)
            told.write(json.dumps([[c.unit, c.origin, c.path] for c in found]))
        except BaseException:
            told.write(json.dumps(traceback.format_exc()))
    os._exit(0)


@functools.cache
def _server(hash_seed: int) -> subprocess.Popen[bytes]:
    """The process that forks those who answer; it goes with this one."""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OMP_NUM_THREADS": "1",  # a pool of threads would not come through the fork
    }
    server = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(server.kill)
    return server


def _threads() -> int:
    """Torch's number of threads, on which the last bits depend; 0 where torch is not in use."""
    torch = sys.modules.get("torch")
    return 0 if torch is None else int(torch.get_num_threads())


def _path(plain: Any) -> Path | None:
    return None if plain is None else tuple((member, layer) for member, layer in plain)

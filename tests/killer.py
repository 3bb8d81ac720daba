"""Runs a search in forks of itself that are killed at random moments, until one comes through.

A process of its own, so that everything is imported once and no thread is alive at the fork.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sys
from pathlib import Path

import matplotlib.figure

from mergekit_mo import loop, preflight
from mergekit_mo.optimizers import _acquisition, _surrogate, _training
from tests.toy import FLAGS

# What a search imports only when it needs it, which no child is to do for itself.
LATE = (_acquisition, _surrogate, _training, matplotlib.figure)

# A child lives for fewer than so many events, and then for a moment more or for one other event:
# it never runs more than two trials, however fast the machine is.
_EVENTS = 3
_MOMENT = 0.6


def main(recipe: Path, out: Path, seed: int, events: int = _EVENTS, most: int = 10_000) -> None:
    """Prints how often it killed the search.

    Args:
        recipe: of the search.
        out: its run folder.
        seed: of the moments.
        events: a child lives for fewer.
        most: how often it kills; the next child may live.
    """
    draw = random.Random(seed)
    kills = 0
    while kills < most:
        if _come_through(recipe, out, draw.randrange(events), draw.uniform(0, _MOMENT)):
            break
        kills += 1
    else:
        _come_through(recipe, out, 10_000, 0)
    print(kills)


def _come_through(recipe: Path, out: Path, events: int, moment: float) -> bool:
    """Whether a child gets to the end before it is killed."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        _child(recipe, out, write)
    os.close(write)
    with os.fdopen(read, "rb", buffering=0) as told:
        for _ in range(events):
            if not told.read(1):
                break
        select.select([told], [], [], moment)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if status not in (0, signal.SIGKILL):
        sys.exit(f"the search died of itself: {status}")
    return status == 0


def _child(recipe: Path, out: Path, told: int) -> None:
    try:
        for _ in loop.search(preflight.prepare(recipe, FLAGS), out, resume=True):
            os.write(told, b".")
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


if __name__ == "__main__":
    limits = {name: int(limit) for name, _, limit in (word.partition("=") for word in sys.argv[4:])}
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), **limits)

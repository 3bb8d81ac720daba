"""Kills stubbed searches in forks of itself; a process of its own, so that nothing else is alive.

`python -m tests.faults FOLDER STRIDE SECONDS` kills one search after the other, each at another
step, and lets the next process go on with it; then it kills at random moments for a while.
It prints how often it killed, and fails where anything differs from the search that nobody killed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import mergekit_mo.optimizers.sobol  # noqa: F401 (what a search imports late, no child is to)
from mergekit_mo.report import report_text  # noqa: F401
from tests.stubbed import nothing, search
from tests.toy import dump

BUDGET = 4


class Killer:
    """Kills its own process at a step.

    Args:
        at: the number of the step, from 1.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def __call__(self, _: str) -> None:
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def state(out: Path) -> dict[str, Any]:
    """All of a run that has to be alike: the archive's rows, and the exported files."""
    front = {p.name: p.read_text().replace(str(out), "OUT") for p in (out / "front").iterdir()}
    names = sorted(p.name for p in out.iterdir())
    texts = {name: (out / name).read_text() for name in ("trials.csv", "front.csv")}
    text = str({k: v.replace(f"of {out.name},", "of OUT,") for k, v in front.items()})
    return {"rows": dump(out), "front": text, "names": names, **texts}


def forked(folder: Path, out: Path, step: Any, moment: float | None = None) -> int:
    """How a search ended in a fork: 0, or minus the signal that killed it."""
    child = os.fork()
    if not child:
        try:
            search(folder, out, step, budget=BUDGET)
            os._exit(0)
        except BaseException as error:
            print(f"{out.name}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
    if moment is not None:
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def at_every_step(folder: Path, stride: int) -> None:
    """Kills a search at step 1, the next one at step 1 + stride, and so on."""
    names: list[str] = []
    search(folder, folder / "whole", names.append, budget=BUDGET)
    whole = state(folder / "whole")
    steps = range(1, len(names) + 1, stride)
    for at in steps:
        out = folder / f"killed-{at}"
        ended = forked(folder, out, Killer(at))
        assert ended == -signal.SIGKILL, f"step {at}, {names[at - 1]}: ended with {ended}"
        ended = forked(folder, out, nothing)
        assert ended == 0, f"step {at}, {names[at - 1]}: cannot be resumed"
        assert state(out) == whole, f"step {at}, {names[at - 1]}: differs"
        shutil.rmtree(out)
    print(f"killed at {len(steps)} of {len(names)} steps of {len(set(names))} kinds")


def at_random(folder: Path, seconds: float, seed: int) -> None:
    """Kills searches at random moments until time is up, one at least."""
    draw, end, kills, runs = random.Random(seed), time.monotonic() + seconds, 0, 0
    whole, start = state(folder / "whole"), time.monotonic()
    search(folder, folder / "timed", budget=BUDGET)
    needed = time.monotonic() - start  # on this machine, as busy as it is
    while time.monotonic() < end or not kills:
        out = folder / f"random-{runs}"
        while (ended := forked(folder, out, nothing, draw.uniform(0, 1.5 * needed))) != 0:
            assert ended == -signal.SIGKILL, f"run {runs} ended with {ended}"
            kills += 1
        assert state(out) == whole, f"run {runs} differs"
        shutil.rmtree(out)
        runs += 1
    print(f"killed {kills} times at random in {runs} runs")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    at_every_step(place, int(sys.argv[2]))
    at_random(place, float(sys.argv[3]), seed=0)

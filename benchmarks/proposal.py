"""What a proposal costs: seconds of one core for the next candidate after sixty trials.

Rule: the first proposal of a process pays imports and is not counted; the front is as dense as it
gets (every trial is on it), which is the dear case.

    python benchmarks/proposal.py [--optimizers mm-mo qlognehvi] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, only this folder is on the path
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from numpy.random import SeedSequence  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks._runs import parse_optimizer  # noqa: E402
from mergekit_mo.testing.planted import make_goals, plain_space, planted, ridge  # noqa: E402

TRIALS, DIM = 60, 20
CASES = {"a usual front": False, "every trial on the front": True}


def sphere(unit: Sequence[float], m: int) -> list[float]:
    """A point on the positive part of a sphere: nothing dominates anything."""
    direction = np.abs(np.asarray(unit[:m]) - 0.5) + 1e-3
    return [float(v) for v in direction / np.linalg.norm(direction)]


def seconds(name: str, m: int, dense: bool, rounds: int) -> tuple[float, float]:
    """Median processor and wall seconds of one proposal."""
    _, optimizer = parse_optimizer(name)
    space, goals = plain_space(DIM), make_goals(m)
    spent, passed = [], []
    with planted(space, goals, (lambda u: sphere(u, m)) if dense else ridge(m), TRIALS) as archive:
        for k in range(rounds + 1):
            cpu, wall = time.process_time(), time.perf_counter()
            optimizer.ask(space, archive, 1, SeedSequence((0, k)))
            spent.append(time.process_time() - cpu)
            passed.append(time.perf_counter() - wall)
    return statistics.median(spent[1:]), statistics.median(passed[1:])


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--optimizers", nargs="+", default=["mm-mo", "qlognehvi", "qlognparego"])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    table = Table(box=None, title=f"One proposal, {TRIALS} trials, {DIM} dimensions, one core")
    for column in ("optimizer", "m", "archive", "CPU s", "wall s"):
        table.add_column(column, justify="right" if column in ("m", "CPU s", "wall s") else "left")
    for name in args.optimizers:
        for m in (2, 3, 4):
            for case, dense in CASES.items():
                cpu, wall = seconds(name, m, dense, args.rounds)
                table.add_row(name, str(m), case, f"{cpu:.2f}", f"{wall:.2f}")
    Console(width=90).print(table)


if __name__ == "__main__":
    main()

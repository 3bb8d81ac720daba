"""How often the stated 95 % intervals hold: items drawn again and again from recorded answers.

Rule: items are drawn with replacement and the truth is the mean over the pool that they come from,
so that an interval has nothing to hide behind. One command, two minutes:

    python benchmarks/coverage.py [--repetitions 2000]

The answers are those of the shipped memos: bits that a merge needs for each of a task's texts, of
which the first 100 are the pool. A text counts as answered right where it takes at most so many
bits a byte. For one score the limit is the merge's own, so that it has the stated share of right
answers exactly; for several it is that of the merge in the middle, and the others come near.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, only this folder is on the path
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks._memo import DISTANCE, failed, read_file  # noqa: E402
from mergekit_mo.intervals import (  # noqa: E402
    critical,
    difference,
    interval,
    joint_critical,
)
from mergekit_mo.trial import Measurement  # noqa: E402

SHARES = (0.1, 0.5, 0.9, 0.97)
SIZES = (64, 200)
MEMOS = ("wren-global", "heron-global", "owl-global", "lark-global")
"""Recorded merges; repetitions take turns with them."""

POOL = 100  # items of a task: a share of 97 % is one of them
MEMBERS = 8
TASKS = 2
_MORE = 10  # as many repetitions for one score, where they cost next to nothing
_NEAR = 24  # merges whose share is nearest, of which members are drawn
DRAWS = 500  # resamples behind an interval for all at once; the package takes 2,000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Covered:
    """How often an interval held.

    Attributes:
        what: which interval.
        share: of right answers in the pool.
        n: items.
        held: the part of the repetitions in which it held the truth.
    """

    what: str
    share: float
    n: int
    held: float


@cache
def recorded(memo: str) -> tuple[Floats, ...]:
    """What every recorded merge needs for the items of each task, `merges x POOL` in bits a byte.

    Up to a factor, which no limit minds.
    """
    about, rows = read_file(ROOT / "benchmarks" / "data" / f"{memo}.memo.xz")
    table = np.array([rows[key] for key in sorted(rows) if not failed(rows[key])], dtype=float)
    sizes = np.concatenate([np.array(own, dtype=float) for own in about.sizes.values()])
    bits = table[:, :-DISTANCE] / sizes
    return tuple(own[:, :POOL] for own in np.split(bits, len(about.sizes), axis=1))


def pool(share: float, members: int, rng: np.random.Generator, memo: str) -> list[Floats]:
    """Answers of merges to the items of two tasks, `members x POOL` each, right at about `share`.

    Args:
        share: of right answers.
        members: how many merges; those whose share is nearest are drawn from.
        rng: draws them.
        memo: whose answers.
    """
    found = []
    for bits in recorded(memo)[:TASKS]:
        right = (bits <= np.median(_limits(bits, share))).astype(float)
        nearest = np.argsort(np.abs(right.mean(axis=1) - share), kind="stable")[:_NEAR]
        found.append(right[rng.choice(nearest, size=members, replace=False)])
    return found


def _limits(bits: Floats, share: float) -> Floats:
    """Of each merge, the bits a byte that a share of its items does not exceed."""
    limits: Floats = np.sort(bits, axis=1)[:, round(share * POOL) - 1]
    return limits


def measured(values: Floats) -> Measurement:
    """A score as the harness has it."""
    n = len(values)
    return Measurement(float(values.mean()), float(values.std(ddof=1) / np.sqrt(n)), n)


def one_score(share: float, n: int, repetitions: int, seed: int) -> float:
    """How often the interval of one score holds the pool's mean."""
    rng = np.random.default_rng((seed, n, round(1000 * share)))
    held: list[bool] = []
    known: dict[tuple[float, float], bool] = {}  # the same number of right answers comes often
    for memo in _turns(_MORE * repetitions):
        bits = rng.choice(recorded(memo)[0], size=1)
        answers = (bits <= _limits(bits, share)).astype(float)[0]
        drawn, truth = answers[rng.integers(POOL, size=n)], float(answers.mean())
        key = float(drawn.sum()), truth
        if key not in known:
            known[key] = _holds(drawn, truth)
        held.append(known[key])
    return float(np.mean(held))


def whole_front(share: float, n: int, repetitions: int, seed: int) -> float:
    """How often the intervals of all scores of a front hold all at once."""
    rng = np.random.default_rng((seed, n, round(1000 * share), 1))
    held = 0
    for memo in _turns(repetitions):
        pools = pool(share, MEMBERS, rng, memo)
        drawn = [answers[:, rng.integers(POOL, size=n)] for answers in pools]
        z = joint_critical(drawn, draws=DRAWS)
        held += all(
            _holds(values, truth, z)
            for block, answers in zip(drawn, pools, strict=True)
            for values, truth in zip(block, answers.mean(axis=1), strict=True)
        )
    return held / repetitions


def whole_gain(share: float, n: int, repetitions: int, seed: int) -> float:
    """How often the intervals of all gains over another model hold all at once."""
    rng = np.random.default_rng((seed, n, round(1000 * share), 2))
    held = 0
    for memo in _turns(repetitions):
        gains = [answers[1:] - answers[0] for answers in pool(share, MEMBERS + 1, rng, memo)]
        drawn = [gain[:, rng.integers(POOL, size=n)] for gain in gains]
        z = joint_critical(drawn, draws=DRAWS)
        ends = [(difference(values, z), t) for b, g in zip(drawn, gains, strict=True)
                for values, t in zip(b, g.mean(axis=1), strict=True)]  # fmt: skip
        held += all(found.low <= truth <= found.high for found, truth in ends)
    return held / repetitions


def _turns(repetitions: int) -> Iterator[str]:
    """Whose answers each repetition draws from."""
    return (MEMOS[i % len(MEMOS)] for i in range(repetitions))


def _holds(values: Floats, truth: float, z: float | None = None) -> bool:
    found = interval(measured(values), z)
    assert found is not None
    return found.low <= truth <= found.high


_KINDS = {
    "one score": one_score,
    "a front's scores at once": whole_front,
    "a front's gains at once": whole_gain,
}


def coverage(
    repetitions: int,
    *,
    seed: int = 0,
    shares: Sequence[float] = SHARES,
    sizes: Sequence[int] = SIZES,
    kinds: Sequence[str] = tuple(_KINDS),
) -> Iterator[Covered]:
    """Every setting of every kind of interval."""
    for what in kinds:
        for n in sizes:
            for share in shares:
                yield Covered(what, share, n, _KINDS[what](share, n, repetitions, seed))


def main() -> None:
    """Prints the table, and fails where an interval covers less or more than is stated."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"95 % intervals, z {critical():.3f}; {given.repetitions} repetitions")
    print(f"{'':26}{'items':>6}{'right':>7}{'held':>8}")
    bad = 0
    for found in coverage(given.repetitions, seed=given.seed):
        most = 0.97 if found.what == "one score" else 1.0
        fine = 0.93 <= found.held <= most
        bad += not fine
        mark = "" if fine else "  outside"
        print(f"{found.what:26}{found.n:6}{found.share:7.2f}{found.held:8.4f}{mark}", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

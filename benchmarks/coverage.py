"""How often the stated 95 % intervals hold: items drawn again and again from recorded answers.

Rule: items are drawn with replacement and the truth is the mean over the pool that they come from,
so that an interval has nothing to hide behind. One command, two minutes:

    python benchmarks/coverage.py [--repetitions 2000]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, only this folder is on the path
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from mergekit_mo.intervals import (  # noqa: E402
    critical,
    difference,
    interval,
    joint_critical,
)
from mergekit_mo.trial import Measurement  # noqa: E402

SHARES = (0.1, 0.5, 0.9, 0.97)
SIZES = (64, 200)
POOL = 1000
MEMBERS = 8
TASKS = 2
ALIKE = 0.6  # of the variance of a member's leaning on an item is common to all of them
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


def pool(share: float, members: int, rng: np.random.Generator) -> Floats:
    """Answers of merges that find the same items hard, `members x POOL`, each right at `share`."""
    common = rng.normal(size=POOL)
    own = rng.normal(size=(members, POOL))
    leaning = np.sqrt(ALIKE) * common + np.sqrt(1 - ALIKE) * own
    answers = np.zeros((members, POOL))
    right = np.argsort(-leaning, axis=1)[:, : round(share * POOL)]
    np.put_along_axis(answers, right, 1.0, axis=1)
    return answers


def measured(values: Floats) -> Measurement:
    """A score as the harness has it."""
    n = len(values)
    return Measurement(float(values.mean()), float(values.std(ddof=1) / np.sqrt(n)), n)


def one_score(share: float, n: int, repetitions: int, seed: int) -> float:
    """How often the interval of one score holds the pool's mean."""
    rng = np.random.default_rng((seed, n, round(1000 * share)))
    (answers,) = pool(share, 1, rng)
    truth, held = answers.mean(), 0
    for _ in range(repetitions):
        found = interval(measured(answers[rng.integers(POOL, size=n)]))
        assert found is not None
        held += found.low <= truth <= found.high
    return held / repetitions


def whole_front(share: float, n: int, repetitions: int, seed: int) -> float:
    """How often the intervals of all scores of a front hold all at once."""
    rng = np.random.default_rng((seed, n, round(1000 * share), 1))
    pools = [pool(share, MEMBERS, rng) for _ in range(TASKS)]
    held = 0
    for _ in range(repetitions):
        drawn = [answers[:, rng.integers(POOL, size=n)] for answers in pools]
        z = joint_critical(drawn, draws=DRAWS)
        held += all(
            _holds(values, truth, z)
            for block, answers in zip(drawn, pools, strict=True)
            for values, truth in zip(block, answers.mean(axis=1), strict=True)
        )
    return held / repetitions


def _holds(values: Floats, truth: float, z: float) -> bool:
    found = interval(measured(values), z)
    assert found is not None
    return found.low <= truth <= found.high


def whole_gain(share: float, n: int, repetitions: int, seed: int) -> float:
    """How often the intervals of all gains over a source hold all at once."""
    rng = np.random.default_rng((seed, n, round(1000 * share), 2))
    pools = [pool(share, MEMBERS + 1, rng) for _ in range(TASKS)]
    gains = [answers[1:] - answers[0] for answers in pools]
    held = 0
    for _ in range(repetitions):
        drawn = [gain[:, rng.integers(POOL, size=n)] for gain in gains]
        z = joint_critical(drawn, draws=DRAWS)
        ends = [(difference(values, z), t) for b, g in zip(drawn, gains, strict=True)
                for values, t in zip(b, g.mean(axis=1), strict=True)]  # fmt: skip
        held += all(found.low <= truth <= found.high for found, truth in ends)
    return held / repetitions


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

"""Ways of doing something, timed in turns: machines are noisy, and the noise meets them all.

Rule: turns are kept one by one, and later ones are added to earlier ones, so that a long
measurement can be made in parts.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Turns = dict[str, list[list[float]]]
"""By way, seconds by the wall clock and of the processor, a pair for each turn."""


@dataclass(frozen=True)
class Rounds:
    """How often ways take turns.

    Attributes:
        count: how often.
        keep: called after each round.
    """

    count: int
    keep: Callable[[], None]


@dataclass(frozen=True)
class Told:
    """What a way that runs in a process of its own has measured there.

    Attributes:
        wall: seconds by the wall clock.
        processor: seconds of the processor.
    """

    wall: float
    processor: float


def timed(way: Callable[[], object]) -> Told:
    """What a way takes, by its own word or by ours."""
    begun, worked = time.perf_counter(), _processor()
    told = way()
    if isinstance(told, Told):
        return told
    return Told(time.perf_counter() - begun, _processor() - worked)


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: Rounds, turns: Turns) -> None:
    """Times each way, the ways taking turns, and adds the seconds to earlier ones."""
    for _ in range(rounds.count):
        for name, way in ways.items():
            found = timed(way)
            turns.setdefault(name, []).append([found.wall, found.processor])
        rounds.keep()


def median(turns: Turns, way: str, *, wall: bool) -> float:
    """The median seconds of a way."""
    return statistics.median(turn[0 if wall else 1] for turn in turns[way])


def _processor() -> float:
    """Seconds of the processor that this process and those that it waited for have had."""
    own, others = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime

"""What a search may spend: a number of merges, a time by the clock on the wall, or both.

Rule: a budget is no part of what a run is; whoever resumes a run may give it another one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT = 30
UNBOUNDED = 10**9
"""The merges of a budget that bounds the time alone."""

HINT = "budget: 30, or 8h (also 90m, 2d, 1h30m), or {trials: 200, time: 8h}"
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_SPAN = re.compile(r"\s*(?:\d+(?:\.\d+)?\s*[dhms]\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([dhms])")


@dataclass(frozen=True)
class Budget:
    """The most that a search spends.

    Attributes:
        trials: merges; references do not count.
        seconds: from its first moment to its last, the times between a stop and a continuation left
            out; None for as long as the merges take.
    """

    trials: int = DEFAULT
    seconds: float | None = None

    @property
    def counted(self) -> bool:
        """Whether the number of merges is bounded."""
        return self.trials < UNBOUNDED

    def text(self) -> str:
        """For people: `30 merges`, `merges for 8h`, `200 merges, for 8h at most`."""
        if self.seconds is None:
            return f"{self.trials} merges"
        if not self.counted:
            return f"merges for {span_text(self.seconds)}"
        return f"{self.trials} merges, for {span_text(self.seconds)} at most"


def read_budget(value: Any) -> Budget:
    """A budget as a recipe writes it.

    Raises:
        ValueError: it is none.
    """
    if type(value) is int and value >= 1:
        return Budget(value)
    if isinstance(value, str) and value.strip().isdecimal() and int(value) >= 1:
        return Budget(int(value))
    if isinstance(value, str) and (seconds := _seconds(value)):
        return Budget(UNBOUNDED, seconds)
    if isinstance(value, Mapping) and value and value.keys() <= {"trials", "time"}:
        trials, time = value.get("trials", UNBOUNDED), value.get("time")
        seconds = _seconds(time) if isinstance(time, str) else None
        if type(trials) is int and trials >= 1 and ("time" not in value or seconds):
            return Budget(trials, seconds)
    raise ValueError("expected a whole number of 1 or more, or a time")


def span_text(seconds: float) -> str:
    """A time as a recipe writes it."""
    left, words = round(seconds), []
    for unit, size in _UNITS.items():
        count, left = divmod(left, int(size))
        words += [f"{count}{unit}"] if count else []
    return "".join(words) or "0s"


def _seconds(text: str) -> float | None:
    """A time in seconds; None where the text is no time, or none at all."""
    if not _SPAN.fullmatch(text):
        return None
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return total if total > 0 and math.isfinite(total) else None

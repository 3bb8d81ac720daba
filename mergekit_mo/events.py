"""What happens in a search, as it happens: `loop.search` yields these, `console` shows them.

Rule: an event that has been yielded is on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mergekit_mo.archive import Archive
from mergekit_mo.trial import Trial


@dataclass(frozen=True)
class Started:
    """The run is open; `done` of its trials are there already.

    `budget` is the most merges, `seconds` the most time, None where it is not bounded.
    """

    archive: Archive
    out: Path
    budget: int
    done: int
    seconds: float | None = None


@dataclass(frozen=True)
class Finished:
    """A trial is recorded; `on_front` says whether it stands on the front as that now is."""

    trial: Trial
    on_front: bool


@dataclass(frozen=True)
class Opened:
    """The hold-out items have been scored for a trial."""

    trial: Trial


@dataclass(frozen=True)
class Warned:
    """Something that the user should know."""

    message: str


@dataclass(frozen=True)
class Ended:
    """The budget is spent and everything is written."""

    archive: Archive
    out: Path
    front: tuple[Trial, ...]


Event = Started | Finished | Opened | Warned | Ended

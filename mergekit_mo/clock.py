"""The time that a run has left, counted against what its trials take.

Rule: what was spent is in the archive, so that a stopped run goes on with what is left; the time
between is not counted. A clock decides how many trials there are, never which.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from mergekit_mo.archive import Archive
from mergekit_mo.budget import Budget
from mergekit_mo.gain import own_trial

SPENT = "spent"
"""The archive's fact of the seconds that a run has taken so far."""

IMPORTED = "imported"
"""The archive's fact of the trials that came from another run; they cost nothing here."""

_LAST = 10  # trials that the next one is expected to resemble
_LEAST_HOLDOUT = 0.25  # of a trial's time: a merge takes its time however few the items


class Clock:
    """The wall clock of one run, over all its sittings.

    Args:
        archive: of the run, open for writing.
        budget: what it may spend.
        holdout: held-out items for each item that is searched on.
        now: seconds of a clock that never goes back.

    Attributes:
        trials: candidates that the run may come to, those of another run included.
    """

    def __init__(
        self,
        archive: Archive,
        budget: Budget,
        holdout: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.archive, self.budget, self.holdout, self._now = archive, budget, holdout, now
        known = archive.fact(SPENT)
        taken = set((archive.fact(IMPORTED) or {}).get("trials", ()))
        own = (t for t in archive.trials if t.number not in taken)
        ended = (t.seconds or 0.0 for t in own if t.status != "waiting")
        self._before: float = sum(ended) if known is None else known
        self.trials = budget.trials + sum(t.number in taken for t in archive.candidates)
        self._begun = now()

    @property
    def spent(self) -> float:
        """Seconds since the run's beginning, its pauses left out."""
        return self._before + self._now() - self._begun

    def mark(self) -> None:
        """Writes down what was spent, where time is what counts."""
        if self.budget.seconds is not None:
            self.archive.remember(SPENT, self.spent)

    def allows(self, running: int, slots: int) -> bool:
        """Whether one more trial would end in time, with the hold-out of the front still to come.

        Args:
            running: trials under way.
            slots: trials that run at once.
        """
        if self.budget.seconds is None:
            return True
        each = self._each()
        queued = each * (1 + running // max(slots, 1))
        return self.spent + queued + self._ending(each, slots) <= self.budget.seconds

    def _each(self) -> float:
        """What a trial takes: the median of the last ones."""
        ended = [t.seconds for t in self.archive.trials if t.status == "done" and t.seconds]
        return median(ended[-_LAST:]) if ended else 0.0

    def _ending(self, each: float, slots: int) -> float:
        """What scoring the hold-out will take, with the front as it is."""
        if not self.holdout:
            return 0.0
        archive = self.archive
        members = {t.number for t in (*archive.references, *archive.front()) if not t.holdout}
        own = own_trial(archive)
        members |= {own.number} if own is not None and not own.holdout else set()
        share = min(1.0, max(self.holdout, _LEAST_HOLDOUT))
        return each * share * -(-len(members) // max(slots, 1))

"""An archive without its bent paths: what an optimizer of holes alone should be told.

Rule: it is a copy in memory, of the same trials in the same order; nothing is written to the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mergekit_mo.archive import Archive
from mergekit_mo.space import Candidate, Space
from mergekit_mo.trial import Outcome


@contextmanager
def straight_trials(space: Space, archive: Archive) -> Iterator[Archive]:
    """The references and the candidates on the straight path; all, where layers are left alone."""
    if space.layers is None:
        yield archive
        return
    straight = space.layers.straight
    told = {"preference": archive.fact("preference")}
    with Archive.create(":memory:", archive.goals, told) as view:
        for trial in archive.trials:
            if trial.role == "candidate" and trial.path not in (None, straight):
                continue
            known = Candidate(trial.unit, trial.origin, trial.path) if trial.unit else trial.origin
            (copy,) = view.propose(trial.role, [(known, trial.config)], trial.ask)
            if trial.status != "waiting":
                scores, digest, error = trial.scores, trial.digest, trial.error
                outcome = Outcome(scores, {}, digest, error, 0.0, stopped=trial.stopped)
                view.finish(copy.number, outcome, 0.0)
        yield view

"""An archive without its bent paths: what an optimizer of holes alone is told, and proposes.

Rule: it is a copy in memory, of the same trials in the same order; nothing is written to the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from numpy.random import SeedSequence

import mergekit_mo.optimizers
from mergekit_mo.archive import Archive
from mergekit_mo.kinds import make
from mergekit_mo.optimizers import Optimizer
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


@cache
def merger(kind: str) -> Optimizer:
    """The optimizer that is to propose merges, with its usual settings.

    Raises:
        ValueError: there is none of that kind, or it is one of paths.
    """
    role: type[Optimizer] = Optimizer  # type: ignore[type-abstract]
    found, problems = make(mergekit_mo.optimizers, role, kind, {}, ())
    if found is None:
        words = [word for p in problems for word in (p.what, p.hint) if word]
        raise ValueError(f"merges_by: {'; '.join(words)}")
    if found.searches_layers:
        raise ValueError(f"merges_by names an optimizer of holes alone, and {kind} searches paths")
    return found


def straight_merges(
    kind: str, space: Space, archive: Archive, count: int, seed: SeedSequence
) -> list[Candidate]:
    """Merges on the straight path, as an optimizer that knows no paths proposes them."""
    if not count:
        return []
    with straight_trials(space, archive) as view:
        return [space.settled(c) for c in merger(kind).ask(space, view, count, seed)]

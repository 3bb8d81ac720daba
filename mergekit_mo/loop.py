"""The search itself: ask, merge, score, record, until the budget is spent.

Rule: it yields events and prints nothing; what it has yielded is on disk. A candidate is written as
waiting before it runs, and the optimizer is asked while the others run, with those pending.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

from numpy.random import SeedSequence

from mergekit_mo import export
from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.clock import Clock
from mergekit_mo.dispatch import Dispatch
from mergekit_mo.evaluate import Job
from mergekit_mo.events import Ended, Event, Started, Warned
from mergekit_mo.executors import Executor
from mergekit_mo.executors.inline import Inline
from mergekit_mo.files import locked, write_file
from mergekit_mo.gain import own_trial
from mergekit_mo.hiring import hire
from mergekit_mo.identity import (
    ARCHIVE,
    changed_versions,
    check_folder,
    open_run,
    same_contents,
)
from mergekit_mo.merging import as_it_is
from mergekit_mo.preflight import Ready
from mergekit_mo.problems import UserError
from mergekit_mo.report import report_text
from mergekit_mo.space import Candidate
from mergekit_mo.trial import SPLITS, Role, Trial

Hire = Callable[[Ready], Executor[Job, Outcome]]
"""Makes the executor of a search."""


def search(
    ready: Ready, out: Path, *, resume: bool = False, hire: Hire = hire
) -> Generator[Event, None, None]:
    """Runs a search in a run folder.

    Args:
        ready: what to search, from `preflight.prepare`.
        out: the run folder.
        resume: continue the run that is there, if there is one.
        hire: starts what runs the trials.

    Yields:
        What happens, as it happens.

    Raises:
        UserError: the folder holds another run, is in use, or nothing could be scored.
    """
    with locked(out), open_run(ready, out, resume) as archive:
        known = same_contents(ready, archive, out)
        ready = replace(ready, threads=archive.fact("threads"), contents=known)
        limits = ready.recipe.limits
        clock = Clock(archive, limits, _held_out(ready))
        yield Started(archive, out, clock.trials, len(archive.trials), limits.seconds)
        yield from changed_versions(archive)
        yield from _idle_layers(ready)
        executor = hire(ready)
        try:
            jobs = Dispatch(archive, executor)
            yield from _marked(_references(ready, jobs), clock)
            yield from _marked(run_candidates(ready, jobs, clock), clock)
            yield from _marked(_holdout(ready, jobs), clock)
        finally:
            executor.close()
        export.write_outputs(archive, ready, out)
        write_file(out / "report.html", report_text(archive, out))
        yield Ended(archive, out, archive.front())


def score(ready: Ready, out: Path, candidate: Candidate) -> Trial:
    """Scores one more candidate of a run that has ended, and records it beyond the budget.

    Args:
        ready: the run's own recipe, from `preflight.prepare`.
        out: the run folder.
        candidate: whoever proposed it.

    Returns:
        The trial, with its scores or its error.

    Raises:
        UserError: the folder holds another run, or is in use.
    """
    with locked(out), open_run(ready, out, resume=True) as archive:
        known = same_contents(ready, archive, out)
        ready = replace(ready, threads=archive.fact("threads"), contents=known)
        entry = (ready.space.settled(candidate), ready.space.config(candidate.unit))
        trials = archive.propose("candidate", [entry], archive.asks)
        executor: Executor[Job, Outcome] = Inline(ready.evaluator())
        try:
            for _ in Dispatch(archive, executor, races=False).run(trials):
                pass
        finally:
            executor.close()
        export.write_outputs(archive, ready, out)
        return next(t for t in archive.trials if t.number == trials[0].number)


def _marked(events: Iterator[Event], clock: Clock) -> Iterator[Event]:
    """Events, with the time that they took on record before they are told."""
    for event in events:
        clock.mark()
        yield event


def _held_out(ready: Ready) -> float:
    """Held-out items for each that is searched on."""
    search, holdout = (sum(len(asked.items[split]) for asked in ready.tasks) for split in SPLITS)
    return holdout / search if search else 0.0


def _idle_layers(ready: Ready) -> Iterator[Event]:
    if ready.space.layers and not ready.optimizer.searches_layers:
        what = f"{ready.recipe.optimizer.kind} leaves layers alone"
        yield Warned(f"{what}: every candidate keeps the straight path")


def _references(ready: Ready, jobs: Dispatch) -> Iterator[Event]:
    """Scores the base and every source as they are; they anchor every scale."""
    archive = jobs.archive
    if not archive.references:
        sources = ready.recipe.configuration.sources
        archive.propose("reference", [(source, as_it_is(source)) for source in sources])
    yield from jobs.run([t for t in archive.references if t.status == "waiting"])
    if not any(t.status == "done" for t in archive.references):
        _nothing_succeeded(archive, "reference")


def run_candidates(ready: Ready, jobs: Dispatch, clock: Clock) -> Iterator[Event]:
    """Runs what is waiting, then asks and runs, until the budget is spent."""
    archive, space = jobs.archive, ready.space
    if ready.optimizer.wants_differences and archive.fact("differences") is None:
        archive.remember("differences", ready.differences())
    if not archive.candidates:
        starts = space.starts()[: ready.recipe.budget]
        archive.propose("candidate", [(c, space.config(c.unit)) for c in starts])
    jobs.submit([t for t in archive.candidates if t.status == "waiting"])
    exhausted = False
    while True:
        yield from jobs.drain()
        wanted = 0 if exhausted else _wanted(ready, jobs, clock)
        if wanted:
            found = _ask(ready, archive, wanted)
            jobs.submit(found)
            if not found:
                exhausted = True
                yield Warned("the space has no more candidates")
        elif jobs:
            yield from jobs.collect()
        else:
            break
    if not any(t.status == "done" for t in archive.candidates):
        _nothing_succeeded(archive, "candidate")


def _wanted(ready: Ready, jobs: Dispatch, clock: Clock) -> int:
    """How many candidates to ask for now.

    As many as the workers could take; where candidates belong together, a whole round of them once
    the round before it is over.
    """
    if not clock.allows(len(jobs), jobs.executor.slots):
        return 0
    batch = ready.optimizer.batch
    left = max(0, clock.trials - len(jobs.archive.candidates))
    if batch == 1:
        return min(jobs.room, left)
    return 0 if jobs else min(max(jobs.executor.slots, batch), left)


def _ask(ready: Ready, archive: Archive, count: int) -> tuple[Trial, ...]:
    """Asks the optimizer and writes what it proposes as waiting; nothing where it has nothing."""
    space, ask = ready.space, archive.asks
    seed = SeedSequence((ready.recipe.seed, ask))
    found = [space.settled(c) for c in ready.optimizer.ask(space, archive, count, seed)]
    entries = [(c, space.config(c.unit)) for c in found[:count]]
    return archive.propose("candidate", entries, ask) if entries else ()


def _holdout(ready: Ready, jobs: Dispatch) -> Iterator[Event]:
    """Scores references, the recipe's own values and the front, which now stands, on the hold-out.

    The recipe's own values are what a gain is measured from, on the front or not.
    """
    archive = jobs.archive
    if not any(asked.items["holdout"] for asked in ready.tasks):
        return
    done = [t for t in archive.references if t.status == "done"]
    front, own = archive.front(), own_trial(archive)
    if own is not None and own.status == "done" and own not in front:
        done.append(own)
    trials = [t for t in (*done, *front) if not t.holdout]
    yield from jobs.run(trials, "holdout")


def _nothing_succeeded(archive: Archive, role: Role) -> None:
    """Ends a run in which no trial of a role could be scored.

    Raises:
        UserError: always, with the first error of each kind.
    """
    errors = dict.fromkeys(t.error for t in archive.trials if t.role == role and t.error)
    listing = "\n".join(f"  {error}" for error in list(errors)[:3])
    raise UserError(f"no {role} could be scored:\n{listing}", status=1)


__all__ = ["ARCHIVE", "Hire", "check_folder", "run_candidates", "score", "search"]

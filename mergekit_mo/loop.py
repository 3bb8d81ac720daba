"""The search itself: ask, merge, score, record, until the budget is spent.

Rule: it yields events and prints nothing; what it has yielded is on disk.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.random import SeedSequence

from mergekit_mo import export
from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.evaluate import Job
from mergekit_mo.events import Ended, Event, Finished, Opened, Started, Warned
from mergekit_mo.executors import Executor
from mergekit_mo.executors.inline import Inline
from mergekit_mo.files import locked, put_in_place, write_file
from mergekit_mo.gain import own_trial
from mergekit_mo.machine import describe, versions
from mergekit_mo.making import walk_of
from mergekit_mo.merging import as_it_is
from mergekit_mo.objectives import Objective
from mergekit_mo.preflight import Ready
from mergekit_mo.problems import UserError
from mergekit_mo.report import report_text
from mergekit_mo.space import Candidate
from mergekit_mo.trial import Role, Split, Trial

if TYPE_CHECKING:
    from mergekit_mo.harness import Asked

ARCHIVE = "archive.db"


def search(ready: Ready, out: Path, *, resume: bool = False) -> Generator[Event, None, None]:
    """Runs a search in a run folder.

    Args:
        ready: what to search, from `preflight.prepare`.
        out: the run folder.
        resume: continue the run that is there, if there is one.

    Yields:
        What happens, as it happens.

    Raises:
        UserError: the folder holds another run, is in use, or nothing could be scored.
    """
    with locked(out), _open(ready, out, resume) as archive:
        ready = replace(ready, threads=archive.fact("threads"))
        yield Started(archive, out, ready.recipe.budget, len(archive.trials))
        yield from _changed_versions(archive)
        yield from _idle_layers(ready)
        executor: Executor[Job, Outcome] = Inline(ready.evaluator())
        try:
            yield from _references(ready, archive, executor)
            yield from _candidates(ready, archive, executor)
            yield from _holdout(ready, archive, executor)
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
    with locked(out), _open(ready, out, resume=True) as archive:
        ready = replace(ready, threads=archive.fact("threads"))
        entry = (ready.space.settled(candidate), ready.space.config(candidate.unit))
        trials = archive.propose("candidate", [entry], archive.asks)
        executor: Executor[Job, Outcome] = Inline(ready.evaluator())
        try:
            for _ in _run(archive, executor, trials):
                pass
        finally:
            executor.close()
        export.write_outputs(archive, ready, out)
        return next(t for t in archive.trials if t.number == trials[0].number)


def check_folder(ready: Ready, out: Path, *, resume: bool) -> None:
    """Sees whether a run can be started or resumed in a folder, without touching it.

    Raises:
        UserError: it cannot.
    """
    path = out / ARCHIVE
    if not path.exists():
        return
    if not resume:
        what = f"{out} holds a run already"
        raise UserError(f"{what}: continue it with --resume, or choose another --out", status=2)
    with Archive.open(path, read_only=True) as archive:  # a running search may hold it
        _same_run(ready, archive, out)


def _open(ready: Ready, out: Path, resume: bool) -> Archive:
    """Opens the run's archive, or makes it."""
    check_folder(ready, out, resume=resume)
    path = out / ARCHIVE
    if not path.exists():
        aside = out / f".{ARCHIVE}.new"
        aside.unlink(missing_ok=True)
        Archive.create(aside, ready.goals, _facts(ready)).close()
        write_file(out / "recipe.yaml", ready.recipe.source.text)
        for split in ("search", "holdout"):
            items = {asked.name: asked.items[split] for asked in ready.tasks}
            write_file(out / "items" / f"{split}.json", json.dumps(items))
        put_in_place(aside, path)
    return Archive.open(path)


def _facts(ready: Ready) -> dict[str, Any]:
    """What a run is, for its archive: all that another run must share to continue it."""
    return {
        "recipe": ready.recipe.source.text,
        "recipe_name": ready.recipe.source.name,
        "search": ready.recipe.facts(),
        "measures": {name: _measure(o) for name, o in ready.objectives.items()},
        "preference": ready.recipe.preference.facts() if ready.recipe.preference else None,
        "auxiliary": [[g.name, g.maximize, g.threshold] for g in ready.auxiliary],
        "flags": _flags(ready),
        "device": ready.device,
        "threads": ready.threads,
        "versions": versions(),
        "machine": describe(),
        "items": {asked.name: asked.items for asked in ready.tasks},
        "tasks": {asked.name: _content(asked) for asked in ready.tasks},
        "layers": ready.space.layers.facts() if ready.space.layers else None,
    }


def _content(asked: Asked) -> str:
    """A digest of a task: of its file, and of the documents that are asked."""
    digest = hashlib.sha256(asked.path.read_bytes())
    for number in sorted(n for numbers in asked.items.values() for n in numbers):
        document = asked.task.eval_docs[number]
        digest.update(json.dumps(document, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _measure(objective: Objective) -> list[str] | None:
    """The task and the `metric,filter` that an objective reads; None where it reads none."""
    task, metric = getattr(objective, "task", None), getattr(objective, "metric", None)
    return None if task is None else [str(task), str(metric)]


def _flags(ready: Ready) -> dict[str, Any]:
    """The merge options that change scores."""
    idle = {"num_threads", "device", "cuda", "transformers_cache", "lora_merge_cache"}
    return {key: value for key, value in asdict(ready.flags).items() if key not in idle}


def _same_run(ready: Ready, archive: Archive, out: Path) -> None:
    """Refuses to continue a run as something that it is not, naming what differs."""
    now = json.loads(json.dumps(_facts(ready), default=str))
    names = ["search", "flags", "device", "items", "layers"]
    if archive.fact("items") == now["items"]:  # else other documents are asked in any case
        names.append("tasks")
    differing = [
        f"{name}.{key}" if key else name
        for name in names
        for key in _differing(archive.fact(name), now[name])
    ]
    asked = ready.flags.num_threads
    if asked is not None and asked != archive.fact("threads"):
        differing.append(f"threads ({archive.fact('threads')} then, {asked} now)")
    if differing:
        what = f"{out} was run with other settings: {', '.join(differing)}"
        raise UserError(f"{what}; only the budget may change. Choose another --out", status=2)


def _differing(then: Any, now: Any) -> list[str]:
    """The keys in which two records differ; an empty key where they are no records."""
    if isinstance(then, dict) and isinstance(now, dict):
        return sorted(k for k in then.keys() | now.keys() if then.get(k) != now.get(k))
    return [] if then == now else [""]


def _changed_versions(archive: Archive) -> Iterator[Event]:
    then, now = archive.fact("versions"), versions()
    for name in _differing(then, now):
        yield Warned(f"{name} was {then.get(name)} when this run began, and is {now.get(name)}")


def _idle_layers(ready: Ready) -> Iterator[Event]:
    if ready.space.layers and not ready.optimizer.searches_layers:
        what = f"{ready.recipe.optimizer.kind} leaves layers alone"
        yield Warned(f"{what}: every candidate keeps the straight path")


def _references(
    ready: Ready, archive: Archive, executor: Executor[Job, Outcome]
) -> Iterator[Event]:
    """Scores the base and every source as they are; they anchor every scale."""
    if not archive.references:
        sources = ready.recipe.configuration.sources
        archive.propose("reference", [(source, as_it_is(source)) for source in sources])
    yield from _run(archive, executor, [t for t in archive.references if t.status == "waiting"])
    if not any(t.status == "done" for t in archive.references):
        _nothing_succeeded(archive, "reference")


def _candidates(
    ready: Ready, archive: Archive, executor: Executor[Job, Outcome]
) -> Iterator[Event]:
    """Runs what is waiting, then asks and runs, until the budget is spent."""
    space, budget = ready.space, ready.recipe.budget
    if ready.optimizer.wants_differences and archive.fact("differences") is None:
        archive.remember("differences", ready.differences())
    if not archive.candidates:
        starts = space.starts()[:budget]
        archive.propose("candidate", [(c, space.config(c.unit)) for c in starts])
    yield from _run(archive, executor, [t for t in archive.candidates if t.status == "waiting"])
    while len(archive.candidates) < budget:
        ask = archive.asks
        count = min(max(executor.slots, ready.optimizer.batch), budget - len(archive.candidates))
        seed = SeedSequence((ready.recipe.seed, ask))
        found = [space.settled(c) for c in ready.optimizer.ask(space, archive, count, seed)]
        if not found:
            yield Warned("the space has no more candidates")
            break
        trials = archive.propose(
            "candidate", [(c, space.config(c.unit)) for c in found[:count]], ask
        )
        yield from _run(archive, executor, trials)
    if not any(t.status == "done" for t in archive.candidates):
        _nothing_succeeded(archive, "candidate")


def _run(
    archive: Archive,
    executor: Executor[Job, Outcome],
    trials: Sequence[Trial],
    split: Split = "search",
) -> Iterator[Event]:
    """Runs trials and records what comes out."""
    for trial in trials:
        executor.submit(Job(trial.number, trial.config, split, walk_of(archive, trial)))
    for _ in trials:
        job, outcome = executor.wait()
        if split == "search":
            trial = archive.finish(job.number, outcome, time.time())
            yield Finished(trial, trial in archive.front())
            continue
        if complaint := _holdout_complaint(archive, job, outcome):
            yield Warned(complaint)
            continue
        yield Opened(archive.finish(job.number, outcome, time.time(), "holdout"))


def _holdout_complaint(archive: Archive, job: Job, outcome: Outcome) -> str:
    """Why a hold-out score cannot be believed; empty where it can."""
    if outcome.error is not None:
        return f"trial {job.number} could not be scored on the hold-out: {outcome.error}"
    (trial,) = (t for t in archive.trials if t.number == job.number)
    if outcome.digest != trial.digest:
        return (
            f"trial {job.number} merged to other weights than those that were scored: have the "
            "sources changed? It has no hold-out score"
        )
    return ""


def _holdout(ready: Ready, archive: Archive, executor: Executor[Job, Outcome]) -> Iterator[Event]:
    """Scores references, the recipe's own values and the front, which now stands, on the hold-out.

    The recipe's own values are what a gain is measured from, on the front or not.
    """
    if not any(asked.items["holdout"] for asked in ready.tasks):
        return
    done = [t for t in archive.references if t.status == "done"]
    front, own = archive.front(), own_trial(archive)
    if own is not None and own.status == "done" and own not in front:
        done.append(own)
    trials = [t for t in (*done, *front) if not t.holdout]
    yield from _run(archive, executor, trials, "holdout")


def _nothing_succeeded(archive: Archive, role: Role) -> None:
    """Ends a run in which no trial of a role could be scored.

    Raises:
        UserError: always, with the first error of each kind.
    """
    errors = dict.fromkeys(t.error for t in archive.trials if t.role == role and t.error)
    listing = "\n".join(f"  {error}" for error in list(errors)[:3])
    raise UserError(f"no {role} could be scored:\n{listing}", status=1)

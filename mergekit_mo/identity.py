"""What a run is: the facts in its archive that another run must share to continue it.

Rule: executor, output and budget may change between a run and its continuation; whatever would
change a score is refused, and what differs is named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergekit_mo.archive import Archive
from mergekit_mo.contents import Content, contents, read_contents
from mergekit_mo.events import Event, Warned
from mergekit_mo.files import put_in_place, write_file
from mergekit_mo.machine import describe, versions
from mergekit_mo.objectives import Objective
from mergekit_mo.options import OURS_ALONE
from mergekit_mo.preflight import Ready
from mergekit_mo.problems import UserError

if TYPE_CHECKING:
    from mergekit_mo.asking import Asked

ARCHIVE = "archive.db"


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


def open_run(
    ready: Ready, out: Path, resume: bool, fill: Callable[[Archive], None] = lambda _: None
) -> Archive:
    """Opens the run's archive, or makes it; `fill` writes what it begins with."""
    check_folder(ready, out, resume=resume)
    path = out / ARCHIVE
    if not path.exists():
        aside = out / f".{ARCHIVE}.new"
        aside.unlink(missing_ok=True)
        with Archive.create(aside, ready.goals, run_facts(ready)) as archive:
            fill(archive)
        write_file(out / "recipe.yaml", ready.recipe.source.text)
        for split in ("search", "holdout"):
            items = {asked.name: asked.items[split] for asked in ready.tasks}
            write_file(out / "items" / f"{split}.json", json.dumps(items))
        put_in_place(aside, path)
    return Archive.open(path)


def same_contents(ready: Ready, archive: Archive, out: Path) -> dict[str, Content]:
    """What the sources' folders hold: read when the run begins, and compared when it goes on.

    Raises:
        UserError: one holds something else than when the run began.
    """
    before = read_contents(archive.fact("contents") or {})
    now = contents(ready.recipe.configuration.sources, before)
    for part, content in now.items():
        if part in before and before[part].digest != content.digest:
            what = f"{part} is not what it was when the run in {out} began"
            raise UserError(f"{what}: put it back, or choose another --out", status=2)
    if now != before:
        archive.remember("contents", {part: content.plain() for part, content in now.items()})
    return now


def changed_versions(archive: Archive) -> Iterator[Event]:
    """Warns of libraries that are not those that the run began with."""
    then, now = archive.fact("versions"), versions()
    for name in differing(then, now):
        yield Warned(f"{name} was {then.get(name)} when this run began, and is {now.get(name)}")


def fingerprint(ready: Ready) -> str:
    """A digest of all that a worker must share with its search."""
    facts = run_facts(ready)
    shared = {name: facts[name] for name in ("search", "flags", "items", "tasks", "layers")}
    text = json.dumps(shared, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def run_facts(ready: Ready) -> dict[str, Any]:
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
        "backend": {"name": ready.backend.name, "reason": ready.backend.reason},
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
    idle = {"num_threads", "device", "cuda", "transformers_cache", "lora_merge_cache"} | OURS_ALONE
    return {key: value for key, value in asdict(ready.flags).items() if key not in idle}


def _same_run(ready: Ready, archive: Archive, out: Path) -> None:
    """Refuses to continue a run as something that it is not, naming what differs."""
    now = json.loads(json.dumps(run_facts(ready), default=str))
    names = ["search", "flags", "device", "items", "layers"]
    if archive.fact("items") == now["items"]:  # else other documents are asked in any case
        names.append("tasks")
    found = [
        f"{name}.{key}" if key else name
        for name in names
        for key in differing(archive.fact(name), now[name])
    ]
    backend = (archive.fact("backend") or {"name": "hf"})["name"]
    if backend != ready.backend.name:
        found.append(f"backend ({backend} then, {ready.backend.name} now)")
    asked = ready.flags.num_threads
    if asked is not None and asked != archive.fact("threads"):
        found.append(f"threads ({archive.fact('threads')} then, {asked} now)")
    if found:
        what = f"{out} was run with other settings: {', '.join(found)}"
        raise UserError(f"{what}; only the budget may change. Choose another --out", status=2)


def differing(then: Any, now: Any) -> list[str]:
    """The keys in which two records differ; an empty key where they are no records."""
    if isinstance(then, dict) and isinstance(now, dict):
        return sorted(k for k in then.keys() | now.keys() if then.get(k) != now.get(k))
    return [] if then == now else [""]

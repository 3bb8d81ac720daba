"""An earlier run's archive warms a new one: its trials are copied, or its front is tried first.

Rule: scores are copied only where all of them would come out the same here (same measures, items,
tasks, models and settings); otherwise only points are taken over, and are scored anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.clock import IMPORTED
from mergekit_mo.contents import Content, contents, read_contents
from mergekit_mo.files import locked
from mergekit_mo.identity import check_folder, differing, open_run, run_facts
from mergekit_mo.machine import versions
from mergekit_mo.merging import as_it_is
from mergekit_mo.preflight import Ready
from mergekit_mo.problems import UserError
from mergekit_mo.space import METHOD, Axis, Candidate, Space
from mergekit_mo.trial import SPLITS, Goal, Trial

ORIGIN = "import"
"""Who proposed a trial that came from another run; the recipe's own values stay the recipe's."""

Pair = tuple[Candidate, Trial]
"""A point of the new space, and the old trial that lies there."""


@dataclass(frozen=True)
class Imported:
    """What came of it.

    Attributes:
        copied: candidates that were taken over with their scores.
        references: likewise the base and the sources as they are.
        proposed: points of the old front that wait to be scored anew.
        beyond: points of the old front for which the budget has no room.
        inexpressible: finished candidates that the new space does not hold.
        reasons: why scores could not be taken over; empty where they were.
        warnings: libraries that were others then.
    """

    copied: int
    references: int
    proposed: int
    beyond: int
    inexpressible: int
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


def import_run(ready: Ready, old: Archive, run: Path, out: Path) -> Imported:
    """Makes a run folder that begins with what an earlier run knows; runs nothing.

    Args:
        ready: what is to be searched, from `preflight.prepare`.
        old: the earlier run's archive.
        run: its folder.
        out: the new run folder.

    Raises:
        UserError: the runs have nothing in common, or `out` holds a run.
    """
    check_folder(ready, out, resume=False)
    if ready.flags.num_threads is None and old.fact("threads"):
        ready = replace(ready, threads=old.fact("threads"))  # as a resumed run does
    pairs, others = _expressible(ready, old, run)
    known = contents(ready.recipe.configuration.sources, read_contents(old.fact("contents") or {}))
    reasons = tuple(_reasons(ready, old, known))
    if reasons:
        front = {t.number for t in old.front()}
        pairs = [(candidate, trial) for candidate, trial in pairs if trial.number in front]
        if not pairs:
            what = f"scores of {run} do not hold here ({', '.join(reasons)})"
            raise UserError(f"{what}, and nothing of its front lies in this space", status=2)
    filled: list[Imported] = []

    def fill(archive: Archive) -> None:
        archive.remember("contents", {part: content.plain() for part, content in known.items()})
        sources = ready.recipe.configuration.sources
        archive.propose("reference", [(source, as_it_is(source)) for source in sources])
        take = _try_first if reasons else _copy_all
        filled.append(replace(take(ready, old, run, pairs, archive), inexpressible=others))

    with locked(out):
        open_run(ready, out, resume=False, fill=fill).close()
    return replace(filled[0], reasons=reasons, warnings=tuple(_warnings(old)))


# What the new space holds.


def _expressible(ready: Ready, old: Archive, run: Path) -> tuple[list[Pair], int]:
    """Finished candidates as points of the new space, and how many are none.

    Raises:
        UserError: there are none, and why.
    """
    here = set(ready.recipe.configuration.sources)
    there = {t.origin for t in old.references}
    if not there:
        raise UserError(f"{run}: no trial has begun in it: there is nothing to import", status=2)
    if here != there:
        told = [f"{name} is only in {run}" for name in sorted(there - here)]
        told += [f"{name} is only in the recipe" for name in sorted(here - there)]
        raise UserError(f"{run} merged other sources: {'; '.join(told)}", status=2)
    layers = ready.space.layers.facts() if ready.space.layers else None
    if old.fact("layers") is not None and old.fact("layers") != json.loads(json.dumps(layers)):
        what = f"{run} searched other layers"
        raise UserError(f"{what}: give the recipe its search.layers", status=2)
    done = [t for t in old.candidates if t.status == "done"]
    if not done:
        raise UserError(f"{run}: none of its candidates has finished", status=2)
    found: dict[Any, Pair] = {}
    lost = 0
    for trial in done:
        unit = point_of(ready.space, trial.config)
        if unit is None:
            lost += 1
            continue
        candidate = ready.space.settled(Candidate(unit, ORIGIN, trial.path))
        found.setdefault((candidate.unit, candidate.path), (candidate, trial))
    if not found:
        then = (old.fact("search") or {}).get("configuration")
        names = differing(then, _plain(ready.recipe.facts()["configuration"]))
        what = f"none of the {lost} finished candidates of {run} lies in this recipe's space"
        why = f"these differ: {', '.join(names)}" if any(names) else "the methods differ"
        raise UserError(f"{what}; {why}", status=2)
    return list(found.values()), lost


def point_of(space: Space, config: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The point at which a space has a configuration; None where it has it nowhere."""
    try:
        unit = space.snap([axis.encode(_value(axis, config)) for axis in space.axes])
    except (LookupError, TypeError, ValueError):
        return None
    return unit if _plain(space.config(unit)) == config else None


def _value(axis: Axis, config: Mapping[str, Any]) -> Any:
    """What stands in a configuration where an axis has its hole.

    Raises:
        LookupError, TypeError, ValueError: nothing like it does.
    """
    if axis.place == METHOD:
        return config["merge_method"]
    node: Any = config
    for key in axis.place[:-1]:
        node = node[key]
    if isinstance(node, Mapping) and axis.place[-1] not in node:
        return axis.start  # its method does not know the parameter
    node = node[axis.place[-1]]
    node = node["value"] if isinstance(node, Mapping) else node
    return node if axis.anchor is None else node[axis.anchor]


# Whether scores hold.


def _reasons(ready: Ready, old: Archive, known: Mapping[str, Content]) -> Iterator[str]:
    """Why scores of an old run would not come out the same; none where they would."""
    now = _plain(run_facts(ready))
    for name, other in _names(ready, old).items():
        if other is None:
            yield f"{name} was not measured, or in another way"
    for name, items in now["items"].items():
        if (old.fact("items") or {}).get(name) != items:
            yield f"other items of {name}"
        elif (old.fact("tasks") or {}).get(name) != now["tasks"][name]:
            yield f"{name} has other content"
    for name in ("flags", "device", "threads"):
        yield from (f"{name}.{k}" if k else name for k in differing(old.fact(name), now[name]))
    if ((old.fact("backend") or {}).get("name") or "hf") != now["backend"]["name"]:
        yield "backend"
    then, evaluation = (
        {k: v for k, v in (search.get("evaluation") or {}).items() if k not in _TOLD_BY_ITEMS}
        for search in (old.fact("search") or {}, now["search"])
    )
    yield from (f"evaluation.{key}" for key in differing(then, evaluation))
    before = read_contents(old.fact("contents") or {})
    for part in sorted(before.keys() | known.keys()):
        if part not in before or part not in known or before[part].digest != known[part].digest:
            yield f"{part} holds something else"


_TOLD_BY_ITEMS = frozenset({"limit", "holdout", "rungs"})
"""Settings that only choose which items are asked; a finished trial answered all of them."""


def _names(ready: Ready, old: Archive) -> dict[str, str | None]:
    """The old goal that each new one is, by name; None where it was not measured like that."""
    now = _plain(run_facts(ready))
    then = {name: old.fact(name) or {} for name in ("search", "measures")}
    goals = _measures(old.goals, old.auxiliary, then["search"], then["measures"])
    wanted = _measures(ready.goals, ready.auxiliary, now["search"], now["measures"])
    return {
        name: next((other for other, known in goals.items() if known == measure), None)
        for name, measure in wanted.items()
    }


def _measures(
    goals: Sequence[Goal],
    auxiliary: Sequence[Goal],
    search: Mapping[str, Any],
    tasks: Mapping[str, Any],
) -> dict[str, list[Any]]:
    """What each goal is measured by, as plain JSON; its name and threshold do not matter.

    An auxiliary objective that the optimizer chose stands in no recipe, and has no settings.
    """
    listed = [*zip(goals, search.get("objectives") or (), strict=False)]
    listed += zip_longest(auxiliary, search.get("auxiliary") or ())
    found = {}
    for goal, entry in listed:
        kind, settings = (goal.name, {}) if entry is None else entry[:2]
        kept = {k: v for k, v in settings.items() if k not in ("task", "metric")}
        read = tasks.get(goal.name)
        # Where it is not known what was read, what the recipe says has to be the same.
        found[goal.name] = [kind, kept if read else settings, read, goal.maximize]
    return found


def _warnings(old: Archive) -> Iterator[str]:
    then, now = old.fact("versions") or {}, versions()
    for name in differing(then, now):
        yield f"{name} was {then.get(name)} in the earlier run, and is {now.get(name)}"


def _plain(value: Any) -> Any:
    """As it would be read back from an archive."""
    return json.loads(json.dumps(value, default=str))


# What the new archive gets.


def _copy_all(
    ready: Ready, old: Archive, run: Path, pairs: Sequence[Pair], archive: Archive
) -> Imported:
    """Writes finished trials, then those of the recipe's first candidates that are not there."""
    parents = {t.origin: t for t in old.references if t.status == "done"}
    copies = [(t, parents[t.origin]) for t in archive.references if t.origin in parents]
    starts = {(c.unit, c.path): c for c in map(ready.space.settled, ready.space.starts())}
    entries = []
    for candidate, _ in pairs:
        start = starts.pop((candidate.unit, candidate.path), candidate)
        entries.append((start, ready.space.config(candidate.unit)))
    proposed = archive.propose("candidate", entries)
    copies += [(new, trial) for new, (_, trial) in zip(proposed, pairs, strict=True)]
    archive.remember(IMPORTED, {"run": run.name, "trials": [new.number for new, _ in copies]})
    names = _names(ready, old)
    finished = old.finished_at()
    for new, trial in copies:
        at = finished.get(trial.number, 0.0)
        for split in SPLITS:
            scores = trial.scores if split == "search" else trial.holdout
            if scores:
                tasks = [asked.name for asked in ready.tasks if asked.items[split]]
                own = {name: scores[other] for name, other in names.items() if other}
                answers = {task: old.answers(trial.number, split, task) for task in tasks}
                outcome = Outcome(own, answers, trial.digest, None, trial.seconds or 0.0)
                archive.finish(new.number, outcome, at, split)
    missing = list(starts.values())[: ready.recipe.budget]
    archive.propose("candidate", [(c, ready.space.config(c.unit)) for c in missing])
    return Imported(len(pairs), len(copies) - len(pairs), 0, 0, 0, (), ())


def _try_first(
    ready: Ready, old: Archive, run: Path, pairs: Sequence[Pair], archive: Archive
) -> Imported:
    """Writes the recipe's first candidates and the old front's points as waiting."""
    del old, run
    first = {(c.unit, c.path): c for c in map(ready.space.settled, ready.space.starts())}
    known = len(first)
    for candidate, _ in pairs:
        first.setdefault((candidate.unit, candidate.path), candidate)
    chosen = list(first.values())[: ready.recipe.budget]
    archive.propose("candidate", [(c, ready.space.config(c.unit)) for c in chosen])
    return Imported(0, 0, max(0, len(chosen) - known), len(first) - len(chosen), 0, (), ())

"""Whom a candidate races against: the front's recorded answers, made ready for a worker.

Rule: a race is a function of the archive as it stood when the job was made, and of trials asked for
before the candidate, so that one worker that is killed and resumed stops the same candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mergekit_mo.archive import Archive
from mergekit_mo.problems import UserError
from mergekit_mo.races import Link, Measure, Plan, Race, Rival, Values, make_plan
from mergekit_mo.strata import columns
from mergekit_mo.trial import Goal, Trial

MOST = 16
"""Rivals of one candidate: more would be more to send, and a smaller error for each."""

_PLAN = "race"
_RATIOS = {"bits_per_byte": "bits", "byte_perplexity": "exp", "word_perplexity": "exp"}
_LINKS: Mapping[str, Link] = {"perplexity": "exp", **_RATIOS}  # type: ignore[dict-item]


def link_of(metric: str) -> Link:
    """How a metric's score comes from its items."""
    return _LINKS.get(metric.partition(",")[0], "mean")


def race_of(archive: Archive, trial: Trial) -> Race | None:
    """The race of a waiting candidate; None where it is to answer every item.

    The recipe's own first candidates answer all: they are what others are compared with.
    """
    if trial.role != "candidate" or trial.ask is None:
        return None
    plan = plan_of(archive)
    if plan is None:
        return None
    measures = _measures(archive, plan)
    earlier = _front_before(archive, trial)
    rivals = [_rival(archive, t, measures, plan) for t in _foremost(archive, earlier)]
    known = tuple(r for r in rivals if r is not None)
    goals = tuple(goal.name for goal in archive.goals)
    return Race(plan, measures, goals, known) if known else None


def _front_before(archive: Archive, trial: Trial) -> Sequence[Trial]:
    """The front of what was asked for before a trial.

    It is the archive's own, which is kept and not found anew, unless a member of that came later:
    what is no member is beaten by one.
    """
    front = archive.front()
    if all(_before(t, trial) for t in front):
        return front
    return archive.front_of(t for t in archive.candidates if _before(t, trial))


def _before(one: Trial, trial: Trial) -> bool:
    return one.number < trial.number and one.ask != trial.ask


def plan_of(archive: Archive) -> Plan | None:
    """The run's plan, drawn when it is first asked for; None where no race is wanted."""
    search = archive.fact("search") or {}
    rungs = (search.get("evaluation") or {}).get("rungs")
    parents = [t for t in archive.references if t.status == "done"]
    if not rungs or not parents:
        return None
    facts = archive.fact(_PLAN)
    if facts is None:
        items = {task: split["search"] for task, split in archive.fact("items").items()}
        rows: dict[str, list[Any]] = {}
        for goal in (*archive.goals, *archive.auxiliary):
            measure = _bare(archive, goal, parents[0])
            if measure.task:
                own = [measure.values(_items(archive, t, measure)) for t in parents]
                rows.setdefault(measure.task, []).append(np.array(own))
        used = {task: ids for task, ids in items.items() if task in rows}
        if not used:
            return None
        facts = make_plan(rungs, used, rows, int(search.get("seed") or 0)).facts()
        archive.remember(_PLAN, facts)
    return Plan.read(facts)


def _measures(archive: Archive, plan: Plan) -> dict[str, Measure]:
    """By goal, how its score comes from its items, and what the parents' items brought."""
    parents = [t for t in archive.references if t.status == "done"]
    found = {}
    for goal in (*archive.goals, *archive.auxiliary):
        measure = _bare(archive, goal, parents[0])
        if measure.task:
            rows = [_ordered(archive, t, measure, plan) for t in parents]
            measure = replace(measure, parents=columns(np.array(rows)))
        found[goal.name] = measure
    return found


def _bare(archive: Archive, goal: Goal, parent: Trial) -> Measure:
    """A goal's measure, but for the parents' items."""
    found = (archive.fact("measures") or {}).get(goal.name)
    if found is None:
        return Measure(sign=goal.sign)
    task, metric = found
    measure = Measure(task, metric, link_of(metric), goal.sign)
    items = np.asarray(_items(archive, parent, measure), dtype=float)
    divisor = float(items[:, 1].mean()) if items.ndim == 2 else 1.0
    return Measure(task, metric, measure.link, goal.sign, divisor)


def _items(archive: Archive, trial: Trial, measure: Measure) -> Sequence[Any]:
    """What the metric of each item is, in the order of the documents."""
    found = archive.answers(trial.number, "search", measure.task)
    values: Sequence[Any] = found["values"][measure.metric]
    return values


def _ordered(archive: Archive, trial: Trial, measure: Measure, plan: Plan) -> Values:
    """What each item brings, in the plan's order."""
    ids = archive.fact("items")[measure.task]["search"]
    places = {document: i for i, document in enumerate(ids)}
    values = measure.values(_items(archive, trial, measure))
    return values[[places[document] for document in plan.orders[measure.task].ids]]


def _rival(
    archive: Archive, trial: Trial, measures: Mapping[str, Measure], plan: Plan
) -> Rival | None:
    """A front member with its answers; None where they cannot be read."""
    own = {goal.name: measures[goal.name] for goal in archive.goals}
    try:
        values = {g: _ordered(archive, trial, m, plan) for g, m in own.items() if m.task}
    except (UserError, KeyError, IndexError):
        return None
    known = {g: m.sign * trial.scores[g].value for g, m in own.items() if not m.task}
    return Rival(trial.number, values, known)


def _foremost(archive: Archive, trials: Sequence[Trial]) -> list[Trial]:
    """At most so many of a front, spread over it: each the farthest from those before it."""
    if len(trials) <= MOST:
        return list(trials)
    Y = archive.matrix(trials)
    chosen = [int(np.argmax(Y.sum(axis=1)))]
    apart = np.linalg.norm(Y - Y[chosen[0]], axis=1)
    while len(chosen) < MOST:
        chosen.append(int(np.argmax(apart)))
        apart = np.minimum(apart, np.linalg.norm(Y - Y[chosen[-1]], axis=1))
    return [trials[i] for i in sorted(chosen)]

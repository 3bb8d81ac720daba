"""What the page shows of a run, as plain JSON; what a surrogate learnt of it is in `learnt`.

Rule: everything here takes milliseconds a trial, so that a running search can be asked again and
again. A number that is not finite becomes null.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mergekit_mo import __version__
from mergekit_mo.advances import advances
from mergekit_mo.archive import Archive
from mergekit_mo.intervals import interval
from mergekit_mo.making import documents_of, layers_text
from mergekit_mo.report.columns import Column, labels, read_columns
from mergekit_mo.report.depth import depth_lines, varies_over_depth
from mergekit_mo.report.history import feasible_ones, history, volumes
from mergekit_mo.report.texts import packed_texts
from mergekit_mo.trial import Measurement, Trial

_DIGITS = 7


def report_facts(archive: Archive, run: Path, now: float | None = None) -> dict[str, Any]:
    """The facts of a run, finished or not.

    Args:
        archive: of the run.
        run: its folder; the front's YAML files are taken from there.
        now: seconds since the epoch; None for the clock's.
    """
    columns, named = read_columns(archive)
    front = archive.front()
    search = archive.fact("search") or {}
    volume = volumes(archive)
    return {
        "run": run.resolve().name,
        "folder": str(run),
        "version": __version__,
        "made": time.time() if now is None else now,
        "optimizer": (search.get("optimizer") or [None])[0],
        "methods": search.get("methods") or [],
        "machine": archive.fact("machine"),
        "items": _items(archive),
        "goals": _goals(archive),
        "columns": [column.facts() for column in columns],
        "columns_are_holes": named,
        "trials": _trials(archive, columns, front),
        "gains": _gains(archive),
        "history": [_short(row) for row in history(archive)],
        "volumes": volume,
        "depth": _depth(archive, columns, front, named),
        "texts": packed_texts(archive.trials, front, run, documents=partial(documents_of, archive)),
    }


def _items(archive: Archive) -> dict[str, dict[str, int]]:
    """How many items of each task are asked, by split."""
    known = archive.fact("items") or {}
    return {task: {s: len(ids) for s, ids in splits.items()} for task, splits in known.items()}


def _goals(archive: Archive) -> list[dict[str, Any]]:
    return [
        {
            "name": scale.goal.name,
            "maximize": scale.goal.maximize,
            "threshold": scale.goal.threshold,
            "anchored": scale.anchored,
        }
        for scale in archive.scales
    ]


def _trials(
    archive: Archive, columns: Sequence[Column], front: Sequence[Trial]
) -> list[dict[str, Any]]:
    members = {trial.number for trial in front}
    ended, able = archive.finished_at(), feasible_ones(archive)
    names = [goal.name for goal in archive.goals]
    called = labels([t.origin for t in archive.references])
    return [
        {
            "n": trial.number,
            "role": trial.role,
            "origin": trial.origin,
            "label": called[trial.origin] if trial.role == "reference" else str(trial.number),
            "status": trial.status,
            # Estimates are no match for scores: the page's pictures are of scores.
            "scores": None if trial.stopped else _scores(trial.scores, names),
            "stopped": trial.stopped.text() if trial.stopped else None,
            "holdout": _scores(trial.holdout, names),
            "values": _values(trial, columns),
            "front": trial.number in members,
            "feasible": trial.number in able,
            "seconds": _rounded(trial.seconds),
            "at": ended.get(trial.number),
            "error": trial.error,
            "digest": trial.digest,
            "path": layers_text(archive, trial) or None,
        }
        for trial in archive.trials
    ]


def _scores(scores: Mapping[str, Measurement], names: Sequence[str]) -> list[Any] | None:
    """Value, standard error, items and the interval's ends by goal; None where none is scored."""
    if not scores:
        return None
    return [_score(scores[name]) if name in scores else None for name in names]


def _score(m: Measurement) -> list[Any]:
    ends = interval(m)
    both = [None, None] if ends is None else [_rounded(ends.low), _rounded(ends.high)]
    return [_rounded(m.value), _rounded(m.stderr), m.n, *both]


def _gains(archive: Archive) -> dict[str, Any] | None:
    """What the front gains over the sources; None until the hold-out has told."""
    found = advances(archive)
    if found.split != "holdout":
        return None
    by_trial: dict[str, list[Any]] = {}
    for a in found.all:
        ends = a.interval.plain() if a.interval else [None, None]
        by_trial.setdefault(str(a.number), []).append([_rounded(x) for x in (a.gain, *ends)])
    return {"count": len(found.all), "trials": by_trial}


def _values(trial: Trial, columns: Sequence[Column]) -> list[Any] | None:
    """What a candidate has in each column; a choice as text."""
    if trial.unit is None or len(trial.unit) != len(columns):
        return None
    pairs = zip(columns, trial.unit, strict=True)
    values = [(column, column.value(u)) for column, u in pairs]
    return [str(value) if column.count else _rounded(value) for column, value in values]


def _depth(
    archive: Archive, columns: Sequence[Column], front: Sequence[Trial], named: bool
) -> dict[str, Any]:
    """The lines over depth of every front member, for the parameters that were searched."""
    searched = {(c.groups["parameter"], c.groups["tensors"]) for c in columns} if named else None
    members = front or [t for t in archive.candidates if t.status == "done"][-1:]
    varies, trials = False, {}
    for trial in members:
        lines = depth_lines(trial.config)
        if searched is not None:
            lines = [line for line in lines if (line.parameter, line.tensors) in searched]
        varies = varies or varies_over_depth(lines)
        trials[str(trial.number)] = [
            [
                line.parameter,
                line.tensors,
                line.model,
                [[_rounded(x), _rounded(y)] for x, y in line.points],
            ]
            for line in lines
        ]
    return {"varies": varies, "trials": trials}


def _short(row: Mapping[str, Any]) -> list[Any]:
    return [row["trial"], *(_rounded(row[key]) for key in ("work", "clock", "volume"))]


def _rounded(value: Any) -> Any:
    """A number with seven digits, which is more than a screen shows; None where it is none."""
    if value is None or isinstance(value, int | str):
        return value
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None

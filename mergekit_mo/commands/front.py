"""`mergekit-mo front`: the best trade-offs of a run beside its parents."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from mergekit_mo.commands._shared import (
    AS_JSON,
    RUN,
    examples,
    open_run,
    quoted,
    reports_errors,
    say,
    tell,
    tell_json,
)
from mergekit_mo.problems import UserError

if TYPE_CHECKING:
    from mergekit_mo.archive import Archive
    from mergekit_mo.trial import Trial


@click.command(
    "front",
    epilog=examples(
        "mergekit-mo front runs/base",
        "mergekit-mo front runs/base --csv > front.csv",
        "mergekit-mo front runs/base --json",
    ),
)
@RUN
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@AS_JSON
@reports_errors
def command(run: Path, as_csv: bool, as_json: bool) -> None:
    """Show the best trade-offs of RUN beside its parents, search and hold-out scores apart.

    It can be asked while the search runs.
    """
    if as_csv and as_json:
        raise UserError("--csv and --json are two forms of one thing: take one", status=2)
    with open_run(run) as archive:
        parents, front = list(archive.references), _ordered(archive)
        if as_csv:
            from mergekit_mo.export import table_text

            tell(table_text(archive, [*parents, *front]).rstrip("\n"))
        elif as_json:
            tell_json(_facts(archive, parents, front))
        else:
            for row in _rows(archive, [*parents, *front]):
                tell(row)
        for line in _narration(archive, run, front):
            say(line)


def _ordered(archive: Archive) -> list[Trial]:
    """The front, the best of the first goal on top."""
    goal = archive.goals[0]
    return sorted(archive.front(), key=lambda t: -goal.sign * t.scores[goal.name].value)


def _rows(archive: Archive, trials: list[Trial]) -> list[str]:
    """A table in plain text, columns aligned."""
    from mergekit_mo.intervals import text as figure
    from mergekit_mo.making import layers_text

    opened = any(t.holdout for t in trials)
    walked = archive.layers is not None
    head = ["trial"]
    for goal in archive.goals:
        head.append(f"{goal.name} {'↑' if goal.maximize else '↓'}")
        head += ["hold-out"] * opened
    head += ["layers"] * walked
    table = [head]
    for trial in trials:
        cells = [PurePath(trial.origin).name if trial.role == "reference" else str(trial.number)]
        for goal in archive.goals:
            cells.append(figure(trial.scores.get(goal.name)))
            cells += [figure(trial.holdout.get(goal.name))] * opened
        cells += [layers_text(archive, trial)] * walked
        table.append(cells)
    left = {0, len(head) - 1} if walked else {0}
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _facts(archive: Archive, parents: list[Trial], front: list[Trial]) -> dict[str, Any]:
    done = [t for t in parents if t.status == "done"]
    from mergekit_mo.advances import advances

    return {
        "goals": [asdict(goal) for goal in archive.goals],
        "parents": [_trial(archive, t) for t in parents],
        "front": [_trial(archive, t) for t in front],
        "hypervolume": {"front": archive.hypervolume(front), "parents": archive.hypervolume(done)},
        "gains": advances(archive).facts(),
    }


def _trial(archive: Archive, trial: Trial) -> dict[str, Any]:
    from mergekit_mo.intervals import with_ends
    from mergekit_mo.making import layers_text

    keys = ("number", "origin", "status", "scores", "holdout", "digest", "seconds")
    facts = asdict(trial)
    own = {key: facts[key] for key in keys} | {"path": layers_text(archive, trial) or None}
    return own | {"scores": with_ends(trial.scores), "holdout": with_ends(trial.holdout)}


def _stopped(archive: Archive) -> int:
    return sum(t.status == "stopped" for t in archive.candidates)


def _narration(archive: Archive, run: Path, front: list[Trial]) -> list[str]:
    """How many of how many, and what to do next."""
    trials = archive.candidates
    failed = sum(t.status == "failed" for t in trials)
    waiting = sum(t.status == "waiting" for t in trials)
    line = f"{len(front)} of {len(trials)} merges on the front"
    line += (f", {failed} failed" if failed else "") + (f", {waiting} waiting" if waiting else "")
    line += f", {stopped} stopped early" if (stopped := _stopped(archive)) else ""
    if not front:
        return [line]
    from mergekit_mo.advances import advances

    way = f"choose one with:  {quoted('mergekit-mo', 'pick', run, '--by', 'knee')}"
    note = "brackets are 95 % intervals, of each score by itself"
    return [line, note, *advances(archive).lines(), way]

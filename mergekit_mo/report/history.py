"""Hypervolume as the trials came in, by their number, by the work done and by the clock.

Rule: the trials are taken in the order in which they finished, and only feasible ones count, as in
the archive's own front.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mergekit_mo.archive import Archive
from mergekit_mo.pareto import Matrix, hypervolume, nondominated
from mergekit_mo.scales import anchored_columns, reference_point


def history(archive: Archive) -> list[dict[str, Any]]:
    """One entry a finished or failed candidate.

    Returns:
        `trial`, its number; `work`, the seconds that were spent on merging and scoring until then,
        references included; `clock`, the seconds since the first trial began; `volume`, of all
        that had finished by then. Empty where no goal is anchored.
    """
    columns = anchored_columns(archive.scales)
    ended = archive.finished_at()
    order = sorted((t for t in archive.trials if t.number in ended), key=lambda t: ended[t.number])
    if not columns or not order:
        return []
    begun = min(ended[t.number] - (t.seconds or 0.0) for t in order)
    corner = reference_point(len(columns))
    rows_of = {t.number: i for i, t in enumerate(t for t in order if t.status == "done")}
    scores = archive.matrix([t for t in order if t.status == "done"])[:, columns]
    able = feasible_ones(archive)
    front: Matrix = np.zeros((0, len(columns)))
    work, volume, rows = 0.0, 0.0, []
    for trial in order:
        work += trial.seconds or 0.0
        if trial.role != "candidate":
            continue
        if trial.number in able:
            Y = np.vstack([front, scores[[rows_of[trial.number]]]])
            marks = nondominated(Y)
            front = Y[marks]
            if marks[-1]:  # else nothing has changed
                volume = hypervolume(front, corner)
        clock = ended[trial.number] - begun
        rows.append({"trial": trial.number, "work": work, "clock": clock, "volume": volume})
    return rows


def feasible_ones(archive: Archive) -> set[int]:
    """The numbers of the scored candidates that keep every threshold."""
    goals = archive.goals  # asked once: the archive reads them from its file
    return {
        t.number
        for t in archive.candidates
        if t.status == "done" and all(g.allows(t.scores[g.name].value) for g in goals)
    }


def volumes(archive: Archive) -> dict[str, dict[str, float] | None]:
    """Hypervolumes of front and parents on either split; None where not all of them are scored."""
    parents = [t for t in archive.references if t.status == "done"]
    front = archive.front()
    if not anchored_columns(archive.scales):
        return {"search": None, "holdout": None}
    held = bool(front) and all(t.holdout for t in (*front, *parents))
    return {
        "search": {"front": archive.hypervolume(front), "parents": archive.hypervolume(parents)},
        "holdout": {
            "front": archive.hypervolume(front, "holdout"),
            "parents": archive.hypervolume(parents, "holdout"),
        }
        if held
        else None,
    }

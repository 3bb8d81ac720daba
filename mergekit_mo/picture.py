"""The front as a picture: every merge, the front in colour, the parents as crosses.

Rule: one panel for each pair of goals, the first goal against each other one when there are many.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from itertools import combinations
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from mergekit_mo.archive import Archive
from mergekit_mo.trial import Goal, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind people can tell apart.
_FRONT, _PARENT, _OTHER = "#0072B2", "#D55E00", "#999999"
_MOST_PANELS = 3


def draw_front(archive: Archive) -> bytes:
    """Draws a run's search scores.

    Returns:
        A PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    goals = archive.goals
    pairs: list[tuple[Goal, Goal]] = list(combinations(goals, 2))
    if len(pairs) > _MOST_PANELS:
        pairs = [(goals[0], goal) for goal in goals[1 : _MOST_PANELS + 1]]
    if not pairs:
        pairs = [(goals[0], goals[0])]
    figure = Figure(figsize=(4.6 * len(pairs), 4.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    front = archive.front()
    rest = [t for t in archive.candidates if t.status == "done" and t not in front]
    parents = [t for t in archive.references if t.status == "done"]
    for panel, (across, up) in zip(
        figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True
    ):
        _scatter(panel, rest, across, up, label="merges", color=_OTHER, alpha=0.6, s=22)
        _scatter(panel, front, across, up, label="front", color=_FRONT, s=38, zorder=3)
        _scatter(
            panel, parents, across, up, label="parents", color=_PARENT, marker="x", s=50, zorder=4
        )
        for trial in parents:
            at = (trial.scores[across.name].value, trial.scores[up.name].value)
            name = PurePath(trial.origin).name
            panel.annotate(
                name, at, textcoords="offset points", xytext=(5, 5), fontsize=8, parse_math=False
            )
        panel.set_xlabel(_label(across), parse_math=False)  # a $ begins no formula
        panel.set_ylabel(_label(up), parse_math=False)
        panel.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=8)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a letter that the font lacks is a box
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _scatter(panel: Axes, trials: Sequence[Trial], across: Goal, up: Goal, **style: Any) -> None:
    x = [trial.scores[across.name].value for trial in trials]
    y = [trial.scores[up.name].value for trial in trials]
    panel.scatter(x, y, **style)


def _label(goal: Goal) -> str:
    return f"{goal.name} ({'more' if goal.maximize else 'less'} is better)"

"""Events become lines, a live screen or JSON.

Rule: data goes to standard output, narration to standard error.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import PurePath
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mergekit_mo.advances import advances
from mergekit_mo.archive import Archive
from mergekit_mo.budget import Budget
from mergekit_mo.clock import SPENT
from mergekit_mo.events import Ended, Event, Finished, Opened, Started, Warned
from mergekit_mo.gain import answer
from mergekit_mo.intervals import text as figure
from mergekit_mo.making import layers_text
from mergekit_mo.paired import differs
from mergekit_mo.scales import anchored_columns
from mergekit_mo.trial import Trial

_MOST_ROWS = 10
_FILE_WIDTH = 240  # a table in a file or a pipe is not broken at 80 columns


class Screen(Protocol):
    """Shows a search to somebody."""

    def show(self, event: Event) -> None:
        """Takes the next event."""


class JsonLines:
    """Every event as one line of JSON on standard output."""

    def show(self, event: Event) -> None:
        """See `Screen.show`."""
        record: dict[str, Any] = {"event": type(event).__name__.lower()}
        if isinstance(event, Started):
            budget = Budget(event.budget, event.seconds)
            counted = event.budget if budget.counted else None
            record |= {"out": str(event.out), "budget": counted, "done": event.done}
            record |= {"seconds": event.seconds} if event.seconds is not None else {}
        elif isinstance(event, Finished):
            record |= {"trial": asdict(event.trial), "on_front": event.on_front}
        elif isinstance(event, Opened):
            record |= {"trial": asdict(event.trial)}
        elif isinstance(event, Warned):
            record |= {"message": event.message}
        else:
            found = answer(event.archive)
            record |= {"out": str(event.out), "answer": found.facts() if found else None}
            record |= {"front": [asdict(t) for t in event.front]}
        print(json.dumps(record), flush=True)


class Lines:
    """A line for each trial on standard error, the tables at the end on standard output."""

    def __init__(self, out: Console, err: Console) -> None:
        self.out, self.err = out, err
        self.archive: Archive | None = None
        self.budget = Budget()

    def show(self, event: Event) -> None:
        """See `Screen.show`."""
        if isinstance(event, Started):
            self.archive, self.budget = event.archive, Budget(event.budget, event.seconds)
            verb = f"resumes after {event.done} trials" if event.done else "starts"
            self.say(f"{event.out}: the search {verb}, {self.budget.text()} in all")
            backend = event.archive.fact("backend")
            if backend and backend["reason"]:  # `auto` chose it
                self.say(f"answers by {backend['name']}, since {backend['reason']}")
        elif isinstance(event, Finished):
            self.say(self._line(event))
        elif isinstance(event, Opened):
            scores = "  ".join(f"{g} {figure(m)}" for g, m in event.trial.holdout.items())
            self.say(f"hold-out of {_name(event.trial)}: {scores}")
        elif isinstance(event, Warned):
            self.say(f"warning: {event.message}")
        else:
            show_end(event, self.out)

    def say(self, text: str) -> None:
        """Prints a line of narration."""
        self.err.print(Text(text), soft_wrap=True)

    def _line(self, event: Finished) -> str:
        trial = event.trial
        head = f"{_name(trial):>10}  {trial.seconds or 0:6.1f} s  "
        if trial.status == "failed":
            return f"{head}failed: {(trial.error or '').splitlines()[0]}"
        if trial.stopped:
            return f"{head}{trial.stopped.text()}"
        scores = "  ".join(f"{goal} {figure(m)}" for goal, m in trial.scores.items())
        return f"{head}{scores}{'  joins the front' if event.on_front else ''}"


class LiveScreen(Lines):
    """A progress line and the front so far beside the parents, kept up to date in place."""

    def __init__(self, out: Console, err: Console, live: Live) -> None:
        super().__init__(out, err)
        self.live = live
        self.begun = time.monotonic()
        self.before = 0

    def show(self, event: Event) -> None:
        """See `Screen.show`."""
        if isinstance(event, Started):
            self.before = sum(t.status != "waiting" for t in event.archive.candidates)
        if isinstance(event, Ended):
            self.live.update(Text(""))
            self.live.stop()
        if isinstance(event, Started | Warned | Ended):
            super().show(event)
        if self.archive is not None and not isinstance(event, Ended):
            self.live.update(self._screen(self.archive), refresh=True)

    def _screen(self, archive: Archive) -> RenderableType:
        done = [t for t in archive.candidates if t.status != "waiting"]
        failed = sum(t.status == "failed" for t in done)
        elapsed = time.monotonic() - self.begun
        rate = elapsed / max(len(done) - self.before, 1)
        whole: float = self.budget.trials
        left = rate * (whole - len(done)) if len(done) > self.before else None
        words = [
            Text(f"{len(done)}/{whole} merges" if self.budget.counted else f"{len(done)} merges")
        ]
        part: float = len(done)
        if self.budget.seconds is not None:
            spent = archive.fact(SPENT) or 0.0
            rest = max(0.0, self.budget.seconds - spent)
            left = rest if left is None else min(left, rest)
            if spent / self.budget.seconds > part / whole:
                part, whole = spent, self.budget.seconds
        words += [Text(f"{failed} failed", style="red")] if failed else []
        words += [Text(f"{clock(elapsed)} elapsed")]
        words += [Text(f"about {clock(left)} left")] if left is not None else []
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(whole, part, width=24), Text("  ").join(words))
        return Group(bar, trial_table(archive, _best(archive)))


def _best(archive: Archive) -> list[Trial]:
    """At most ten members of the front, by the first goal."""
    front = archive.front()
    scores = archive.matrix(front)[:, 0].tolist()
    order = sorted(range(len(front)), key=lambda i: -scores[i])
    return [front[i] for i in order][:_MOST_ROWS]


def trial_table(
    archive: Archive, trials: list[Trial], *, holdout: bool = False, walked: bool = False
) -> Table:
    """The parents on top, then the trials, one row each; names are shown as they are.

    Args:
        archive: of the run.
        trials: to be shown.
        holdout: whether their hold-out scores are.
        walked: whether their layers are.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trial")
    for goal in archive.goals:
        table.add_column(Text(goal.name + (" ↑" if goal.maximize else " ↓")), justify="right")
        if holdout:
            table.add_column("hold-out", justify="right", style="cyan")
    if walked:
        table.add_column("layers")
    for trial in [*archive.references, *trials]:
        cells: list[RenderableType] = [Text(_name(trial))]
        for goal in archive.goals:
            cells.append(figure(trial.scores.get(goal.name)))
            if holdout:
                cells.append(figure(trial.holdout.get(goal.name)))
        cells += [Text(layers_text(archive, trial))] * walked
        table.add_row(*cells, style="dim" if trial.role == "reference" else "")
    return table


def show_end(event: Ended, out: Console) -> None:
    """What was gained, the front with its hold-out scores, what it is worth, and where it is."""
    archive, front = event.archive, list(event.front)
    found = answer(archive)
    if found is not None:
        out.print(Text(found.line()), soft_wrap=True)
        out.print()
    opened = any(t.holdout for t in front)
    walked = archive.layers is not None
    out.print(trial_table(archive, front, holdout=opened, walked=walked), soft_wrap=True)
    out.print()
    for line in (*summary(archive, front), *advances(archive).lines()):
        out.print(Text(line), soft_wrap=True)
    out.print(Text(f"report: {event.out / 'report.html'}"), soft_wrap=True)
    out.print(Text(f"front: {event.out / 'front'}"), soft_wrap=True)


def summary(archive: Archive, front: list[Trial]) -> Iterator[str]:
    """Hypervolumes of front and parents, and what the scales cannot tell."""
    parents = [t for t in archive.references if t.status == "done"]
    failed = sum(t.status == "failed" for t in archive.candidates)
    count = f"{len(archive.candidates)} merges"
    yield (
        f"{len(front)} of {count} on the front"
        + (f", {failed} failed" if failed else "")
        + (f", {races}" if (races := races_text(archive)) else "")
    )
    scales = archive.scales
    for i, scale in enumerate(scales):
        if i not in anchored_columns(scales):
            yield f"{scale.goal.name}: the parents do not differ; left out of hypervolume"
    for scale in scales:
        if scale.anchored and not differs(archive, parents, scale.goal.name):
            yield f"{scale.goal.name}: the parents lie within two standard errors of each other"
    yield (
        f"hypervolume, search items: front {archive.hypervolume(front):.4f}, "
        f"parents {archive.hypervolume(parents):.4f}"
    )
    both = [t for t in (*front, *parents) if t.holdout]
    if front and len(both) == len(front) + len(parents):
        yield (
            f"hypervolume, hold-out:     front {archive.hypervolume(front, 'holdout'):.4f}, "
            f"parents {archive.hypervolume(parents, 'holdout'):.4f}"
        )


def races_text(archive: Archive) -> str:
    """How many were stopped, and what that saved; empty where none was."""
    stops = [t.stopped for t in archive.candidates if t.stopped]
    if not stops:
        return ""
    saved = sum(stop.of - stop.asked for stop in stops)
    asked = stops[0].of * sum(t.status in ("done", "stopped") for t in archive.candidates)
    return f"{len(stops)} stopped early, which saved {saved / asked:.0%} of the items"


def _name(trial: Trial) -> str:
    """A reference by its model, a candidate by its number."""
    return PurePath(trial.origin).name if trial.role == "reference" else str(trial.number)


def clock(seconds: float | None) -> str:
    """A duration for people."""
    whole = int(seconds or 0)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


@contextmanager
def screen(*, as_json: bool, quiet: bool = False) -> Iterator[Screen]:
    """The screen that suits where the output goes."""
    if as_json:
        yield JsonLines()
        return
    out, err = Console(), Console(stderr=True, quiet=quiet)
    if not out.is_terminal:
        out.width = _FILE_WIDTH
    if not err.is_terminal or quiet:
        yield Lines(out, err)
        return
    with Live(console=err, auto_refresh=False, transient=True) as live:
        yield LiveScreen(out, err, live)


def quiet_libraries() -> None:
    """Keeps other libraries' progress bars and notes off the screen; errors still show."""
    import datasets
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    for name in ("mergekit", "lm_eval", "datasets", "root"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger().setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(transformers|mergekit|lm_eval|datasets|torch)\b")

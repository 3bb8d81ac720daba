"""The tables, the headline and the picture of the benchmark, from finished runs alone.

Rule: shares are of the known maximum; of real merges, of all known merges of the same problem
valued on the same hold-out items, so that no run can know its own denominator.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from benchmarks._runs import GRID, Run
from benchmarks._statistics import Estimate, bootstrap, evaluations_to, paired, quantiles

RIVAL = "qlognehvi"
Most = Callable[[str, int], float]
"""The hypervolume that counts as all of it, by problem and seed."""


@dataclass(frozen=True)
class Line:
    """One optimizer on one problem.

    Attributes:
        problem: its name.
        optimizer: its name.
        shares: of the maximum, at the end of each seed's run.
        traces: the same after each evaluation.
        seconds: median of a proposal; None where nothing was asked.
    """

    problem: str
    optimizer: str
    shares: Mapping[int, float]
    traces: Mapping[int, Sequence[float]]
    seconds: float | None


def lines(runs: Sequence[Run], most: Most) -> list[Line]:
    """Runs by problem and optimizer, as shares of the maximum."""
    grouped: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.trace:
            grouped[run.problem, run.optimizer].append(run)
    found = []
    for (problem, optimizer), group in grouped.items():
        traces = {r.seed: [v / most(problem, r.seed) for v in r.trace] for r in group}
        ends = {seed: trace[-1] for seed, trace in traces.items()}
        times = [r.seconds for r in group if r.seconds is not None]
        seconds = statistics.median(times) if times else None
        found.append(Line(problem, optimizer, ends, traces, seconds))
    return found


def problem_table(every: Sequence[Line], problem: str, real: bool) -> Table:
    """A problem's optimizers, the best first.

    Args:
        every: all lines.
        problem: whose table it is.
        real: whether evaluations to the rival's median end are of interest.
    """
    own = [line for line in every if line.problem == problem]
    rival = next((line for line in own if line.optimizer == RIVAL), None)
    table = Table(
        box=None, pad_edge=False, header_style="bold", title=problem, title_justify="left"
    )
    columns = ["optimizer", "seeds", "median", "mean", "95 %", f"minus {RIVAL}", "s/proposal"]
    for column in [*columns, *(["evaluations"] if real else [])]:
        table.add_column(column, justify="left" if column == "optimizer" else "right")
    for line in sorted(own, key=lambda line: -statistics.mean(line.shares.values())):
        mean = bootstrap([list(line.shares.values())])
        cells = [
            line.optimizer,
            str(mean.n),
            f"{statistics.median(line.shares.values()):.3f}",
            f"{mean.value:.3f}",
            f"{mean.low:.3f}-{mean.high:.3f}",
            _difference(line, rival),
            "-" if line.seconds is None else f"{line.seconds:.2f}",
        ]
        if real:
            cells.append(_shown(effort([line], [rival])) if rival else "-")
        table.add_row(*cells)
    return table


def pooled_table(every: Sequence[Line], problems: Sequence[str], title: str) -> Table:
    """Optimizers over several problems, each problem counting alike; those alone that met all."""
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    columns = ["optimizer", "problems", "runs", "mean", "95 %", f"minus {RIVAL}", "evaluations"]
    for column in columns:
        table.add_column(column, justify="left" if column == "optimizer" else "right")
    whole = complete(every, problems)
    rivals = whole.get(RIVAL)
    rows = {name: bootstrap([list(o.shares.values()) for o in own]) for name, own in whole.items()}
    for name in sorted(rows, key=lambda name: -rows[name].value):
        mean, own = rows[name], whole[name]
        cells = [name, str(len(own)), str(mean.n), f"{mean.value:.3f}"]
        cells.append(f"{mean.low:.3f}-{mean.high:.3f}")
        if rivals is None or name == RIVAL:
            cells.append("-")
        else:
            pairs = [
                paired(dict(a.shares), dict(b.shares)) for a, b in zip(own, rivals, strict=True)
            ]
            cells.append(_signed(bootstrap(pairs)) if all(pairs) else "-")
        cells.append(_shown(effort(own, rivals)) if rivals else "-")
        table.add_row(*cells)
    return table


def complete(every: Sequence[Line], problems: Sequence[str]) -> dict[str, list[Line]]:
    """The lines of each optimizer that has runs on all these problems, in their order."""
    by_name: dict[str, dict[str, Line]] = defaultdict(dict)
    for line in every:
        by_name[line.optimizer][line.problem] = line
    return {
        name: [own[p] for p in problems]
        for name, own in by_name.items()
        if problems and all(p in own for p in problems)
    }


def effort(own: Sequence[Line], rivals: Sequence[Line]) -> Estimate:
    """The share of the budget after which runs reach the rival's median end; 1 if they never do."""
    groups = []
    for line, rival in zip(own, rivals, strict=True):
        target = statistics.median(rival.shares.values())
        groups.append([evaluations_to(t, target) / len(t) for t in line.traces.values()])
    return bootstrap(groups)


def headline(every: Sequence[Line], problems: Sequence[str], best: str) -> str:
    """The sentence that says what a search is worth beside a hand-tuner's grid.

    Args:
        every: all lines.
        problems: the real ones, `family-space`.
        best: the optimizer that it is about.
    """
    whole = complete(every, problems)
    if best not in whole or GRID not in whole:
        return f"(no headline: {best} or {GRID} has not met all of {len(problems)} problems)"
    ours, grid = (
        bootstrap([list(line.shares.values()) for line in whole[name]]) for name in (best, GRID)
    )
    count = len({problem.partition("-")[0] for problem in problems})
    budget = max(len(t) for line in whole[best] for t in line.traces.values())
    return (
        f"On {count} independently trained families, {budget} real merges by {best} reach "
        f"{_percent(ours)} of the best known hold-out hypervolume; the grid that a hand-tuner "
        f"would run reaches {_percent(grid)}."
    )


def draw(every: Sequence[Line], path: Path) -> None:
    """Draws every problem's medians and quartiles over evaluations."""
    from matplotlib.figure import Figure

    problems = sorted({line.problem for line in every})
    names = sorted({line.optimizer for line in every})
    across = min(4, len(problems))
    down = math.ceil(len(problems) / across)
    figure = Figure(figsize=(4 * across, 3 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flat
    for panel, problem in zip(panels, problems, strict=False):
        for line in every:
            if line.problem == problem:
                color = f"C{names.index(line.optimizer) % 10}"
                low, middle, high = quantiles(list(line.traces.values()), (0.25, 0.5, 0.75))
                counts = range(1, len(middle) + 1)
                panel.plot(counts, middle, color=color, label=line.optimizer, linewidth=1.2)
                panel.fill_between(counts, low, high, color=color, alpha=0.15, linewidth=0)
        panel.set_title(problem, fontsize=9)
        panel.tick_params(labelsize=7)
        panel.legend(fontsize=6, loc="lower right", frameon=False)
    for panel in list(figure.axes)[len(problems) :]:
        panel.remove()
    figure.supxlabel("evaluations", fontsize=9)
    figure.supylabel("share of the best known hypervolume", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _difference(line: Line, rival: Line | None) -> str:
    if rival is None or line is rival:
        return "-"
    pairs = paired(dict(line.shares), dict(rival.shares))
    return _signed(bootstrap([pairs])) if pairs else "-"


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f}-{estimate.high:.2f})"


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})".replace("%", " %")

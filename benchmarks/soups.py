"""What a search is worth beside plain soups: equal weights at three scales by three methods.

Rule: the soups are scored on the same items, and the same rule chooses among them: the front by the
search items, valued on the hold-out.

    python benchmarks/soups.py runs/demo
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mergekit_mo.archive import Archive
from mergekit_mo.console import quiet_libraries
from mergekit_mo.evaluate import Evaluator, Job
from mergekit_mo.options import MergeFlags
from mergekit_mo.pareto import nondominated
from mergekit_mo.preflight import prepare
from mergekit_mo.trial import Split, Trial

SCALES = (0.5, 1.0, 1.5)
DENSITY = 0.5


@dataclass(frozen=True)
class Soup:
    """A merge that somebody would try by hand."""

    name: str
    config: dict[str, Any]


def soups(base: str, sources: list[str], dtype: str) -> list[Soup]:
    """Equal weights that sum to each scale, by linear, TIES and DARE-TIES.

    Args:
        base: the model that differences are taken from.
        sources: the models that are mixed.
        dtype: of the merge.
    """
    found = []
    for scale in SCALES:
        share = scale / len(sources)
        linear = [_model(base, weight=1 - scale), *(_model(s, weight=share) for s in sources)]
        sparse = [_model(s, weight=share, density=DENSITY) for s in sources]
        for method, models in (("linear", linear), ("ties", sparse), ("dare_ties", sparse)):
            config = {
                "merge_method": method,
                "base_model": base,
                "dtype": dtype,
                "models": models,
                "parameters": {"normalize": False},
            }
            found.append(Soup(f"{method} {scale:g}", config))
    return found


def _model(name: str, **parameters: float) -> dict[str, Any]:
    return {"model": name, "parameters": parameters}


def score(evaluator: Evaluator, soup: Soup, number: int) -> Trial:
    """A soup as a trial with search and hold-out scores.

    Raises:
        RuntimeError: it could not be scored.
    """
    found = {}
    for split in ("search", "holdout"):
        kind: Split = "search" if split == "search" else "holdout"
        outcome = evaluator(Job(number, soup.config, kind))
        if outcome.error:
            raise RuntimeError(f"{soup.name}: {outcome.error}")
        found[split] = outcome.scores
    return Trial(
        number, "candidate", soup.name, "done", soup.config,
        scores=found["search"], holdout=found["holdout"],
    )  # fmt: skip


def front_of(archive: Archive, trials: list[Trial]) -> list[Trial]:
    """The trials that no other one dominates on the search items."""
    marks = nondominated(archive.matrix(trials))
    return [trial for trial, on in zip(trials, marks, strict=True) if on]


def main(run: Path) -> None:
    """Scores the soups of a finished run's models and prints the comparison."""
    quiet_libraries()
    with Archive.open(run / "archive.db", read_only=True) as archive:
        recipe = Path(archive.fact("recipe_name"))
        flags = MergeFlags(num_threads=archive.fact("threads"), device=archive.fact("device"))
        ready = prepare(recipe, flags)
        tree = ready.recipe.configuration.tree
        base = ready.recipe.configuration.base or ""
        sources = [s for s in ready.recipe.configuration.sources if s != base]
        evaluator = ready.evaluator()
        begun = time.perf_counter()
        found = [
            score(evaluator, soup, i)
            for i, soup in enumerate(soups(base, sources, str(tree.get("dtype", "float32"))))
        ]
        seconds = time.perf_counter() - begun
        _print(archive, found, seconds)


def _print(archive: Archive, found: list[Trial], seconds: float) -> None:
    front, parents = list(archive.front()), list(archive.references)
    names = [goal.name for goal in archive.goals]
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(box=None, pad_edge=False, header_style="bold", title="Plain soups, hold-out")
    for column in ("soup", *names):
        table.add_column(column, justify="left" if column == "soup" else "right")
    for trial in found:
        table.add_row(trial.origin, *(f"{trial.holdout[name].value:.4f}" for name in names))
    console.print(table)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "merges", "on the front", "hypervolume, search", "hypervolume, hold-out"):
        table.add_column(column, justify="left" if not column else "right")
    rows = (
        ("the search", len(archive.candidates), front),
        ("plain soups", len(found), front_of(archive, found)),
        ("the parents alone", 0, front_of(archive, parents)),
    )
    for name, merges, trials in rows:
        values = [f"{archive.hypervolume(trials, split):.4f}" for split in ("search", "holdout")]
        table.add_row(name, str(merges), str(len(trials)), *values)
    console.print()
    console.print(table)
    console.print(f"({len(found)} soups on search and hold-out items: {seconds:.0f} s)")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

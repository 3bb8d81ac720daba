"""`mergekit-mo import`: an earlier run warms a new one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergekit_mo.commands._flags import (
    BUDGET,
    Grouped,
    merge_flags,
    taken,
    task_flags,
    worker_flags,
)
from mergekit_mo.commands._shared import (
    RUN,
    examples,
    open_run,
    quoted,
    reports_errors,
    say,
    tell,
    tell_json,
)
from mergekit_mo.options import MergeFlags

if TYPE_CHECKING:
    from mergekit_mo.budget import Budget
    from mergekit_mo.importing import Imported


@click.command(
    "import",
    cls=Grouped,
    epilog=examples(
        "mergekit-mo import runs/base recipes/base.yaml --out runs/base-2",
        "mergekit-mo-search recipes/base.yaml --out runs/base-2 --resume",
    ),
)
@RUN
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new run's folder.")
@click.option("--budget", type=BUDGET, help="As for the search; bounds the points to try first.")
@click.option("--seed", type=click.IntRange(min=0), help="The search's seed, for the recipe's own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@task_flags
@worker_flags
@merge_flags
@reports_errors
def command(
    run: Path,
    recipe: Path,
    out: Path,
    budget: Budget | None,
    seed: int | None,
    as_json: bool,
    search_on_test_sets: bool,
    run_task_code: bool,
    **flags: Any,
) -> None:
    """Make a run folder for RECIPE that begins with what RUN knows; nothing is merged yet.

    Where every score would come out the same here, RUN's finished trials are taken over with their
    scores, and do not count towards the budget. Where goals, items or settings differ, the points
    of RUN's front are to be scored first, and count. Both need the same sources.
    """
    from mergekit_mo.problems import read_source

    read_source(recipe)  # finds a misspelt path before seconds of imports
    workers = taken(flags)
    with open_run(run) as old:
        from mergekit_mo.console import quiet_libraries
        from mergekit_mo.importing import import_run
        from mergekit_mo.preflight import prepare

        quiet_libraries()
        ready = prepare(
            recipe,
            MergeFlags(**flags),
            budget=budget,
            seed=seed,
            allow_test_sets=search_on_test_sets,
            run_task_code=run_task_code,
            lora_cache=out.resolve() / "lora",
            workers=workers,
        )
        found = import_run(ready, old, run, out)
    if as_json:
        tell_json(asdict(found))
    else:
        _tell(found)
    say("with the same options, go on with:")
    say(f"  {quoted('mergekit-mo', 'search', recipe, '--out', out, '--resume')}")


def _tell(found: Imported) -> None:
    """What was taken over, and why not more."""
    if found.reasons:
        tell(f"{found.proposed} points of the front are to be scored first, and count")
        say(f"no scores were taken over: {', '.join(found.reasons)}")
    else:
        tell(f"{found.copied} candidates and {found.references} parents with their scores")
        for warning in found.warnings:
            say(warning)
    if found.beyond:
        say(f"the budget has no room for {found.beyond} more of the front")
    if found.inexpressible:
        say(f"{found.inexpressible} finished candidates do not lie in this recipe's space")

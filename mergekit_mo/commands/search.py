"""`mergekit-mo search`, which is `mergekit-mo-search`: the search itself."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergekit_mo.budget import Budget
from mergekit_mo.commands._flags import (
    BUDGET,
    Grouped,
    merge_flags,
    taken,
    task_flags,
    worker_flags,
)
from mergekit_mo.commands._shared import ending, examples
from mergekit_mo.options import MergeFlags

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from mergekit_mo.preflight import Ready
    from mergekit_mo.workers import Workers


@click.command(
    "mergekit-mo-search",
    cls=Grouped,
    epilog=examples(
        "mergekit-mo-search recipes/base.yaml --dry-run",
        "mergekit-mo-search recipes/base.yaml",
        "mergekit-mo-search recipes/base.yaml --budget 60 --resume",
        "mergekit-mo-search recipes/base.yaml --budget 8h",
        "mergekit-mo-search recipes/base.yaml --executor ray --workers 4",
    ),
)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--budget", type=BUDGET, help="Merges to make, or a time such as 8h, for the recipe's own."
)
@click.option("--seed", type=click.IntRange(min=0), help="The search's seed, for the recipe's own.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The run folder.  [default: runs/<recipe name>]"
)
@click.option("--resume", is_flag=True, help="Continue the run that is in the folder.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; reads no weights.")
@click.option("--json", "as_json", is_flag=True, help="Print events as lines of JSON.")
@click.option("--quiet", is_flag=True, help="Print the result alone.")
@task_flags
@worker_flags
@merge_flags
def command(
    recipe: Path,
    budget: Budget | None,
    seed: int | None,
    out: Path | None,
    resume: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    search_on_test_sets: bool,
    run_task_code: bool,
    **flags: Any,
) -> None:
    """Search RECIPE, a mergekit YAML in which some numbers are marked as searchable.

    A number is marked by its bounds, as in `weight: {value: 0.5, low: 0, high: 1}`; the goals stand
    in a `search:` block. The best trade-offs are written to the run folder as plain mergekit YAMLs.
    """
    folder = out or Path("runs") / recipe.stem
    workers = taken(flags)
    with ending(_stopped), _stops() as stop:
        _search(
            recipe, folder, MergeFlags(**flags), workers,
            budget=budget, seed=seed, resume=resume, dry_run=dry_run, as_json=as_json,
            quiet=quiet, test_sets=search_on_test_sets, task_code=run_task_code, stop=stop,
        )  # fmt: skip


def _search(
    recipe: Path,
    folder: Path,
    flags: MergeFlags,
    workers: Workers,
    *,
    budget: Budget | None,
    seed: int | None,
    resume: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    test_sets: bool,
    task_code: bool,
    stop: _Stop,
) -> None:
    from mergekit_mo.problems import read_source

    # Counting downloads of local files makes `datasets` look for a server that need not be there.
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")
    read_source(recipe)  # finds a misspelt path before seconds of imports
    from mergekit_mo.console import quiet_libraries, screen
    from mergekit_mo.loop import check_folder
    from mergekit_mo.loop import search as run
    from mergekit_mo.preflight import prepare

    quiet_libraries()
    ready = prepare(
        recipe,
        flags,
        budget=budget,
        seed=seed,
        allow_test_sets=test_sets,
        run_task_code=task_code,
        lora_cache=folder.resolve() / "lora",
        workers=workers,
    )
    if dry_run:
        _tell_plan(ready, as_json=as_json)
        return
    check_folder(ready, folder, resume=resume)
    with (
        screen(as_json=as_json, quiet=quiet) as shown,
        contextlib.closing(run(ready, folder, resume=resume)) as events,
    ):
        for event in events:
            shown.show(event)
            stop.mind()


def _tell_plan(ready: Ready, *, as_json: bool) -> None:
    """Prints what a search would do."""
    from mergekit_mo.plan import plan_facts, plan_text

    click.echo(json.dumps(plan_facts(ready)) if as_json else plan_text(ready))


class _Stop:
    """Ctrl-C, or SIGTERM: interrupts at once, and again after the trial if that was swallowed.

    An exception that a signal raises is lost where it hits a destructor or a bare `except:`.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True
        raise KeyboardInterrupt

    def mind(self) -> None:
        """Interrupts if somebody asked for it.

        Raises:
            KeyboardInterrupt: somebody did.
        """
        if self.asked:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _stops() -> Iterator[_Stop]:
    """Listens for Ctrl-C and SIGTERM, and leaves their handlers as they were."""
    stop = _Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopped() -> str:
    return f"\nstopped; nothing finished is lost. Continue with:\n  {_again()}"


def _again() -> str:
    """The command that was typed, made to resume."""
    name, words = Path(sys.argv[0]).name, sys.argv[1:]
    program = ["python", "-m", "mergekit_mo.cli"] if name.endswith(".py") else [name]
    end = words.index("--") if "--" in words else len(words)
    more = [] if "--resume" in words[:end] else ["--resume"]
    return shlex.join([*program, *words[:end], *more, *words[end:]])

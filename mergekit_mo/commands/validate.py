"""`mergekit-mo validate`: every problem of a recipe at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mergekit_mo.commands._shared import (
    AS_JSON,
    examples,
    quoted,
    reports_errors,
    say,
    tell,
    tell_json,
)
from mergekit_mo.problems import RecipeError, path_text

if TYPE_CHECKING:
    from mergekit_mo.options import MergeFlags


@click.command(
    "validate",
    epilog=examples(
        "mergekit-mo validate recipes/base.yaml",
        "mergekit-mo validate recipes/base.yaml --shallow",
        "mergekit-mo validate recipes/base.yaml --json",
    ),
)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--shallow", is_flag=True, help="Read the text alone: no models, no tasks.")
@click.option("--device", help="Where the search is to run, for the recipe's own.")
@click.option(
    "--trust-remote-code", is_flag=True, help="Run code that comes with a model (danger)."
)
@click.option("--allow-crimes", is_flag=True, help="Allow mixing architectures.")
@click.option("--transformers-cache", metavar="DIR", help="Where downloaded models are kept.")
@click.option(
    "--run-task-code",
    is_flag=True,
    help="Run the Python functions that task files name (danger).",
)
@click.option("--allow-pickle", is_flag=True, help="Take pickled weights (danger).")
@click.option("--search-on-test-sets", is_flag=True, help="Let well-known test sets be objectives.")
@AS_JSON
@reports_errors
def command(
    recipe: Path,
    shallow: bool,
    device: str | None,
    trust_remote_code: bool,
    allow_crimes: bool,
    transformers_cache: str | None,
    run_task_code: bool,
    allow_pickle: bool,
    search_on_test_sets: bool,
    as_json: bool,
) -> None:
    """Tell every problem of RECIPE at once, its models' and its tasks' included.

    Weights are not read; models' configurations and tasks are fetched from the Hub if they are
    not at hand. The exit status is 2 where there are problems.
    """
    from mergekit_mo.options import MergeFlags

    flags = MergeFlags(
        device=device,
        trust_remote_code=trust_remote_code,
        allow_crimes=allow_crimes,
        transformers_cache=transformers_cache,
        allow_pickle=allow_pickle,
    )
    allowed = {"allow_test_sets": search_on_test_sets, "run_task_code": run_task_code}
    found = _problems(recipe, flags, shallow=shallow, allowed=allowed)
    if as_json:
        tell_json(_facts(found) if found else [])
    elif found:
        tell(str(found))
    if found:
        count = len(found.problems)
        say(f"{count} problem{'s' * (count > 1)}")
        sys.exit(2)
    if shallow:
        way = quoted("mergekit-mo", "validate", recipe)
        say(f"its text is in order; check models and tasks with:  {way}")
    else:
        say(f"in order; start with:  {quoted('mergekit-mo', 'search', recipe)}")


def _problems(
    recipe: Path, flags: MergeFlags, *, shallow: bool, allowed: dict[str, bool]
) -> RecipeError | None:
    try:
        if shallow:
            return _shallow(recipe)
        from mergekit_mo.console import quiet_libraries
        from mergekit_mo.preflight import prepare

        quiet_libraries()
        prepare(recipe, flags, **allowed)  # type: ignore[arg-type]
    except RecipeError as error:
        return error
    return None


def _shallow(path: Path) -> RecipeError | None:
    """What the text alone tells, the kinds that it names included."""
    import mergekit_mo.objectives
    from mergekit_mo.kinds import make
    from mergekit_mo.optimizers import chosen
    from mergekit_mo.recipe import read_recipe

    recipe, source, problems = read_recipe(path)
    if recipe is not None:
        problems += chosen(recipe)[1]
        other, kind = mergekit_mo.objectives, mergekit_mo.objectives.Objective
        for goal in recipe.objectives:
            problems += make(other, kind, goal.kind, goal.settings, goal.place)[1]  # type: ignore[type-abstract]
    return RecipeError(source, problems) if problems else None


def _facts(error: RecipeError) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for problem in error.problems:
        line, column = error.source.mark(problem.place)
        rows.append(
            {
                "file": error.source.name,
                "line": line,
                "column": column,
                "place": path_text(problem.place),
                "what": problem.what,
                "hint": problem.hint,
            }
        )
    return rows

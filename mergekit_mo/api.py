"""The Python face of a search: `from mergekit_mo import Recipe, search, Archive, choose`.

Rule: it yields events and prints nothing; what the commands do beyond that is theirs alone.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from mergekit_mo.archive import Archive
from mergekit_mo.events import Ended, Event, Finished, Opened, Started, Warned
from mergekit_mo.loop import check_folder
from mergekit_mo.loop import search as run
from mergekit_mo.options import MergeFlags
from mergekit_mo.preflight import prepare
from mergekit_mo.problems import UserError
from mergekit_mo.recipe import Recipe
from mergekit_mo.workers import Workers

_INLINE = Workers()


def search(
    recipe: Recipe | Path | str,
    out: Path | str | None = None,
    *,
    resume: bool = False,
    search_on_test_sets: bool = False,
    run_task_code: bool = False,
    workers: Workers = _INLINE,
    **flags: Any,
) -> Generator[Event, None, None]:
    """Runs a search; the same as `mergekit-mo search`, down to the last digit.

    The recipe is checked when this is called, models and tasks included; merging begins with the
    first event that is asked for. Whoever stops asking stops the search, and `resume` goes on.

    Args:
        recipe: from `Recipe.load`, or its file.
        out: the run folder; `runs/<recipe's name>` where it is not said.
        resume: continue the run that is there, if there is one.
        search_on_test_sets: let well-known benchmark test sets be objectives.
        run_task_code: let the Python functions run that task files name.
        workers: who runs the trials; `Workers("ray", 4)` is `--executor ray --workers 4`.
        **flags: mergekit's options by name, as in `options.MergeFlags`: `device="cpu"`,
            `num_threads=2`, `random_seed=0`, …

    Returns:
        An iterator over what happens (`mergekit_mo.events`), as it happens. The archive in the
        first event and the last is closed with the search: `Archive.open(out)` reads it after.

    Raises:
        UserError: the recipe has problems, its file is no longer what was read, there cannot be
            such workers, or the folder holds another run.
        TypeError: there is no such flag.
    """
    loaded = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    path = loaded.folder / Path(loaded.source.name).name
    if Recipe.load(path, budget=loaded.limits, seed=loaded.seed).facts() != loaded.facts():
        raise UserError(f"{path}: not the recipe that was read; write the changes into its file")
    folder = Path("runs") / path.stem if out is None else Path(out)
    ready = prepare(
        path,
        MergeFlags(**flags),
        budget=loaded.limits,
        seed=loaded.seed,
        allow_test_sets=search_on_test_sets,
        run_task_code=run_task_code,
        lora_cache=folder.resolve() / "lora",
        workers=workers,
    )
    check_folder(ready, folder, resume=resume)
    return run(ready, folder, resume=resume)


__all__ = [
    "Archive",
    "Ended",
    "Event",
    "Finished",
    "Opened",
    "Recipe",
    "Started",
    "UserError",
    "Warned",
    "Workers",
    "search",
]

"""The objectives of a recipe and what they need: tasks loaded, files read, further models found.

Rule: each task is loaded once, however many objectives share it; what is wrong with one objective
does not keep the others from being checked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mergekit_mo.objectives
from mergekit_mo.asking import Asked, prepare_task, task_metrics
from mergekit_mo.documents import Documents, DocumentsError
from mergekit_mo.evaluate import goal_names
from mergekit_mo.kinds import make
from mergekit_mo.objectives import Objective
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.problems import Problem
from mergekit_mo.recipe import Choice, Recipe
from mergekit_mo.references import absolute_reference
from mergekit_mo.sources import other_vocabulary
from mergekit_mo.tasks import TaskError, contaminates, find_task, load_task, make_task

TEST_SET_FLAG = "--search-on-test-sets"


@dataclass(frozen=True)
class Allowed:
    """What the user lets tasks be and do.

    Attributes:
        test_sets: well-known benchmark test sets.
        code: run the Python functions that their files name.
    """

    test_sets: bool = False
    code: bool = False


@dataclass(frozen=True)
class Bound:
    """An objective with its task."""

    choice: Choice
    objective: Objective
    asked: Asked | None


def bind_objectives(recipe: Recipe, allowed: Allowed) -> tuple[list[Bound], list[Problem]]:
    """Makes the objectives and what steers besides, and loads the tasks that they need, each once.

    Args:
        recipe: names them.
        allowed: what tasks may be and do.

    Returns:
        Those in which nothing is wrong, in the recipe's order, and the problems.
    """
    bound: list[Bound] = []
    problems: list[Problem] = []
    loaded: dict[Path, Asked | Problem] = {}
    for choice in (*recipe.objectives, *recipe.auxiliary):
        objective, found = make(
            mergekit_mo.objectives,
            Objective,  # type: ignore[type-abstract]
            choice.kind,
            choice.settings,
            choice.place,
        )
        problems += found
        if objective is None:
            continue
        if reason := objective.refusal(recipe.configuration):
            problems.append(Problem(choice.place, reason))
        else:
            objective, found = _beside(objective, recipe, choice)
            problems += found
        entry = _with_task(objective, recipe, choice, loaded, allowed)
        if isinstance(entry, Bound):
            bound.append(entry)
        else:
            problems += entry
    problems += _same_names(bound)
    return bound, problems


def _with_task(
    objective: Objective,
    recipe: Recipe,
    choice: Choice,
    loaded: dict[Path, Asked | Problem],
    allowed: Allowed,
) -> Bound | list[Problem]:
    """An objective bound to its task, or what keeps it from that."""
    task = getattr(objective, "task", None)
    if task is None:
        return Bound(choice, objective, None)
    try:
        documents = objective.documents(recipe.folder)
    except DocumentsError as error:
        place = (*choice.place, choice.kind, "file")
        return [Problem(place, fault, error.hint) for fault in error.faults]
    if documents is None:
        asked = _asked(recipe, task, choice, loaded, allowed)
    else:
        asked = _made(recipe, documents, choice)
    if isinstance(asked, Problem):
        return [asked]
    if objective.generates and asked.task.config.output_type != "generate_until":
        what = f"{choice.kind} is of what models write, and to {asked.name} they write nothing"
        return [Problem(choice.place, what, "name a task that generates text")]
    try:
        objective = objective.bind(asked.name, task_metrics(asked.task))
    except ValueError as error:
        what, _, hint = str(error).partition(": ")
        return [Problem((*choice.place, "metric"), what, hint)]
    return Bound(choice, objective, asked)


def _beside(
    objective: Objective, recipe: Recipe, choice: Choice
) -> tuple[Objective, list[Problem]]:
    """An objective with the further model that it looks at, the base where it names none."""
    if not hasattr(objective, "model"):
        return objective, []
    place = (*choice.place, choice.kind, "model")
    named: str | None = objective.model
    try:
        model = absolute_reference(named, recipe.folder) if named else recipe.configuration.base
    except ValueError as error:
        what, *hint = error.args
        return objective, [Problem(place, what, *hint)]
    settled: Any = objective
    problems = []
    for source in recipe.configuration.sources if model else ():
        if reason := other_vocabulary(model or "", source):
            problems.append(Problem(place, f"{choice.kind} compares token by token: {reason}"))
            break
    return replace(settled, model=model), problems


def steering(
    recipe: Recipe, optimizer: Optimizer | None, bound: list[Bound]
) -> tuple[dict[str, Objective], list[Problem]]:
    """The objectives that an optimizer wants besides the recipe's, by name."""
    found: dict[str, Objective] = {}
    problems: list[Problem] = []
    place = recipe.optimizer.place
    for kind in optimizer.auxiliary if optimizer else ():
        if kind in [b.choice.kind for b in bound]:
            continue  # it is a goal already
        role = Objective
        objective, complaints = make(mergekit_mo.objectives, role, kind, {}, place)  # type: ignore[type-abstract]
        problems += complaints
        if objective is None:
            continue
        if reason := objective.refusal(recipe.configuration):
            what = f"{recipe.optimizer.kind} measures {kind} to steer the search, but {reason}"
            problems.append(Problem(place, what))
        found[kind] = objective
    return found, problems


def _asked(
    recipe: Recipe,
    name: str,
    choice: Choice,
    loaded: dict[Path, Asked | Problem],
    allowed: Allowed,
) -> Asked | Problem:
    """The task of an objective, loaded once however many objectives share it."""
    place = (*choice.place, "task")
    try:
        path = find_task(name, recipe.folder, [Path(p) for p in recipe.evaluation.include_path])
        if path not in loaded:
            task = load_task(path, run_code=allowed.code)
            asked = prepare_task(task, path, recipe.evaluation, recipe.seed)
            reason = "" if allowed.test_sets else contaminates(task)
            hint = f"search on its training split or a task of your own, or say {TEST_SET_FLAG}"
            loaded[path] = Problem(place, reason, hint) if reason else asked
    except TaskError as error:
        return Problem(place, str(error), error.hint)
    found = loaded[path]
    return replace(found, place=place) if isinstance(found, Problem) else found


def _made(recipe: Recipe, documents: Documents, choice: Choice) -> Asked | Problem:
    """The task of an objective that reads a file."""
    try:
        asked = prepare_task(make_task(documents), documents.path, recipe.evaluation, recipe.seed)
    except TaskError as error:
        return Problem((*choice.place, choice.kind, "file"), str(error), error.hint)
    return replace(asked, documents=documents)


def _same_names(bound: list[Bound]) -> list[Problem]:
    """Objectives that nothing tells apart, and tasks that share a name but not a file."""
    problems = []
    names = goal_names([b.objective for b in bound], [b.choice.name for b in bound])
    files: dict[str, Path] = {}
    for i, (name, entry) in enumerate(zip(names, bound, strict=True)):
        if entry.asked and files.setdefault(entry.asked.name, entry.asked.path) != entry.asked.path:
            what = f"two files define a task {entry.asked.name!r}"
            hint = f"rename one of the {'files' if entry.asked.documents else 'tasks'}"
            problems.append(Problem(entry.choice.place, what, hint))
        elif name in names[:i]:
            what, hint = f"two objectives are called {name!r}", "tell them apart with a name:"
            problems.append(Problem(entry.choice.place, what, hint))
    return problems

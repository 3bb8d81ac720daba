"""Everything that can be told before the first merge: a recipe becomes a search that is ready.

Rule: all problems of a recipe are found and reported together, and nothing is written before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import mergekit_mo.objectives
from mergekit_mo.differences import differences
from mergekit_mo.documents import Documents, DocumentsError
from mergekit_mo.evaluate import Evaluator, goal_names
from mergekit_mo.harness import Asked, Harness, prepare_task, task_metrics
from mergekit_mo.kinds import make
from mergekit_mo.machine import free_cores, resolve_device, set_threads
from mergekit_mo.merging import Merger, merge_options
from mergekit_mo.objectives import Objective
from mergekit_mo.optimizers import Optimizer, chosen
from mergekit_mo.options import MergeFlags
from mergekit_mo.pool import bind_layers
from mergekit_mo.problems import Problem, RecipeError
from mergekit_mo.recipe import Choice, Recipe, read_recipe
from mergekit_mo.sources import Size, check_sources, has_chat_template
from mergekit_mo.space import Space
from mergekit_mo.tasks import TaskError, contaminates, find_task, load_task, make_task
from mergekit_mo.trial import Goal

TEST_SET_FLAG = "--search-on-test-sets"


@dataclass(frozen=True)
class Ready:
    """A search that is ready to start.

    Attributes:
        recipe: what is searched.
        space: its holes and paths.
        optimizer: who proposes.
        objectives: by the name of their goal, in the recipe's order.
        goals: what the archive knows of them.
        auxiliary: objectives that only steer the optimizer; they are in `objectives` too.
        tasks: with the items to ask.
        flags: mergekit's.
        device: where merging and scoring happen.
        threads: how many.
        size: of a merge, where it can be told.
    """

    recipe: Recipe
    space: Space
    optimizer: Optimizer
    objectives: Mapping[str, Objective]
    goals: tuple[Goal, ...]
    auxiliary: tuple[Goal, ...]
    tasks: tuple[Asked, ...]
    flags: MergeFlags
    device: str
    threads: int
    size: Size | None

    def evaluator(self) -> Evaluator:
        """What runs the trials."""
        set_threads(self.threads)
        return Evaluator(
            Merger(self.flags, self.device),
            Harness(self.tasks, self.recipe.evaluation),
            self.objectives,
            self.recipe.configuration.base,
        )

    def differences(self) -> dict[str, dict[str, float]]:
        """How far the sources lie from the base; nothing where there is no base."""
        configuration = self.recipe.configuration
        if configuration.base is None:
            return {}
        others = [source for source in configuration.sources if source != configuration.base]
        return differences(configuration.base, others, merge_options(self.flags, self.device))


def prepare(
    path: Path,
    flags: MergeFlags,
    *,
    budget: int | None = None,
    seed: int | None = None,
    allow_test_sets: bool = False,
    lora_cache: Path | None = None,
) -> Ready:
    """Reads and checks a recipe.

    Args:
        path: the recipe.
        flags: mergekit's options.
        budget: takes the place of the recipe's.
        seed: likewise.
        allow_test_sets: lets well-known benchmark test sets be objectives.
        lora_cache: where sources with a LoRA are kept merged, if the flags name no place.

    Raises:
        RecipeError: it has problems, all of them inside.
        UserError: it cannot be read.
    """
    recipe, source, problems = read_recipe(path, budget=budget, seed=seed)
    if recipe is None:
        raise RecipeError(source, problems)
    wrong = tuple(problems)
    optimizer, found = chosen(recipe)
    problems += found
    space = Space(recipe.configuration)
    bound, found = _objectives(recipe, allow_test_sets)
    problems += found
    steering, found = _auxiliary(recipe, optimizer, bound)
    problems += found
    device = resolve_device(flags.named_device(recipe.evaluation.device))
    if unusable := _unusable(device, flags):
        problems.append(unusable)
        device = "cpu"
    if (
        lora_cache
        and not flags.lora_merge_cache
        and any("+" in s for s in recipe.configuration.sources)
    ):
        flags = replace(flags, lora_merge_cache=str(lora_cache))
    size, found = check_sources(space, merge_options(flags, device), wrong)
    if recipe.configuration.layers and not (wrong or found):
        layers, found = bind_layers(space, merge_options(flags, device))
        space = Space(recipe.configuration, layers)
    problems += [*found, *_random_on_many(recipe, flags), *_no_chat_template(recipe)]
    problems += _no_hole(recipe, optimizer, space)
    names = goal_names([b.objective for b in bound], [b.choice.name for b in bound])
    problems += _preference(recipe, optimizer, names)
    if problems or optimizer is None:
        raise RecipeError(source, problems)
    return Ready(
        recipe,
        space,
        optimizer,
        {**{n: b.objective for n, b in zip(names, bound, strict=True)}, **steering},
        tuple(
            Goal(n, b.objective.maximize, b.choice.threshold)
            for n, b in zip(names, bound, strict=True)
        ),
        tuple(Goal(name, objective.maximize) for name, objective in steering.items()),
        tuple({b.asked.name: b.asked for b in bound if b.asked}.values()),
        flags,
        device,
        flags.num_threads or free_cores(),
        size,
    )


def _no_hole(recipe: Recipe, optimizer: Optimizer | None, space: Space) -> list[Problem]:
    """An optimizer of holes, where only layers are searched."""
    layers = recipe.configuration.layers
    if optimizer is None or layers is None or optimizer.searches_layers or space.dim:
        return []
    kind = recipe.optimizer.kind
    what = f"{kind} needs holes: it leaves layers on the straight path, and here is nothing else"
    hint = "name an optimizer that searches layers, or mark a number as a hole"
    return [Problem(recipe.optimizer.place, what, hint)]


def _unusable(device: str, flags: MergeFlags) -> Problem | None:
    """Why torch cannot put a model on a device, if it cannot."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # each backend its own
        reason = str(error).strip().partition("\n")[0]
        asked = flags.named_device("")
        place = () if asked else ("search", "evaluation", "device")
        what = f"torch cannot use the device {device!r} here: {reason}"
        return Problem(place, what, "devices are cpu, cuda, cuda:1, …; auto finds one")
    return None


@dataclass(frozen=True)
class _Bound:
    """An objective with its task."""

    choice: Choice
    objective: Objective
    asked: Asked | None


def _objectives(recipe: Recipe, allow_test_sets: bool) -> tuple[list[_Bound], list[Problem]]:
    """Makes the objectives and loads the tasks that they need, each task once."""
    bound: list[_Bound] = []
    problems: list[Problem] = []
    loaded: dict[Path, Asked | Problem] = {}
    for choice in recipe.objectives:
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
        task = getattr(objective, "task", None)
        if task is None:
            bound.append(_Bound(choice, objective, None))
            continue
        try:
            documents = objective.documents(recipe.folder)
        except DocumentsError as error:
            place = (*choice.place, choice.kind, "file")
            problems += [Problem(place, fault, error.hint) for fault in error.faults]
            continue
        if documents is None:
            asked = _asked(recipe, task, choice, loaded, allow_test_sets)
        else:
            asked = _made(recipe, documents, choice)
        if isinstance(asked, Problem):
            problems.append(asked)
            continue
        if objective.generates and asked.task.config.output_type != "generate_until":
            what = f"{choice.kind} counts what models write, and to {asked.name} they write nothing"
            problems.append(Problem(choice.place, what, "name a task that generates text"))
            continue
        try:
            objective = objective.bind(asked.name, task_metrics(asked.task))
        except ValueError as error:
            what, _, hint = str(error).partition(": ")
            problems.append(Problem((*choice.place, "metric"), what, hint))
            continue
        bound.append(_Bound(choice, objective, asked))
    problems += _same_names(bound)
    return bound, problems


def _preference(recipe: Recipe, optimizer: Optimizer | None, names: Sequence[str]) -> list[Problem]:
    """A preference for goals that are not there, or for an optimizer that does not heed it."""
    if recipe.preference is None:
        return []
    if optimizer is not None and not optimizer.heeds_preference:
        what = f"{recipe.optimizer.kind} spends the budget alike, whatever is preferred"
        hint = "choose another optimizer, such as mm-mo, or leave the preference to `pick`"
        return [Problem(("search", "preference"), what, hint)]
    # Where an objective is wrong its goal has no name, and all of that is told already.
    return recipe.preference.unknown(names) if len(names) == len(recipe.objectives) else []


def _auxiliary(
    recipe: Recipe, optimizer: Optimizer | None, bound: list[_Bound]
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
    allow_test_sets: bool,
) -> Asked | Problem:
    """The task of an objective, loaded once however many objectives share it."""
    place = (*choice.place, "task")
    try:
        path = find_task(name, recipe.folder, [Path(p) for p in recipe.evaluation.include_path])
        if path not in loaded:
            task = load_task(path)
            asked = prepare_task(task, path, recipe.evaluation, recipe.seed)
            reason = "" if allow_test_sets else contaminates(task)
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


def _same_names(bound: list[_Bound]) -> list[Problem]:
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


def _no_chat_template(recipe: Recipe) -> list[Problem]:
    """A chat template that is to be applied, but that the merges' tokenizer will not have."""
    configuration = recipe.configuration
    named = [
        configuration.tree.get(key) for key in ("chat_template", "tokenizer_source", "tokenizer")
    ]
    if not recipe.evaluation.apply_chat_template or any(named) or not configuration.sources:
        return []
    donor = configuration.base or configuration.sources[0]
    if has_chat_template(donor):
        return []
    what = f"the merges get the tokenizer of {donor}, which has no chat template"
    hint = "say chat_template: at the top level (auto takes the sources' own), or leave this out"
    return [Problem(("search", "evaluation", "apply_chat_template"), what, hint)]


def _random_on_many(recipe: Recipe, flags: MergeFlags) -> list[Problem]:
    """Random masks drawn by several threads come in no fixed order."""
    if not (recipe.configuration.is_random and (flags.multi_gpu or flags.gpu_rich)):
        return []
    what = "the masks of a random method cannot be repeated with --multi-gpu"
    return [Problem(("merge_method",), what, "leave out --multi-gpu and --gpu-rich")]

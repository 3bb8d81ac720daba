"""The user's YAML, checked: a mergekit configuration with holes, plus a `search:` block.

Rule: reading a recipe finds every problem that its text can tell; nothing is downloaded, and no
weight and no task is opened. What needs those is checked in `preflight`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mergekit_mo import budget as budgets
from mergekit_mo.budget import Budget, read_budget
from mergekit_mo.configuration import Configuration, read_configuration
from mergekit_mo.evaluation import Evaluation, read_evaluation
from mergekit_mo.holes import number
from mergekit_mo.layer_rules import read_rules
from mergekit_mo.preference import Preference, read_preference
from mergekit_mo.problems import (
    Place,
    Problem,
    RecipeError,
    Source,
    near,
    parse_source,
    read_source,
    shown,
)

_SEARCH_KEYS = frozenset(
    {
        "objectives",
        "auxiliary",
        "evaluation",
        "optimizer",
        "budget",
        "seed",
        "merge_method",
        "preference",
    }
    | {"layers"}
)
_COMMON = frozenset({"name", "threshold"})
_OBJECTIVES = "objectives: [{task: my_task, metric: acc}, sparsity]"
DEFAULT_OPTIMIZER = "mm-mo"
DEFAULT_BUDGET = budgets.DEFAULT


@dataclass(frozen=True)
class Choice:
    """A kind that a recipe names, with its settings: an optimizer, or an objective.

    Attributes:
        kind: the name of the kind.
        settings: what the recipe sets.
        place: where.
        name: what an objective is to be called, if the recipe says so.
        threshold: the bound on an objective's worse side, if there is one.
    """

    kind: str
    settings: Mapping[str, Any]
    place: Place
    name: str | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Recipe:
    """A search, as a file describes it."""

    source: Source = field(repr=False)
    folder: Path
    configuration: Configuration
    objectives: tuple[Choice, ...]
    evaluation: Evaluation
    optimizer: Choice
    limits: Budget
    seed: int
    preference: Preference | None = None
    auxiliary: tuple[Choice, ...] = ()

    @property
    def budget(self) -> int:
        """The most merges."""
        return self.limits.trials

    @staticmethod
    def load(
        path: Path | str, *, budget: Budget | int | str | None = None, seed: int | None = None
    ) -> Recipe:
        """Reads a recipe from its file.

        Args:
            path: the YAML file.
            budget: takes the place of the recipe's own: merges, or a time such as `8h`.
            seed: likewise.

        Raises:
            UserError: it has problems, all of them told, or cannot be read.
        """
        return load_recipe(Path(path), budget=budget, seed=seed)

    def facts(self) -> dict[str, Any]:
        """Everything that changes results, as plain JSON; the budget does not."""
        layers = self.configuration.layers
        return {
            "configuration": dict(self.configuration.tree),
            "layers": layers.facts() if layers else None,
            "methods": [method.name for method in self.configuration.methods],
            "objectives": [_plain(o) for o in self.objectives],
            "evaluation": self.evaluation.facts(),
            "optimizer": [self.optimizer.kind, dict(self.optimizer.settings)],
            "seed": self.seed,
            **({"preference": self.preference.facts()} if self.preference else {}),
            **({"auxiliary": [_plain(o) for o in self.auxiliary]} if self.auxiliary else {}),
        }

    @property
    def fingerprint(self) -> str:
        """A digest of `facts`."""
        text = json.dumps(self.facts(), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def _plain(choice: Choice) -> list[Any]:
    """An objective as plain JSON."""
    return [choice.kind, dict(choice.settings), choice.name, choice.threshold]


def read_recipe(
    path: Path,
    *,
    budget: Budget | int | str | None = None,
    seed: int | None = None,
    text: str | None = None,
) -> tuple[Recipe | None, Source, list[Problem]]:
    """Reads a recipe and collects its problems.

    Args:
        path: the YAML file.
        budget: takes the place of the recipe's own.
        seed: likewise.
        text: takes the place of the file, which is then not read.

    Returns:
        The recipe (None where too much is wrong to go on), its source, and the problems.

    Raises:
        RecipeError: the file is no YAML mapping.
        UserError: the file cannot be read.
    """
    source = read_source(path) if text is None else parse_source(text, str(path))
    folder = path.resolve().parent
    tree: dict[str, Any] = source.tree
    problems: list[Problem] = []
    block = tree.get("search")
    if "search" not in tree:
        problems.append(Problem((), "has no search: block", f"search: {{{_OBJECTIVES}}}"))
    elif not isinstance(block, dict):
        what = f"expected a mapping, got {shown(block)}"
        problems.append(Problem(("search",), what, f"search: {{{_OBJECTIVES}}}"))
    elif "objectives" not in block:
        problems.append(Problem(("search",), "has no objectives:", _OBJECTIVES))
    if not isinstance(block, dict):
        block = {}
    problems += [
        Problem(("search", key), f"search has no key {key!r}", near(key, _SEARCH_KEYS))
        for key in block
        if key not in _SEARCH_KEYS
    ]
    choices = block.get("merge_method")
    at: Place = ("search", "merge_method")
    if choices is not None and not (isinstance(choices, list) and len(choices) > 1):
        what = f"expected a list of two methods or more, got {shown(choices)}"
        problems.append(Problem(at, what, "merge_method: [ties, dare_ties]"))
        choices = None
    configuration, found = read_configuration(tree, folder, choices, at)
    problems += found
    fixed = configuration and not configuration.holes and len(configuration.methods) < 2
    if configuration and "layers" in block:
        configuration, more = _with_layers(configuration, block["layers"], folder)
        problems += more
    elif fixed and not found:
        hint = "mark a number: weight: {value: 0.5, low: 0, high: 1}"
        problems.append(Problem((), "nothing to search: it has no hole", hint))
    objectives, found = read_objectives(block, "objectives")
    auxiliary, steering = read_objectives(block, "auxiliary")
    steering += _no_thresholds(auxiliary, objectives)
    evaluation, more = read_evaluation(block.get("evaluation"), ("search", "evaluation"), folder)
    optimizer, yet_more = _optimizer(block.get("optimizer", DEFAULT_OPTIMIZER))
    preference, wrong = read_preference(block.get("preference"), ("search", "preference"))
    problems += [*found, *steering, *more, *yet_more, *wrong]
    limits, wrong = _budget(block.get("budget", DEFAULT_BUDGET) if budget is None else budget)
    problems += wrong
    number = _whole(block, "seed", 0, 0, problems) if seed is None else seed
    if configuration is None or optimizer is None:
        return None, source, problems
    recipe = Recipe(
        source,
        folder,
        configuration,
        objectives,
        evaluation,
        optimizer,
        limits,
        number,
        preference,
        auxiliary,
    )
    return recipe, source, problems


def load_recipe(
    path: Path, *, budget: Budget | int | str | None = None, seed: int | None = None
) -> Recipe:
    """Reads a recipe whose text has to be right; see `read_recipe`.

    Raises:
        RecipeError: it has problems, all of them inside.
    """
    recipe, source, problems = read_recipe(path, budget=budget, seed=seed)
    if problems or recipe is None:
        raise RecipeError(source, problems)
    return recipe


def _with_layers(
    configuration: Configuration, node: Any, folder: Path
) -> tuple[Configuration, list[Problem]]:
    """The configuration with the rules of `search.layers`, and what is wrong with these."""
    place: Place = ("search", "layers")
    if configuration.tree.get("modules") is not None:
        what = "layers can be searched of a merge by models: or slices:, not by modules:"
        return configuration, [Problem(place, what, "take it out")]
    rules, problems = read_rules(node, place, configuration.sources, folder)
    return replace(configuration, layers=rules), problems


def _whole(
    block: Mapping[str, Any], key: str, default: int, least: int, problems: list[Problem]
) -> int:
    value = block.get(key, default)
    if type(value) is not int or value < least:
        what = f"expected a whole number of {least} or more, got {shown(value)}"
        problems.append(Problem(("search", key), what, f"{key}: {default}"))
        return default
    return value


def _budget(value: Any) -> tuple[Budget, list[Problem]]:
    if isinstance(value, Budget):
        return value, []
    try:
        return read_budget(value), []
    except ValueError as error:
        what = f"{error}, got {shown(value)}"
        return Budget(), [Problem(("search", "budget"), what, budgets.HINT)]


def _optimizer(node: Any) -> tuple[Choice | None, list[Problem]]:
    place: Place = ("search", "optimizer")
    if isinstance(node, str):
        return Choice(node, {}, place), []
    if isinstance(node, Mapping) and len(node) == 1:
        ((kind, settings),) = node.items()
        if settings is None or isinstance(settings, Mapping):
            return Choice(str(kind), settings or {}, (*place, kind)), []
    hint = "optimizer: sobol, or optimizer: {sobol: {setting: value}}"
    return None, [Problem(place, f"expected one optimizer, got {shown(node)}", hint)]


def _no_thresholds(auxiliary: Sequence[Choice], goals: Sequence[Choice]) -> list[Problem]:
    """Auxiliary objectives that would do what only a goal does, or that are goals."""
    problems = []
    for choice in auxiliary:
        if choice.threshold is not None:
            what = "what only steers the search keeps no merge off the front"
            place = (*choice.place, "threshold")
            problems.append(Problem(place, what, "list it under objectives:, or take this out"))
        if (choice.kind, choice.settings) in [(goal.kind, goal.settings) for goal in goals]:
            problems.append(Problem(choice.place, "this is an objective already", "take it out"))
    return problems


def read_objectives(block: Mapping[str, Any], key: str) -> tuple[tuple[Choice, ...], list[Problem]]:
    """Reads the entries of `objectives:` or `auxiliary:`, and what is wrong with them."""
    place: Place = ("search", key)
    if key not in block:
        return (), []
    node = block[key]
    if not isinstance(node, list) or not node:
        what = f"expected a list of one objective or more, got {shown(node)}"
        return (), [Problem(place, what, _OBJECTIVES.replace("objectives", key))]
    found: list[Choice] = []
    problems: list[Problem] = []
    for i, entry in enumerate(node):
        choice, problem = _objective(entry, (*place, i))
        problems += [problem] if problem else []
        if choice and choice.name and choice.name in [other.name for other in found]:
            what = f"another objective is called {choice.name!r} already"
            problems.append(Problem((*place, i, "name"), what))
        elif choice and entry in node[:i]:
            problems.append(Problem((*place, i), "this objective stands twice", "take it out"))
        if choice:
            found.append(choice)
    return tuple(found), problems


def _objective(entry: Any, place: Place) -> tuple[Choice | None, Problem | None]:
    """One entry: a kind's name, `{task: …, …}`, or `{kind: settings, name: …, threshold: …}`."""
    if isinstance(entry, str):
        return Choice(entry, {}, place), None
    hint = "{task: my_task, metric: acc, threshold: 0.4}, or sparsity"
    if not isinstance(entry, Mapping):
        return None, Problem(place, f"expected an objective, got {shown(entry)}", hint)
    name, threshold = entry.get("name"), entry.get("threshold")
    if name is not None and not (isinstance(name, str) and name.strip()):
        return None, Problem((*place, "name"), f"expected a text, got {shown(name)}")
    bound = number(threshold)
    if threshold is not None and (bound is None or not math.isfinite(bound)):
        return None, Problem((*place, "threshold"), f"expected a number, got {shown(threshold)}")
    own = {key: value for key, value in entry.items() if key not in _COMMON}
    if "task" in own:
        return Choice("task", own, place, name, bound), None
    if len(own) != 1:
        return None, Problem(place, "expected one kind of objective, or task:", hint)
    ((kind, settings),) = own.items()
    if settings is not None and not isinstance(settings, Mapping):
        what = f"expected the settings of {kind}, got {shown(settings)}"
        return None, Problem((*place, kind), what, f"{{{kind}: {{setting: value}}}}")
    return Choice(str(kind), settings or {}, place, name, bound), None

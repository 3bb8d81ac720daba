"""Any mergekit YAML becomes a recipe: its searchable numbers are marked where they stand.

Rule: the recipe merges to what the configuration merged to, and its author's comments and layout
stay; what mergekit reads in silence past is taken out, and that is said.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mergekit_mo.bounds import Bounds, DellaBounds, anchors, default_bounds
from mergekit_mo.configuration import read_configuration
from mergekit_mo.edits import Edits, Entry, entries, items, scalar_text
from mergekit_mo.export import config_text
from mergekit_mo.holes import is_hole
from mergekit_mo.methods import Method, methods, unknown_method
from mergekit_mo.problems import Problem, RecipeError, Source, UserError, parse_source, shown
from mergekit_mo.recipe import DEFAULT_BUDGET
from mergekit_mo.references import existing_folder, reference_text
from mergekit_mo.space import Space

FILE = "mergekit_config.yml"
"""What mergekit puts beside every model that it writes."""

_EXAMPLE = """\
# Name a goal or several, on data that you do not report on, and take the first # of each line away:
# objectives:
#   - {task: my_task, metric: acc}              # a task that lm-eval knows
#   - {task: tasks/mine.yaml, threshold: 0.4}   # a task's file; a merge below 0.4 is never chosen
#   - sparsity                                  # distance from the base model
"""


@dataclass(frozen=True)
class Marked:
    """A recipe that was made.

    Attributes:
        text: the recipe.
        dimension: how many numbers are searched.
        notes: what was changed, or left as it is, and why.
        problems: what is still wrong with it.
    """

    text: str
    dimension: int
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


def mark(
    text: str,
    name: str,
    folder: Path,
    *,
    objectives: Sequence[str] = (),
    elsewhere: Sequence[Path] = (),
) -> Marked:
    """Makes a recipe of a mergekit configuration.

    Args:
        text: the configuration.
        name: what it is called in messages.
        folder: where the recipe will stand.
        objectives: the goals, as `objective_text` reads them.
        elsewhere: where else local models may be; the recipe names these from its own folder.

    Raises:
        RecipeError: the text is not YAML.
        UserError: it is a recipe already, or has nothing to search.
    """
    source = parse_source(text, name)
    notes: list[str] = []
    if "search" in source.tree:
        raise UserError(f"{name} is a recipe already: it has a search: block", status=2)
    if isinstance(root := yaml.compose(text), yaml.MappingNode) and root.flow_style:
        text = config_text(source.tree)
        notes.append("written in one pair of braces; laid out anew to take a search: block")
        source = parse_source(text, name)
    marker = _Marker(source, _method(source), folder, tuple(elsewhere))
    marker.walk()
    body = marker.edits.apply()
    problems, dimension = check(body, name, folder)
    if not dimension and not problems:
        raise UserError(f"{name}: {_nothing(marker.method)}", status=2)
    block = search_block([objective_text(o, folder, elsewhere) for o in objectives])
    return Marked(
        _appended(body, block), dimension, (*notes, *dict.fromkeys(marker.notes)), tuple(problems)
    )


def fetch_config(repo: str) -> str:
    """The mergekit configuration of a published model, `organisation/name` or with `@revision`.

    Raises:
        UserError: it cannot be had.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, _, revision = repo.partition("@")
    try:
        path = hf_hub_download(name, FILE, revision=revision or None)
        return Path(path).read_text(encoding="utf-8-sig")
    except LocalEntryNotFoundError as error:
        what = f"the Hugging Face Hub cannot be reached, and {FILE} of {repo} is not in its cache"
        raise UserError(what) from error
    except EntryNotFoundError as error:
        raise UserError(f"{repo} has no {FILE}: it was not merged by mergekit, it seems") from error
    except RevisionNotFoundError as error:
        raise UserError(f"{name} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        what = f"the Hugging Face Hub has no model {name}, or shows it only to those who log in"
        raise UserError(f"{what}:  hf auth login") from error
    except Exception as error:  # validation, HTTP, disk: each library raises its own
        what = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"{FILE} of {repo} cannot be had: {what}") from error


def search_block(
    objectives: Sequence[str], settings: Sequence[str] = (f"budget: {DEFAULT_BUDGET}",)
) -> str:
    """A `search:` block; without objectives, with a commented example of them."""
    lines = ["objectives:", *(f"  - {objective}" for objective in objectives)]
    rows = lines if objectives else _EXAMPLE.splitlines()
    return "search:\n" + "".join(f"  {row}\n" for row in (*rows, *settings))


def objective_text(text: str, folder: Path, elsewhere: Sequence[Path] = ()) -> str:
    """An entry of `objectives:` from `task`, `task:metric`, `file.yaml:metric` or a kind's name.

    Raises:
        UserError: it is none of these.
    """
    import mergekit_mo.objectives
    from mergekit_mo.kinds import names

    task, colon, metric = text.strip().partition(":")
    if not task or (colon and not metric):
        raise UserError(f"an objective is TASK or TASK:METRIC, not {text!r}", status=2)
    if not colon and task in set(names(mergekit_mo.objectives)) - {"task"}:
        return task
    if task.endswith((".yaml", ".yml")) and not (folder / Path(task).expanduser()).is_file():
        found = next((p for start in elsewhere if (p := start / task).is_file()), None)
        task = os.path.relpath(found, folder) if found else task
    more = f", metric: {scalar_text(metric)}" if metric else ""
    return f"{{task: {scalar_text(task)}{more}}}"


def relocated(reference: str, folder: Path, elsewhere: Sequence[Path]) -> str:
    """A model reference whose local folders, found from elsewhere, are named from a folder."""

    def found(part: str) -> str:
        path, at, revision = part.partition("@")
        if not path.strip() or existing_folder(path, folder):
            return part
        places = (existing_folder(path, start) for start in elsewhere)
        local = next((place for place in places if place), None)
        if local is None:
            return part
        name = os.path.relpath(local, folder.resolve())
        return (name if "/" in name else f"./{name}") + at + revision

    return "+".join(found(part) for part in reference.split("+"))


def check(body: str, name: str, folder: Path) -> tuple[list[Problem], int]:
    """What is wrong with the configuration half of a recipe, and how many dimensions it has."""
    tree = parse_source(body, name).tree
    configuration, problems = read_configuration(tree, folder, None, ())
    return problems, Space(configuration).dim if configuration else 0


@dataclass
class _Marker:
    """Walks the nodes of a configuration and notes what to change in its text."""

    source: Source
    method: Method
    folder: Path
    elsewhere: tuple[Path, ...]
    notes: list[str] = field(default_factory=list)
    done: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.edits = Edits(self.source.text)
        della = self.method.name.startswith("della")
        self.della = DellaBounds.of(self.source.tree) if della else None

    def walk(self) -> None:
        """Visits the whole configuration."""
        from mergekit.config import (
            InputModelDefinition,
            InputSliceDefinition,
            MergeConfiguration,
            OutputModuleDefinition,
            OutputSliceDefinition,
        )

        self.shapes = {
            "": MergeConfiguration,
            "models": InputModelDefinition,
            "slices": OutputSliceDefinition,
            "sources": InputSliceDefinition,
            "modules": OutputModuleDefinition,
        }
        root = yaml.compose(self.source.text)
        assert root is not None
        self.part("", root, self.source.tree, None)

    def part(self, shape: str, node: yaml.Node, value: Any, base: str | None) -> None:
        """Visits a mapping: the whole configuration, or an entry of one of its lists."""
        if not isinstance(value, dict):
            return
        model = reference_text(value.get("model")) if shape in ("models", "sources") else None
        base = reference_text(value.get("base_model")) or base
        for entry in entries(node, value):
            if entry.name not in self.shapes[shape].model_fields:
                self.drop(entry, "mergekit does not read it")
            elif entry.name == "parameters":
                self.parameters(entry, model, base)
            elif entry.name in ("models", "slices", "sources"):
                for child, inner in items(entry.node, entry.value):
                    self.part(entry.name, child, inner, base)
            elif entry.name == "modules":
                for module in entries(entry.node, entry.value):
                    self.part("modules", module.node, module.value, base)
            elif entry.name in ("model", "base_model", "tokenizer_source"):
                self.reference(entry)

    def parameters(self, block: Entry, model: str | None, base: str | None) -> None:
        """Visits a `parameters:` mapping."""
        for entry in entries(block.node, block.value):
            parameter = self.method.parameters.get(entry.name)
            if parameter is None:
                self.drop(entry, f"{self.method.name} does not read it")
            elif model is not None and not parameter.per_model:
                self.drop(entry, "mergekit reads it only for the whole merge, not for one model")
            elif model is None or model != base or parameter.for_base:
                self.setting(entry)

    def setting(self, entry: Entry) -> None:
        """Marks a parameter: a number, a gradient, a mapping with a filter or a list of these."""
        holders = [(entry.node, entry.value)] if isinstance(entry.value, dict) else []
        holders += [(n, v) for n, v in items(entry.node, entry.value) if isinstance(v, dict)]
        for node, value in holders:
            inner = next((e for e in entries(node, value) if e.name == "value"), None)
            if inner and not is_hole(value) and id(node) not in self.done:
                self.done.add(id(node))
                if bounds := self.bounds(entry.name, inner):
                    self.edits.bound(inner, bounds)
        if holders or id(entry.node) in self.done:
            return
        if bounds := self.bounds(entry.name, entry):
            self.done.add(id(entry.node))
            self.edits.wrap(entry, bounds)
            if self.edits.is_shared(entry):
                self.note(entry, "shared by aliases; each use of it is searched by itself")

    def bounds(self, name: str, entry: Entry) -> Bounds | None:
        """The bounds of a parameter's numbers, if they are to be searched."""
        values = anchors(entry.value)
        bounds = default_bounds(self.method, name, values) if values else None
        if bounds is None or values is None or self.della is None:
            return bounds
        narrow = self.della.narrowed(name, values, bounds)
        if narrow is None:
            why = f"epsilon up to {self.della.epsilon:g} leaves it no room"
            self.note(entry, f"{name} {shown(entry.value)} stays as it is: {why}")
        return narrow

    def drop(self, entry: Entry, why: str) -> None:
        """Takes out what mergekit passes over."""
        if id(entry.node) not in self.done and self.edits.drop(entry):
            self.note(entry, f"{entry.name} is taken out: {why}")
        self.done.add(id(entry.node))

    def reference(self, entry: Entry) -> None:
        """Names a local model from the recipe's folder, if it was named from elsewhere."""
        if not isinstance(entry.value, str) or not isinstance(entry.node, yaml.ScalarNode):
            return
        text = relocated(entry.value, self.folder, self.elsewhere)
        if text != entry.value:
            self.edits.replace(entry.node, scalar_text(text))

    def note(self, entry: Entry, text: str) -> None:
        """Remembers something to say, with its line."""
        self.notes.append(f"line {entry.key.start_mark.line + 1}: {text}")


def _nothing(method: Method) -> str:
    """Why there is nothing to search."""
    known = ", ".join(n for n, p in method.parameters.items() if p.kind is not bool)
    if not known:
        return f"there is no number to search in a merge by {method.name}"
    return f"there is no number to search; {method.name} takes {known}"


def _method(source: Source) -> Method:
    name = source.tree.get("merge_method")
    if not isinstance(name, str) or name not in methods():
        place = ("merge_method",) if "merge_method" in source.tree else ()
        what = f"no merge method is called {shown(name)}" if place else "has no merge_method:"
        raise RecipeError(source, [Problem(place, what, unknown_method(name))])
    return methods()[name]


def _appended(body: str, block: str) -> str:
    """A block at the end of a document, in its column and with its ends of lines."""
    root = yaml.compose(body)
    assert root is not None
    lines = body.rstrip().splitlines()
    if lines and lines[-1].strip() == "...":  # the end of the document
        lines.pop()
    indent = " " * root.start_mark.column
    text = "\n".join([*lines, *(f"{indent}{line}" for line in block.splitlines())]) + "\n"
    return text.replace("\n", "\r\n") if "\r\n" in body else text

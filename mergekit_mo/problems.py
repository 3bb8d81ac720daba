"""What is wrong with a file, where, and the way out: all problems at once, each with its place.

Rule: whoever finds a mistake of the user's makes a `Problem`; only the command line prints it.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]
"""Keys and indices from the root of a YAML document to a node."""

_MOST_NODES = 100_000  # an alias bomb is larger, a recipe is not


@dataclass(frozen=True)
class Problem:
    """One mistake: where it stands, what is wrong, and the way out."""

    place: Place
    what: str
    hint: str = ""


class UserError(Exception):
    """Something that the user can put right; shown without a traceback."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class RecipeError(UserError):
    """A recipe that cannot be run, with every problem found in it."""

    def __init__(self, source: Source, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: source.mark(p.place)))
        super().__init__("\n".join(source.describe(p) for p in self.problems), status=2)


@dataclass(frozen=True)
class Source:
    """A YAML file as a plain tree, together with the line and column of every node."""

    name: str
    text: str
    tree: Any
    marks: Mapping[Place, tuple[int, int]] = field(repr=False)

    def mark(self, place: Place) -> tuple[int, int]:
        """Line and column (from 1) of a place, or of the nearest one above it that exists."""
        for end in range(len(place), -1, -1):
            if place[:end] in self.marks:
                return self.marks[place[:end]]
        return (1, 1)

    def describe(self, problem: Problem) -> str:
        """A problem as `file:line:col: where: what`, the offending line and the way out."""
        line, column = self.mark(problem.place)
        where = f"{path_text(problem.place)}: " if problem.place else ""
        rows = [f"{self.name}:{line}:{column}: {where}{problem.what}"]
        lines = self.text.splitlines()
        if 0 < line <= len(lines):
            rows.append(f"{line:5} | {lines[line - 1].rstrip()}")
            caret = " " * (column - 1) + "^"
            rows.append(f"      | {caret} {problem.hint}".rstrip())
        elif problem.hint:
            rows.append(f"      | {problem.hint}")
        return "\n".join(rows)


def path_text(place: Place) -> str:
    """A place as a user would write it: `models[0].parameters.weight`."""
    text = ""
    for key in place:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


def near(word: object, known: Iterable[str], *, what: str = "known") -> str:
    """A hint for a word that is not among the known ones: the nearest, then all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    listing = f"{what}: {', '.join(names)}" if names else f"{what}: none"
    return f"did you mean {close[0]!r}? {listing}" if close else listing


def read_source(path: Path) -> Source:
    """Reads a YAML file.

    Raises:
        RecipeError: the file is not YAML, repeats a key, or is no mapping.
        UserError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}", status=2) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason})", status=2) from error
    return parse_source(text, str(path))


def parse_source(text: str, name: str) -> Source:
    """Parses YAML text; see `read_source`."""
    marks: dict[Place, tuple[int, int]] = {}
    problems: list[Problem] = []
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        for place, line, column, problem in _walk(node):
            marks[place] = (line, column)
            if problem:
                problems.append(Problem(place, problem))
        tree = None if problems or node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        marks[()] = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = f"not valid YAML: {error.problem or error.context}"
        raise RecipeError(Source(name, text, None, marks), [Problem((), what)]) from error
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        marks[()] = (1, 1)
        what = f"not valid YAML: {str(error) or type(error).__name__}"
        raise RecipeError(Source(name, text, None, marks), [Problem((), what)]) from error
    source = Source(name, text, tree, marks)
    if not problems and not isinstance(tree, dict):
        problems = [Problem((), "a recipe is a mapping", "for example: merge_method: linear")]
    if problems:
        raise RecipeError(source, problems)
    return source


def _walk(root: yaml.Node | None) -> Iterator[tuple[Place, int, int, str]]:
    """Every node with its place, line, column and, if it is faulty, what is wrong with it."""
    # A node, its place, what contains it, and where it begins: a value begins at its key.
    stack: list[tuple[yaml.Node, Place, tuple[int, ...], yaml.Mark]] = []
    if root is not None:
        stack.append((root, (), (), root.start_mark))
    for _ in range(_MOST_NODES):
        if not stack:
            return
        node, place, above, mark = stack.pop()
        line, column = mark.line + 1, mark.column + 1
        if id(node) in above:
            yield place, line, column, "contains itself through an alias"
            continue
        yield place, line, column, ""
        inside = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            stack += [(c, (*place, i), inside, c.start_mark) for i, c in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            seen: set[Hashable] = set()
            for key, child in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else "?"
                here, start = (*place, name), key.start_mark
                if name in seen and name != "<<":
                    yield here, start.line + 1, start.column + 1, f"the key {name!r} stands twice"
                    continue
                seen.add(name)
                stack.append((child, here, inside, start))
    if stack:
        yield (), 1, 1, f"more than {_MOST_NODES} nodes once aliases are followed"

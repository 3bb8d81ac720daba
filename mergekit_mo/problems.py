"""What is wrong with a file, where, and the way out: all problems at once, each with its place.

Rule: whoever finds a mistake of the user's makes a `Problem`; only the command line prints it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]
"""Keys and indices from the root of a YAML document to a node."""

_MOST_NODES = 100_000  # an alias bomb is larger, a recipe is not
_DEEPEST = 40  # a chain of aliases is deeper, a recipe is not
_LONGEST = 60
_TAG = "tag:yaml.org,2002:"
_KINDS = {
    "map": "a mapping",
    "seq": "a list",
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "timestamp": "a date",
}
_ADVICE = {
    "cannot start any token": "indent with spaces; put quotes around a text that begins so",
    "mapping values are not allowed": "a text with a colon in it needs quotes",
    "could not find expected ':'": "each line of a mapping is key: value",
    "found another document": "a recipe is one document: there is no --- inside",
    "undefined alias": "an anchor, &name, stands before its alias, *name",
    "expected <block end>": "the entries of one mapping or list begin in the same column",
    "expected ',' or ": "a { or [ was not closed, or a comma is missing",
}
"""What to do about the parser's commoner complaints."""


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
        self.source = source
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
            text = lines[line - 1].rstrip()
            rows.append(f"{line:5} | {text}")
            caret = re.sub(r"[^\t]", " ", text[: column - 1].ljust(column - 1)) + "^"
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


def shown(value: object) -> str:
    """A value as its YAML reads, cut short."""
    if value is None:
        return "nothing"
    if isinstance(value, str | bytes):
        text = repr(value)
    elif isinstance(value, bool | list | dict):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


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
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}", status=2) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason})", status=2) from error
    return parse_source(text, str(path))


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, to which `1e-4` is a number, as it is to YAML 1.2."""


_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def parse_source(text: str, name: str) -> Source:
    """Parses YAML text; see `read_source`."""
    marks: dict[Place, tuple[int, int]] = {}
    problems: list[Problem] = []
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        for place, mark, problem in _walk(loader, node):
            marks.setdefault(place, (mark.line + 1, mark.column + 1))
            if problem:
                problems.append(problem)
        tree = None if problems or node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        marks[()], problem = _invalid(error, text)
        raise RecipeError(Source(name, text, None, marks), [problem]) from error
    source = Source(name, text, tree, marks)
    if not problems and not isinstance(tree, dict):
        hint = "it begins, for example, with merge_method: linear"
        problems = [Problem((), f"a recipe is a mapping, this is {shown(tree)}", hint)]
    if problems:
        raise RecipeError(source, problems)
    return source


def _invalid(error: Exception, text: str) -> tuple[tuple[int, int], Problem]:
    """Where and why the parser gave up."""
    line, column, what = 1, 1, str(error) or type(error).__name__
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = error.problem or error.context or what
        what = f"{error.context}, {what}" if what.startswith("but ") else what
    elif isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        what = f"the character {chr(error.character)!r} is not allowed"
    elif isinstance(error, RecursionError):
        what = "nested too deep"
    hint = next((advice for key, advice in _ADVICE.items() if key in what), "")
    return (line, column), Problem((), f"not valid YAML: {what}", hint)


def _walk(
    loader: yaml.SafeLoader, root: yaml.Node | None
) -> Iterator[tuple[Place, yaml.Mark, Problem | None]]:
    """Every node with its place, where it begins and, if it is faulty, what is wrong with it."""
    # A node, its place, what contains it, and where it begins: a value begins at its key.
    stack: list[tuple[yaml.Node, Place, tuple[int, ...], yaml.Mark]] = []
    if root is not None:
        stack.append((root, (), (), root.start_mark))
    for _ in range(_MOST_NODES):
        if not stack:
            return
        node, place, above, mark = stack.pop()
        if id(node) in above:
            hint = "write out what the alias stands for"
            yield place, mark, Problem(place, "contains itself through an alias", hint)
            continue
        if len(above) > _DEEPEST:
            what = f"nested more than {_DEEPEST} deep"
            yield place[:1], mark, Problem(place[:1], what, "take out its chain of aliases")
            return
        what = _fault(loader, node)
        yield place, mark, Problem(place, what) if what else None
        inside = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            stack += [(c, (*place, i), inside, c.start_mark) for i, c in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            for key, child, problem in _entries(node, place):
                if problem:
                    yield problem.place, key.start_mark, problem
                elif key.tag != f"{_TAG}merge":
                    stack.append((child, (*place, key.value), inside, key.start_mark))
                else:  # what it brings stands where the anchor is, below what is written here
                    many = child.value if isinstance(child, yaml.SequenceNode) else [child]
                    stack[:0] = [(c, place, inside, c.start_mark) for c in many]
    if stack:
        what = f"more than {_MOST_NODES} values once its aliases are followed"
        yield (), stack[0][3], Problem((), what, "take out its lists of aliases to lists")


def _entries(
    node: yaml.MappingNode, place: Place
) -> Iterator[tuple[yaml.Node, yaml.Node, Problem | None]]:
    """The keys and values of a mapping, and what is wrong with the keys."""
    first: dict[str, int] = {}
    for key, child in node.value:
        text = key.value if isinstance(key, yaml.ScalarNode) else "?"
        problem = None
        if key.tag == f"{_TAG}merge":
            pass
        elif key.tag != f"{_TAG}str" or not isinstance(key, yaml.ScalarNode):
            what = f"the key {text!r} is not a text to YAML"
            problem = Problem((*place, text), what, "put it in quotes")
        elif text in first:
            hint = f"first on line {first[text]}; YAML would drop that one without a word"
            problem = Problem((*place, text), f"the key {text!r} stands twice", hint)
        first.setdefault(text, key.start_mark.line + 1)
        yield key, child, problem


def _fault(loader: yaml.SafeLoader, node: yaml.Node) -> str:
    """What makes a node unreadable by itself."""
    kind = _KINDS.get(node.tag.removeprefix(_TAG))
    if kind is None:
        return f"the tag {node.tag.replace(_TAG, '!!')} has no place in a recipe"
    if isinstance(node, yaml.ScalarNode):
        try:
            str(loader.construct_object(node))
        except (ValueError, LookupError, AttributeError, OverflowError, yaml.YAMLError):
            return f"{shown(node.value)} cannot be read as {kind}"
    return ""

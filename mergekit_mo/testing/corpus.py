"""Gather the text the tiny models learn from: Python's own code and prose, and generated sums.

Train and held-out text never share a document: a source file, a help topic, or an unordered set
of summands (so that `2+3+4` is not learnt by way of `4+3+2`) is wholly on one side.
"""

import ast
import itertools
import random
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import TypeVar

T = TypeVar("T")

DOMAINS = ("code", "prose", "arithmetic")

_HELD_OUT = 0.2
_SKIPPED = {"test", "tests", "site-packages", "dist-packages", "pydoc_data", "idlelib"}
_SKIPPED |= {"encodings", "lib2to3"}  # tables more than code
_FILES = 320
_LARGEST_FILE = 200_000
_SHORTEST_DOCSTRING = 200
_SUMMANDS = 3
_SHEET_ROUNDS = 40
_SHEET_LINES = 20


@dataclass(frozen=True)
class Split:
    """One domain's text.

    Attributes:
        train: Documents to learn from; for arithmetic, sheets of many problems.
        held_out: Documents to be judged by; for arithmetic, one problem each (`3+4+5=12`).
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]


def corpus(seed: int = 0) -> dict[str, Split]:
    """Return the text of each of `DOMAINS`, the same for a seed and a Python version."""
    held_files, train_files = _cut(list(itertools.islice(_sources(seed), _FILES)))
    held_topics, train_topics = _cut(_shuffled(sorted(topics), seed))
    return {
        "code": _split((code for code, _ in train_files), (code for code, _ in held_files)),
        "prose": _split(_prose(train_topics, train_files), _prose(held_topics, held_files)),
        "arithmetic": _arithmetic(seed),
    }


def passages(documents: Iterable[str], *, shortest: int = 300, longest: int = 400) -> list[str]:
    """Cut documents into runs of whole lines of `shortest` to `longest` characters each."""
    return [
        passage
        for document in documents
        for passage in _pack(document.splitlines(keepends=True), longest)
        if shortest <= len(passage) <= longest
    ]


def _pack(lines: Iterable[str], longest: int) -> Iterator[str]:
    """Join consecutive lines for as long as they fit in `longest` characters."""
    passage = ""
    for line in lines:
        if passage and len(passage) + len(line) > longest:
            yield passage.strip("\n")
            passage = ""
        passage += line
    yield passage.strip("\n")


def _split(train: Iterable[str], held_out: Iterable[str]) -> Split:
    """Return a split without those held-out documents that occur in training as well."""
    learnt = tuple(train)
    known = set(learnt)
    return Split(learnt, tuple(document for document in held_out if document not in known))


def _sources(seed: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the standard library's files, shuffled: code bare of docstrings, and docstrings."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in _shuffled(sorted(root.rglob("*.py")), seed):
        inside = path.relative_to(root).parts
        if _SKIPPED.isdisjoint(inside) and path.stat().st_size <= _LARGEST_FILE:
            try:
                yield _parted(path.read_text(encoding="utf-8"))
            except (SyntaxError, ValueError):  # some files are broken on purpose
                continue


def _parted(source: str) -> tuple[str, list[str]]:
    """Part a module's source into its code and its docstrings."""
    lines = source.splitlines(keepends=True)
    docstrings = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            docstring = ast.get_docstring(node)
            if docstring is not None:
                docstrings.append(docstring)
                first = node.body[0]
                rows = slice(first.lineno - 1, first.end_lineno)
                lines[rows] = [""] * len(lines[rows])
    return "".join(lines), docstrings


def _prose(names: Iterable[str], files: Iterable[tuple[str, list[str]]]) -> tuple[str, ...]:
    """Return the named help topics, then the files' longer docstrings."""
    docstrings = (docstring for _, docstrings in files for docstring in docstrings)
    long = (docstring for docstring in docstrings if len(docstring) >= _SHORTEST_DOCSTRING)
    return (*(topics[name] for name in names), *long)


def _arithmetic(seed: int) -> Split:
    """Return sheets of sums to learn, and single sums of other summands that are held out."""
    summands = list(itertools.combinations_with_replacement(range(10), _SUMMANDS))
    held_out, train = ([*map(_problem, _orders(part))] for part in _cut(_shuffled(summands, seed)))
    sheets = []
    for turn in range(_SHEET_ROUNDS):
        lines = _shuffled(train, f"{seed} {turn}")
        starts = range(0, len(lines), _SHEET_LINES)
        sheets += ["\n".join(lines[start : start + _SHEET_LINES]) for start in starts]
    return Split(tuple(sheets), tuple(held_out))


def _orders(summands: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return every distinct order of each set of summands."""
    return sorted({order for each in summands for order in itertools.permutations(each)})


def _problem(summands: tuple[int, ...]) -> str:
    """Return a solved problem such as `3+4+5=12`."""
    return f"{'+'.join(map(str, summands))}={sum(summands)}"


def _shuffled(items: Sequence[T], seed: object) -> list[T]:
    """Return the items in an order settled by `seed` alone."""
    return random.Random(str(seed)).sample(items, len(items))


def _cut(items: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Return the held-out part of shuffled items and the rest, for training."""
    count = round(_HELD_OUT * len(items))
    return items[:count], items[count:]

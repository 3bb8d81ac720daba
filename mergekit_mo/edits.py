"""Changes to a YAML text at the places of its nodes, so that comments and layout stay.

Rule: an edit replaces a stretch of the text; what is not edited stays as its author wrote it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from mergekit_mo.bounds import Bounds
from mergekit_mo.holes import number

_ANCHOR = re.compile(r"&\S+\s+")
_ALIAS = re.compile(r"\s*:\s*(\*[^\s,\]}]+)")
_PLAIN = re.compile(r"[A-Za-z./~][\w.~/+@-]*", re.ASCII)


@dataclass(frozen=True)
class Entry:
    """A key of a mapping with its value, as nodes and as what they stand for."""

    name: str
    key: yaml.Node
    node: yaml.Node
    value: Any
    flow: bool


def entries(node: yaml.Node, value: Any) -> Iterator[Entry]:
    """The entries of a mapping, those that it takes from an anchor by `<<` included."""
    if not isinstance(node, yaml.MappingNode) or not isinstance(value, dict):
        return
    own = {key.value for key, _ in node.value}
    for key, child in node.value:
        if key.value == "<<":
            merged = child.value if isinstance(child, yaml.SequenceNode) else [child]
            for other in merged:
                yield from (e for e in entries(other, value) if e.name not in own)
        elif key.value in value:
            yield Entry(key.value, key, child, value[key.value], bool(node.flow_style))


def items(node: yaml.Node, value: Any) -> Iterator[tuple[yaml.Node, Any]]:
    """The entries of a list."""
    if isinstance(node, yaml.SequenceNode) and isinstance(value, list):
        yield from zip(node.value, value, strict=False)


def scalar_text(text: str) -> str:
    """A text as YAML, in quotes where it needs them."""
    plain = _PLAIN.fullmatch(text) and number(text) is None and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)


@dataclass
class Edits:
    """Edits of one text, applied all together."""

    text: str
    _changes: dict[tuple[int, int], str] = field(default_factory=dict)

    def apply(self) -> str:
        """The text with every edit made."""
        text = self.text
        for (start, end), new in sorted(self._changes.items(), reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def replace(self, node: yaml.Node, new: str) -> None:
        """Puts other text in the place of a scalar."""
        self._changes[node.start_mark.index, node.end_mark.index] = new

    def wrap(self, entry: Entry, bounds: Bounds) -> None:
        """Makes a number, or a list of anchors, a hole: `{value: …, low: …, high: …}`."""
        ends = ", ".join(f"{key}: {value}" for key, value in bounds.items())
        start, end = self._span(entry)
        node = entry.node
        block = isinstance(node, yaml.SequenceNode) and not node.flow_style
        if not block or self._is_alias(entry):
            self._changes[start, end] = f"{{value: {self.text[start:end]}, {ends}}}"
        elif node.start_mark.column > entry.key.start_mark.column and start == _index(node):
            lines = [*(f"{key}: {value}" for key, value in bounds.items()), "value:"]
            indent = " " * node.start_mark.column
            self._changes[start, start] = "".join(f"{line}\n{indent}" for line in lines)
        else:  # a list in the column of its own key has no room for a mapping
            anchors = ", ".join(self.text[_index(n) : n.end_mark.index] for n in node.value)
            start = self.text.index(":", entry.key.end_mark.index) + 1
            self._changes[start, end] = f" {{value: [{anchors}], {ends}}}"

    def bound(self, entry: Entry, bounds: Bounds) -> None:
        """Puts bounds beside the `value:` of a mapping."""
        _, end = self._span(entry)
        if entry.flow:
            ends = "".join(f", {key}: {value}" for key, value in bounds.items())
        else:
            end = self._line_end(end)
            indent = "\n" + " " * entry.key.start_mark.column
            ends = "".join(f"{indent}{key}: {value}" for key, value in bounds.items())
        self._changes[end, end] = ends

    def drop(self, entry: Entry) -> bool:
        """Takes an entry out; in block style its lines become comments.

        Returns:
            Whether it was: an entry with an anchor stays, for others may refer to it.
        """
        start, (_, end) = entry.key.start_mark.index, self._span(entry)
        if "&" in self.text[start:end]:
            return False
        if entry.flow:
            after = re.compile(r"\s*,\s*").match(self.text, end)
            before = re.search(r",\s*$", self.text[:start])
            if after:
                end = after.end()
            elif before:
                start = before.start()
            self._changes[start, end] = ""
            return True
        column = entry.key.start_mark.column
        self._changes[start, start] = "# "
        at = self.text.find("\n", start, end)
        while at >= 0:
            line = self.text[at + 1 : self._line_end(at + 1)]
            place = at + 1 + min(column, len(line) - len(line.lstrip()))
            if line.strip():
                self._changes[place, place] = "# "
            at = self.text.find("\n", at + 1, end)
        return True

    def is_shared(self, entry: Entry) -> bool:
        """Whether an entry's value has an anchor, for aliases to refer to."""
        return self.text.startswith("&", _index(entry.node))

    def _is_alias(self, entry: Entry) -> bool:
        return _index(entry.node) < entry.key.end_mark.index

    def _span(self, entry: Entry) -> tuple[int, int]:
        """Where an entry's value begins, after its anchor, and ends."""
        if self._is_alias(entry):
            found = _ALIAS.match(self.text, entry.key.end_mark.index)
            assert found is not None
            return found.span(1)
        anchor = _ANCHOR.match(self.text, _index(entry.node))
        return anchor.end() if anchor else _index(entry.node), _end(entry.node, self.text)

    def _line_end(self, index: int) -> int:
        found = self.text.find("\n", index)
        end = len(self.text) if found < 0 else found
        return end - 1 if self.text[index:end].endswith("\r") else end


def _index(node: yaml.Node) -> int:
    return int(node.start_mark.index)


def _end(node: yaml.Node, text: str) -> int:
    """Where a node's text ends; the marks of block collections lie beyond it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        inner = last[1] if isinstance(last, tuple) else last
        return max(_end(inner, text), int(last[0].end_mark.index) if last is not inner else 0)
    return _index(node) + len(text[_index(node) : node.end_mark.index].rstrip())

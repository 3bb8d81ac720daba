"""Token sequences that begin alike, laid out so that what they share is computed once.

Rule: a layout is plain data, made once a run. Its rows are trees of tokens written one after the
other: a token sees the row's earlier tokens whose subtree it stands in, and all of the row's root.

Sequences are sorted into a tree of segments. A subtree that is small enough becomes one row (the
context of an item, then its answers); a long beginning of many rows becomes a root, whose keys and
values are computed once and extended by each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Limits:
    """What is worth sharing; attention within a row grows with its square, a call has its price.

    Attributes:
        row: tokens that a row of several sequences may hold in any case.
        stretch: it may also be this many times as long as the longest of them.
        gain: together it has to compute at most this share of what its branches would apart.
        root: tokens that a root has to save.
    """

    row: int = 384
    stretch: float = 1.5
    gain: float = 0.9
    root: int = 256


@dataclass(frozen=True)
class Root:
    """The beginning of many rows.

    Attributes:
        parent: the root that it extends; -1 where it starts at the first token.
        start: the position of its first token.
        tokens: what it adds to its parent.
    """

    parent: int
    start: int
    tokens: Tokens


@dataclass(frozen=True)
class Row:
    """Tokens that are run together, after a root or from the start.

    Attributes:
        root: the root that they follow; -1 for none.
        tokens: of a tree, each parent before its children.
        positions: of each token in its own sequences.
        ends: of each token, the column after the last one of its subtree.
        forked: whether it is more than one plain sequence.
    """

    root: int
    tokens: Tokens
    positions: Tokens
    ends: Tokens
    forked: bool


@dataclass(frozen=True)
class Piece:
    """Where a stretch of a sequence is computed.

    Attributes:
        unit: a root's number, or the number of roots plus a row's.
        column: of the stretch's first token.
        start: position of the stretch's first token.
        stop: the position after its last one.
    """

    unit: int
    column: int
    start: int
    stop: int


@dataclass(frozen=True)
class Layout:
    """What is computed for a set of sequences, and where each of them lies in it.

    Attributes:
        roots: parents before their children.
        rows: in no special order.
        pieces: of each sequence, from its end to its beginning.
    """

    roots: tuple[Root, ...]
    rows: tuple[Row, ...]
    pieces: tuple[tuple[Piece, ...], ...]

    @property
    def computed(self) -> int:
        """Tokens that are computed, padding apart."""
        rows = sum(len(row.tokens) for row in self.rows)
        return rows + sum(len(root.tokens) for root in self.roots)


@dataclass
class _Node:
    """A segment of the tree: positions start to stop of the sequence `of`, and what follows it."""

    of: int
    start: int
    stop: int
    children: list[_Node] = field(default_factory=list)
    size: int = 0  # tokens of the whole subtree
    longest: int = 0  # the last position in it
    parent: _Node | None = None
    unit: int = -1
    column: int = 0


def lay_out(sequences: Sequence[Tokens], limits: Limits | None) -> Layout:
    """Lays sequences out.

    Args:
        sequences: distinct ones, none empty.
        limits: of what is shared; None for nothing, each sequence then being a row.
    """
    if limits is None:
        return _apart(sequences)
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    tops, last = _grow(sequences, order)
    return _Cutter(sequences, limits).cut(tops, last)


def _apart(sequences: Sequence[Tokens]) -> Layout:
    """Every sequence in a row of its own."""
    rows = []
    for tokens in sequences:
        n = len(tokens)
        rows.append(Row(-1, tokens, tuple(range(n)), (n,) * n, forked=False))
    pieces = tuple((Piece(i, 0, 0, len(tokens)),) for i, tokens in enumerate(sequences))
    return Layout((), tuple(rows), pieces)


def _grow(
    sequences: Sequence[Tokens], order: Sequence[int]
) -> tuple[list[_Node], dict[int, _Node]]:
    """The trees of the sequences, taken in sorted order, and the node at which each one ends."""
    tops: list[_Node] = []
    last: dict[int, _Node] = {}
    path: list[_Node] = []  # from a top to the last sequence's end
    before: Tokens = ()
    for i in order:
        tokens = sequences[i]
        common = _common(before, tokens)
        while path and path[-1].start >= common:
            path.pop()
        if path and path[-1].stop > common:
            lower = path.pop()
            upper = _Node(lower.of, lower.start, common, [lower])
            siblings = path[-1].children if path else tops
            siblings[-1] = upper
            lower.start = common
            path.append(upper)
        node = _Node(i, common, len(tokens))
        (path[-1].children if path else tops).append(node)
        path.append(node)
        last[i] = node
        before = tokens
    for node in reversed(list(_walk(tops))):
        _count(node)
    return tops, last


def _common(one: Tokens, other: Tokens) -> int:
    """How many tokens two sequences share at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _walk(tops: Sequence[_Node]) -> Iterator[_Node]:
    """Nodes, parents first, as a row holds them."""
    waiting = list(reversed(tops))
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def _count(node: _Node) -> None:
    """Sums up a node whose children are summed up."""
    for child in node.children:
        child.parent = node
    own = node.stop - node.start
    node.size = own + sum(child.size for child in node.children)
    node.longest = max([node.stop, *(child.longest for child in node.children)])


class _Cutter:
    """Cuts trees into roots and rows."""

    def __init__(self, sequences: Sequence[Tokens], limits: Limits) -> None:
        self.sequences = sequences
        self.limits = limits
        self.roots: list[Root] = []
        self.rows: list[tuple[int, list[_Node], list[_Node]]] = []

    def cut(self, tops: Sequence[_Node], last: dict[int, _Node]) -> Layout:
        """The layout of trees, given the node at which each sequence ends."""
        # Each: a subtree, its ancestors since the last root, that root, and where it ends.
        limits = self.limits
        waiting: list[tuple[_Node, list[_Node], int, int]]
        waiting = [(top, [], -1, 0) for top in reversed(tops)]
        while waiting:
            node, stem, root, start = waiting.pop()
            whole = node.start - start + node.size
            saved = (node.stop - start) * (len(node.children) - 1)  # by staying together here
            few = whole <= max(limits.row, limits.stretch * (node.longest - start))
            if not node.children or (few and whole <= limits.gain * (whole + saved)):
                self.rows.append((root, stem, [node]))
                continue
            path = [*stem, node]
            if saved >= limits.root and not few:
                root, start, path = self._root(root, start, path), node.stop, []
            waiting += [(child, path, root, start) for child in reversed(node.children)]
        rows = [self._row(i, *row) for i, row in enumerate(self.rows)]
        pieces = tuple(tuple(_pieces(last[i])) for i in range(len(self.sequences)))
        return Layout(tuple(self.roots), tuple(rows), pieces)

    def _root(self, parent: int, start: int, path: Sequence[_Node]) -> int:
        """A new root's number."""
        number = len(self.roots)
        for node in path:
            node.unit, node.column = number, node.start - start
        tokens = self.sequences[path[-1].of][start : path[-1].stop]
        self.roots.append(Root(parent, start, tokens))
        return number

    def _row(self, number: int, root: int, stem: list[_Node], tops: list[_Node]) -> Row:
        """A row: the ancestors since its root, then a subtree."""
        tokens: list[int] = []
        positions: list[int] = []
        ends: list[int] = []
        nodes = [*stem, *_walk(tops)]
        whole = sum(node.stop - node.start for node in nodes)
        for i, node in enumerate(nodes):
            above = i < len(stem)
            if node.unit < 0:
                node.unit, node.column = len(self.roots) + number, len(tokens)
            end = whole if above else len(tokens) + node.size
            tokens += self.sequences[node.of][node.start : node.stop]
            positions += range(node.start, node.stop)
            ends += [end] * (node.stop - node.start)
        forked = any(node.children for node in nodes[len(stem) :])
        return Row(root, tuple(tokens), tuple(positions), tuple(ends), forked)


def _pieces(node: _Node | None) -> Iterator[Piece]:
    """Where a sequence lies, from its end to its beginning."""
    while node is not None:
        yield Piece(node.unit, node.column, node.start, node.stop)
        node = node.parent

"""The calls of a model that score continuations, planned once a run: tokens in tensors.

Rule: a plan knows nothing of weights. What a model is fed, and which of its logits score which
token, is lm-eval's; only what would be computed twice is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from mergekit_mo.prefixes import Layout, Limits, Root, Row, Tokens, lay_out

_LOGITS = {"cpu": 2**25, "other": 2**29}
"""Logits of one call at most; a row is never split."""


@dataclass(frozen=True)
class Part:
    """Tokens to be scored after others.

    Attributes:
        context: at least one token.
        continuation: at least one token.
        greedy: whether it is asked if the model would write them.
    """

    context: Tokens
    continuation: Tokens
    greedy: bool = True

    def fed(self, max_length: int) -> Tokens:
        """What the model is fed: all but the last token, the beginning cut off if too long.

        Raises:
            ValueError: there is nothing to score, or more than the model can take.
        """
        if not self.continuation:
            raise ValueError("an answer has no tokens: nothing can be scored")
        if len(self.continuation) > max_length:
            what = f"an answer has {len(self.continuation)} tokens"
            raise ValueError(f"{what}, where the model takes {max_length}")
        return (self.context + self.continuation)[-(max_length + 1) : -1]


@dataclass(frozen=True)
class Call:
    """One call of the model.

    Attributes:
        root: the root that its rows extend; -1 for none.
        keeps: the root that it computes; -1 for none.
        tokens: rows by columns.
        positions: of the tokens in their sequences; None where rows are plain sequences.
        ends: for each token the column after its subtree's last; None likewise.
        wanted: which logits are asked for, as indices into the flattened tokens.
        rows: of each token that is scored, the row among the wanted ones.
        targets: the tokens that are scored.
        slots: where their values belong.
        greedy: whether the most likely token is asked for as well.
    """

    root: int
    keeps: int
    tokens: torch.Tensor
    positions: torch.Tensor | None
    ends: torch.Tensor | None
    wanted: torch.Tensor
    rows: torch.Tensor
    targets: torch.Tensor
    slots: torch.Tensor
    greedy: bool


@dataclass(frozen=True)
class Plan:
    """The calls that score a list of parts.

    Attributes:
        calls: in the order in which they are made.
        lengths: how many tokens each part scores.
        last: the number of the last call that extends a root.
        computed: tokens that the calls compute, padding included.
    """

    calls: tuple[Call, ...]
    lengths: torch.Tensor
    last: Mapping[int, int]
    computed: int


def plan_parts(
    parts: Sequence[Part],
    *,
    max_length: int,
    batch_size: int,
    vocabulary: int,
    device: torch.device,
    limits: Limits | None,
) -> Plan:
    """Plans the calls for parts.

    Args:
        parts: what is to be scored.
        max_length: the longest input of the model, in tokens.
        batch_size: rows of a call.
        vocabulary: logits of a token.
        device: where the tensors are put.
        limits: of what is computed once; None where the model cannot share.
    """
    numbers: dict[Tokens, int] = {}
    which = [numbers.setdefault(part.fed(max_length), len(numbers)) for part in parts]
    layout = lay_out(list(numbers), limits)
    asked = _asked(parts, which, layout)
    most = _LOGITS["cpu" if device.type == "cpu" else "other"] // vocabulary
    calls = tuple(
        _call(root, keeps, units, asked, layout, device)
        for root, keeps, units in _batches(layout, asked, batch_size, most)
    )
    lengths = torch.tensor([len(part.continuation) for part in parts])
    last = {call.root: i for i, call in enumerate(calls)}
    return Plan(calls, lengths, last, sum(call.tokens.numel() for call in calls))


@dataclass(frozen=True)
class _Scored:
    """A token that is scored: by the logits at a column of a unit."""

    column: int
    target: int
    slot: int
    greedy: bool


def _asked(parts: Sequence[Part], which: Sequence[int], layout: Layout) -> dict[int, list[_Scored]]:
    """The tokens that are scored, by the unit in which they are."""
    found: dict[int, list[_Scored]] = defaultdict(list)
    slot = 0
    for part, number in zip(parts, which, strict=True):
        pieces = layout.pieces[number]
        end, count = pieces[0].stop, len(part.continuation)
        first = end - count  # the position whose logits score the first token
        for piece in pieces:
            for position in range(max(piece.start, first), piece.stop):
                at = position - first
                column = piece.column + position - piece.start
                scored = _Scored(column, part.continuation[at], slot + at, part.greedy)
                found[piece.unit].append(scored)
            if piece.start <= first:
                break
        slot += count
    return found


def _batches(
    layout: Layout, asked: dict[int, list[_Scored]], batch_size: int, most: int
) -> Iterator[tuple[int, int, list[int]]]:
    """The calls: which root is extended, which is kept, and the units that are run together."""
    offset = len(layout.roots)
    kinds: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for i, row in enumerate(layout.rows):
        kinds[row.root, row.forked].append(i)
    for number in range(-1, offset):
        if number >= 0:
            yield layout.roots[number].parent, number, [number]
        for forked in (False, True):
            rows = sorted(kinds[number, forked], key=lambda i: -len(layout.rows[i].tokens))
            batch: list[int] = []
            logits = 0
            for i in rows:
                more = len({scored.column for scored in asked[offset + i]})
                if batch and (len(batch) == batch_size or logits + more > most):
                    yield number, -1, batch
                    batch, logits = [], 0
                batch.append(offset + i)
                logits += more
            if batch:
                yield number, -1, batch


def _call(
    root: int,
    keeps: int,
    units: Sequence[int],
    asked: dict[int, list[_Scored]],
    layout: Layout,
    device: torch.device,
) -> Call:
    """A call's tensors."""
    rows = [_row(layout, unit) for unit in units]
    width = max(len(row.tokens) for row in rows)
    plain = root < 0 and not any(row.forked for row in rows)
    wanted: dict[int, int] = {}
    scored = []
    for i, unit in enumerate(units):
        for token in asked.get(unit, ()):
            index = wanted.setdefault(i * width + token.column, len(wanted))
            scored.append((index, token.target, token.slot))
    # A pad sees itself alone: a softmax over nothing would be no number.
    positions = [_padded(row.positions, width) for row in rows]
    ends = [row.ends + tuple(range(len(row.ends) + 1, width + 1)) for row in rows]
    at, targets, slots = torch.tensor(scored, dtype=torch.long).reshape(-1, 3).T.to(device)
    return Call(
        root,
        keeps,
        torch.tensor([_padded(row.tokens, width) for row in rows], device=device),
        None if plain else torch.tensor(positions, device=device),
        None if plain else torch.tensor(ends, device=device),
        torch.tensor(list(wanted), dtype=torch.long, device=device),
        at,
        targets,
        slots,
        any(token.greedy for unit in units for token in asked.get(unit, ())),
    )


def _row(layout: Layout, unit: int) -> Row:
    """A unit as a row: a root is one sequence."""
    if unit >= len(layout.roots):
        return layout.rows[unit - len(layout.roots)]
    root: Root = layout.roots[unit]
    n = len(root.tokens)
    positions = tuple(range(root.start, root.start + n))
    return Row(root.parent, root.tokens, positions, (n,) * n, forked=False)


def _padded(values: Tokens, width: int) -> Tokens:
    return values + (0,) * (width - len(values))

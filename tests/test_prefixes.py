from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergekit_mo.prefixes import Layout, Limits, Row, Tokens, lay_out

SMALL = Limits(row=6, stretch=1.0, gain=1.0, root=2)
token = st.integers(0, 2)
sequences = st.lists(st.lists(token, min_size=1, max_size=12).map(tuple), min_size=1, max_size=12)


def rebuilt(layout: Layout, row: Row, column: int) -> Tokens:
    """What the token at a column stands on: all that it sees, and itself."""
    seen = [row.tokens[j] for j in range(column + 1) if row.ends[j] > column]
    root = row.root
    while root >= 0:
        seen = [*layout.roots[root].tokens, *seen]
        root = layout.roots[root].parent
    return tuple(seen)


def as_row(layout: Layout, unit: int) -> Row:
    if unit >= len(layout.roots):
        return layout.rows[unit - len(layout.roots)]
    root = layout.roots[unit]
    n = len(root.tokens)
    return Row(root.parent, root.tokens, tuple(range(root.start, root.start + n)), (n,) * n, False)


@pytest.mark.parametrize("limits", [None, Limits(), SMALL, Limits(2, 1.0, 1.0, 1)])
@given(found=sequences)
def test_every_token_sees_what_stands_before_it_in_its_sequence(
    limits: Limits | None, found: list[Tokens]
) -> None:
    distinct = list(dict.fromkeys(found))
    layout = lay_out(distinct, limits)
    for tokens, pieces in zip(distinct, layout.pieces, strict=True):
        covered = [p for piece in reversed(pieces) for p in range(piece.start, piece.stop)]
        assert covered == list(range(len(tokens)))
        for piece in pieces:
            row = as_row(layout, piece.unit)
            for position in range(piece.start, piece.stop):
                column = piece.column + position - piece.start
                assert row.positions[column] == position
                assert rebuilt(layout, row, column) == tokens[: position + 1]


def words(draw: random.Random, count: int) -> Tokens:
    return tuple(draw.randrange(10**9) for _ in range(count))


def test_answers_to_one_context_share_it_in_a_row() -> None:
    draw = random.Random(0)
    context = words(draw, 80)
    layout = lay_out([context + words(draw, 20) for _ in range(4)], Limits())
    assert (len(layout.roots), len(layout.rows)) == (0, 1)
    assert layout.computed == 160


def test_a_block_of_examples_is_a_root_and_items_are_rows() -> None:
    draw = random.Random(0)
    block = words(draw, 300)
    items = [block + words(draw, 20) for _ in range(30)]
    found = [item + words(draw, 3) for item in items for _ in range(4)]
    layout = lay_out(found, Limits())
    assert [root.tokens for root in layout.roots] == [block]
    assert len(layout.rows) == 30
    assert all(row.root == 0 and row.forked for row in layout.rows)
    assert layout.computed == 300 + 30 * 32


def test_three_blocks_with_one_beginning_share_it() -> None:
    draw = random.Random(0)
    top = words(draw, 200)
    blocks = [top + words(draw, 400) for _ in range(3)]
    layout = lay_out([block + words(draw, 40) for block in blocks for _ in range(20)], Limits())
    assert layout.computed == 200 + 3 * (400 + 20 * 40)
    assert sorted(root.parent for root in layout.roots) == [-1, 0, 0, 0]


def test_items_that_share_a_word_keep_rows_of_their_own() -> None:
    draw = random.Random(0)
    items = [(7, *words(draw, 39)) for _ in range(20)]
    layout = lay_out([item + words(draw, 10) for item in items for _ in range(4)], Limits())
    assert {len(row.tokens) for row in layout.rows} == {80}
    assert len(layout.rows) == 20


def test_what_would_save_little_stays_apart() -> None:
    draw = random.Random(0)
    found = [(7, *words(draw, 50)) for _ in range(100)]
    layout = lay_out(found, Limits())
    assert layout.roots == ()
    assert {len(row.tokens) for row in layout.rows} == {51}
    assert not any(row.forked for row in layout.rows)

"""Paths over layers: what may follow what, and that nothing offered ends in a blind alley."""

from __future__ import annotations

import json
from itertools import pairwise, product
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from mergekit_mo.layers import MERGE, Layers, Path, walk_text

SOURCES = ("a/one", "a/two", "a/three")


def every_path(layers: Layers, path: Path = ()) -> list[Path]:
    """All paths that successors lead to."""
    found = [path] if layers.may_end(path) else []
    return found + [p for s in layers.successors(path) for p in every_path(layers, (*path, s))]


@st.composite
def any_layers(draw: st.DrawFn) -> Layers:
    depths = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    low = draw(st.integers(1, 6))
    return Layers(
        tuple(f"a/m{i}" for i in range(len(depths))),
        depths,
        low,
        draw(st.integers(low, 7)),
        draw(st.integers(0, 2)),
        draw(st.integers(0, 2)),
        draw(st.booleans()),
    )


def by_the_rules(layers: Layers, path: Path) -> bool:
    """The rules once more, as plainly as they can be written."""
    if not layers.low <= len(path) <= layers.high or path[0][1] > layers.skip:
        return False
    member, last = path[-1]
    if layers.depths[member] - 1 - last > layers.skip:
        return False
    for (m, layer), (following, after) in pairwise(path):
        passed_over = after - layer - 1
        if m != following and not layers.swap:
            return False
        if passed_over > layers.skip or -passed_over > layers.repeat:
            return False
    return True


def test_three_sources_of_six_layers_that_may_be_swapped_give_729_paths() -> None:
    layers = Layers(SOURCES, (6, 6, 6), low=6, high=6)
    expected = [tuple(zip(m, range(6), strict=True)) for m in product(range(3), repeat=6)]
    assert sorted(every_path(layers)) == sorted(expected)
    assert layers.count == len(expected) == 3**6 == 729


@given(any_layers(), st.data())
def test_nothing_that_is_offered_leads_into_a_dead_end(layers: Layers, data: st.DataObject) -> None:
    path: Path = ()
    assume(layers.successors(path))
    while not (layers.may_end(path) and data.draw(st.booleans())):
        offered = layers.successors(path)
        if not offered:
            break
        path = (*path, data.draw(st.sampled_from(offered)))
    assert layers.may_end(path)
    assert layers.allowed(path)
    assert by_the_rules(layers, path)


@given(any_layers())
def test_what_is_offered_is_all_that_the_rules_allow(layers: Layers) -> None:
    steps = [(m, layer) for m, depth in enumerate(layers.depths) for layer in range(depth)]
    assume(len(steps) ** min(layers.high, 4) < 3000)
    layers = Layers(**{**vars_of(layers), "high": min(layers.high, 4)})
    paths = [p for n in range(1, layers.high + 1) for p in product(steps, repeat=n)]
    expected = [p for p in paths if by_the_rules(layers, p)]
    assert sorted(every_path(layers)) == sorted(expected)
    assert [p for p in paths if layers.allowed(p)] == expected
    assert layers.count == len(expected)


def vars_of(layers: Layers) -> dict[str, Any]:
    return Layers.facts(layers)


def test_a_path_is_refused_for_each_rule_that_it_breaks() -> None:
    layers = Layers((MERGE, "a/one"), (4, 4), low=3, high=5, skip=1, repeat=1, swap=False)
    assert layers.allowed(layers.straight)
    assert layers.allowed(((0, 0), (0, 1), (0, 1), (0, 3)))
    for path in (
        (),
        ((0, 0), (0, 1), (1, 2), (1, 3)),  # changes models
        ((0, 2), (0, 3), (0, 3)),  # passes over two layers at the beginning
        ((0, 0), (0, 3), (0, 3)),  # and between
        ((0, 0), (0, 1), (0, 1), (0, 1)),  # and at the end
        ((0, 1), (0, 2), (0, 1), (0, 2), (0, 3)),  # goes back too far
        ((0, 1), (0, 3)),  # is too short
        ((0, 0), (0, 0), (0, 1), (0, 1), (0, 2), (0, 3)),  # and too long
        ((0, 0), (0, 1), (0, 2), (0, 3), (0, 4)),  # has no such layer
        ((2, 0), (2, 1), (2, 2), (2, 3)),  # nor such a member
    ):
        assert not layers.allowed(path)


def test_models_of_another_depth_end_where_they_end() -> None:
    layers = Layers(("a/short", "a/long"), (2, 3), low=2, high=3)
    assert set(every_path(layers)) == {
        ((0, 0), (0, 1)),
        ((1, 0), (0, 1)),
        *(((a, 0), (b, 1), (1, 2)) for a in (0, 1) for b in (0, 1)),
    }


def test_models_of_a_single_layer_are_chosen_between_or_repeated() -> None:
    assert every_path(Layers(SOURCES, (1, 1, 1), 1, 1)) == [((0, 0),), ((1, 0),), ((2, 0),)]
    assert Layers(("a/one",), (1,), 1, 3, repeat=1).count == 3


def test_limits_that_nothing_keeps_offer_nothing() -> None:
    layers = Layers(SOURCES, (2, 2, 2), low=5, high=6)
    assert layers.successors(()) == ()
    assert layers.count == 0


def test_the_straight_path_is_the_merges_or_else_the_first_members() -> None:
    assert Layers(("a/one", MERGE), (3, 2), 2, 2).straight == ((1, 0), (1, 1))
    assert Layers(("a/one", "a/two"), (3, 2), 2, 3).straight == ((0, 0), (0, 1), (0, 2))


def test_layers_go_through_plain_json() -> None:
    kinds = (("full", "sliding"), ("full", "sliding"))
    merged, written = ("full", "sliding"), ("full", "full")
    layers = Layers((MERGE, "a/one"), (2, 2), 1, 3, 1, 1, True, 2, kinds, merged, written)
    assert Layers.read(json.loads(json.dumps(layers.facts()))) == layers
    assert not layers.written_by_mergekit(layers.straight)
    assert layers.written_by_mergekit(((0, 0), (1, 0)))
    assert Layers((MERGE,), (2,), 1, 2).written_by_mergekit(((0, 1),))


def test_a_path_is_told_in_runs() -> None:
    layers = Layers((MERGE, "/models/math"), (6, 6), 1, 9, 9, 9)
    path = ((0, 0), (0, 1), (0, 2), (1, 3), (0, 4), (0, 5), (0, 5))
    assert layers.text(path) == "merge 0-2, math 3, merge 4-5, merge 5"


def test_models_whose_names_end_alike_are_told_in_full() -> None:
    assert walk_text((("x/one", 0), ("y/one", 1))) == "x/one 0, y/one 1"
    assert walk_text((("x/one@main", 0), ("x/one@main", 1))) == "one 0-1"

"""What a recipe may say of layers; what it may not is in `broken/layers_*.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mergekit_mo.layer_rules import LayerRules, read_rules
from mergekit_mo.layers import MERGE

SOURCES = ("a/one", "a/two", "a/three")


def rules(node: dict[str, Any]) -> LayerRules:
    found, problems = read_rules(node, ("search", "layers"), SOURCES, Path("/nowhere"))
    assert problems == []
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("node", "limits"),
    [
        ({}, (6, 6)),
        ({"skip": 1}, (4, 6)),
        ({"repeat": 2}, (6, 8)),
        ({"skip": 1, "repeat": 1}, (4, 8)),
        ({"skip": 1, "length": {"low": 2}}, (2, 6)),
        ({"length": 5, "skip": 1}, (5, 5)),
    ],
)
def test_the_length_is_near_the_straight_one_by_default(
    node: dict[str, Any], limits: tuple[int, int]
) -> None:
    depths = dict.fromkeys((MERGE, *SOURCES), 6)
    layers = rules(node).bind(depths, {})
    assert (layers.low, layers.high) == limits
    assert layers.pool == (MERGE, *SOURCES)
    assert layers.merge_depth == 6


def test_kinds_are_kept_where_there_are_some() -> None:
    depths = dict.fromkeys((MERGE, *SOURCES), 1)
    assert rules({}).bind(depths, dict.fromkeys(depths, ())).kinds == ()
    layers = rules({"pool": ["a/two"], "repeat": 1}).bind(depths, dict.fromkeys(depths, ("full",)))
    assert (layers.kinds, layers.merge_kinds) == ((("full",),), ("full",))


def test_local_models_are_found_from_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    name = str(tmp_path / "one")
    node = {"pool": ["./one", MERGE]}
    found, problems = read_rules(node, ("search", "layers"), [name], tmp_path)
    assert problems == []
    assert found is not None
    assert found.pool == (name, MERGE)


def test_the_merge_need_not_be_in_the_pool() -> None:
    layers = rules({"pool": ["a/two", "a/one"]}).bind(
        {MERGE: 2, "a/one": 4, "a/two": 3, "a/three": 3}, {}
    )
    assert layers.pool == ("a/two", "a/one")
    assert (layers.depths, layers.merge_depth, layers.low) == ((3, 4), 2, 3)

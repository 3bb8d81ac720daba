"""A walk as configurations: what mergekit makes of them, tensor by tensor."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from mergekit_mo.layers import MERGE, Walk
from mergekit_mo.methods import RANDOM_METHODS, methods
from mergekit_mo.slicing import adds_zero, documents, in_one

TIES: dict[str, Any] = {
    "merge_method": "ties",
    "base_model": "a/base",
    "models": [
        {
            "model": "a/one",
            "parameters": {
                "weight": [0.0, 1.0],
                "density": [{"filter": "mlp", "value": [0.1, 0.3, 0.9]}, {"value": 0.5}],
            },
        },
        {"model": "a/two", "parameters": {"weight": 0.3}},
    ],
    "parameters": {"normalize": True, "lambda": [1, 2]},
    "dtype": "bfloat16",
}
SLICED: dict[str, Any] = {
    "merge_method": "slerp",
    "base_model": "a/one",
    "slices": [
        {
            "sources": [
                {"model": "a/one", "layer_range": [0, 3]},
                {"model": "a/two", "layer_range": [2, 5]},
            ],
            "parameters": {"t": [{"filter": "mlp", "value": [0.2, 0.4, 0.6]}]},
        },
        {
            "sources": [
                {"model": "a/one", "layer_range": [3, 4]},
                {"model": "a/two", "layer_range": [5, 6]},
            ]
        },
    ],
    "parameters": {"t": [0.5, 1.0]},
}


def walk(text: str) -> Walk:
    """`merge:0 a/one:1` as a walk."""
    pairs = (word.split(":") for word in text.split())
    return tuple((name, int(layer)) for name, layer in pairs)


def one(config: dict[str, Any], text: str, depth: int) -> dict[str, Any]:
    before = deepcopy(config)
    (document,) = documents(config, walk(text), depth)
    assert config == before
    return document


def parameters(piece: dict[str, Any], source: int | None = None) -> Any:
    return (piece if source is None else piece["sources"][source])["parameters"]


def test_the_merges_own_layers_in_order_are_the_merge() -> None:
    assert documents(TIES, walk("merge:0 merge:1 merge:2"), 3) == (TIES,)
    assert documents(TIES, None, 3) == (TIES,)


def test_embeddings_and_head_come_from_slices_without_layers() -> None:
    document = one(TIES, "a/one:0 merge:1", 2)
    first, own, merged, last = document["slices"]
    assert first == last
    assert [s["model"] for s in first["sources"]] == ["a/one", "a/two", "a/base"]
    assert all(s["layer_range"] == [0, 0] for s in first["sources"])
    assert parameters(first, 0) == {
        "weight": 0.0,  # what is no layer takes the first anchor
        "density": [{"filter": "mlp", "value": 0.1}, {"value": 0.5}],
    }
    assert parameters(first) == {"normalize": True, "lambda": 1.0}
    assert own == {"sources": [{"model": "a/one", "layer_range": [0, 1]}], "base_model": "a/one"}
    assert parameters(merged, 0)["weight"] == 1.0
    assert document["dtype"] == "bfloat16"
    assert "parameters" not in document
    assert "models" not in document


def test_gradients_are_those_of_the_layers_own_depth() -> None:
    document = one(TIES, "merge:2 merge:1 merge:1", 5)
    _, *layers, _ = document["slices"]
    assert [parameters(piece, 0)["weight"] for piece in layers] == [0.5, 0.25, 0.25]
    found = [parameters(piece, 0)["density"][0]["value"] for piece in layers]
    assert found == [0.3, pytest.approx(0.2), pytest.approx(0.2)]
    assert [parameters(piece)["lambda"] for piece in layers] == [1.5, 1.25, 1.25]
    assert [piece["sources"][0]["layer_range"] for piece in layers] == [[2, 3], [1, 2], [1, 2]]


def test_a_gradient_over_a_slice_is_that_of_the_place_within_it() -> None:
    document = one(SLICED, "merge:1 merge:3", 4)
    first, inner, outer, last = document["slices"]
    assert [s["layer_range"] for s in inner["sources"]] == [[1, 2], [3, 4]]
    assert parameters(inner) == {"t": [{"filter": "mlp", "value": 0.4}, {"value": 0.75}]}
    assert parameters(outer) == {"t": 1.0}  # mergekit reads a slice of one layer at its end
    assert parameters(first) == {"t": [{"filter": "mlp", "value": 0.2}, {"value": 0.5}]}
    assert parameters(last) == {"t": 0.5}


def test_layers_that_go_on_share_a_slice_where_their_values_are_the_same() -> None:
    plain = {**TIES, "models": [{"model": "a/one", "parameters": {"weight": 0.4}}]}
    del plain["parameters"]
    _, *layers, _ = one(plain, "merge:0 merge:1 a/one:2 a/one:3 a/one:5 merge:4", 6)["slices"]
    ranges = [piece["sources"][0]["layer_range"] for piece in layers]
    assert ranges == [[0, 2], [2, 4], [5, 6], [4, 5]]


def test_switches_over_depth_are_steps() -> None:
    config = {**TIES, "parameters": {"normalize": [True, False, False]}}
    _, *layers, _ = one(config, "merge:0 merge:1 merge:3", 4)["slices"]
    assert [parameters(piece)["normalize"] for piece in layers] == [True, True, False]


def test_a_random_merge_is_made_first_and_stacked_then() -> None:
    config = {**TIES, "merge_method": "dare_ties"}
    first, second = documents(config, walk("merge:0 merge:1 a/one:2 merge:3"), 4)
    assert first == {"name": "merge", **config}
    assert second == {
        "merge_method": "passthrough",
        "base_model": "merge",
        "dtype": "bfloat16",
        "slices": [
            {"sources": [{"model": model, "layer_range": span}]}
            for model, span in (
                ("merge", [0, 0]),
                ("merge", [0, 2]),
                ("a/one", [2, 3]),
                ("merge", [3, 4]),
                ("merge", [0, 0]),
            )
        ],
    }


def test_a_filter_with_a_layers_number_needs_the_merge_first() -> None:
    numbered = {**TIES, "parameters": {"lambda": [{"filter": "layers.1.", "value": 2}]}}
    assert not in_one(numbered, walk("merge:1"))
    assert in_one(TIES, walk("merge:1"))
    own = [{"filter": "layers.1.", "value": 2}]  # compared with the number in the source
    entry = {"model": "a/one", "parameters": {"weight": own}}
    assert in_one({**TIES, "models": [entry]}, walk("merge:1"))


@pytest.mark.parametrize("method", sorted(methods()))
def test_every_method_has_a_form(method: str) -> None:
    config = {**TIES, "merge_method": method}
    assert in_one(config, walk("merge:1")) == (method not in RANDOM_METHODS)
    in_two = RANDOM_METHODS | {"slerp", "nuslerp", "multislerp", "model_stock", "nearswap"}
    assert in_one(config, walk("merge:1 a/one:2")) == (method not in in_two)


def test_only_linear_turns_minus_zero_into_zero() -> None:
    mixed = walk("merge:0 a/one:1")
    assert adds_zero({**TIES, "merge_method": "linear"}, mixed)
    assert not adds_zero(TIES, mixed)
    numbered = {"parameters": {"normalize": [{"filter": "layers.1", "value": True}]}}
    assert not adds_zero({**TIES, "merge_method": "linear", **numbered}, mixed)


def test_the_name_of_the_first_document_can_be_chosen() -> None:
    config = {**TIES, "merge_method": "dare_ties"}
    _, second = documents(config, walk("a/one:0 merge:1"), 2, name="/tmp/x")
    assert second["base_model"] == "/tmp/x"
    assert MERGE not in str(second["slices"])

from __future__ import annotations

from typing import Any

import pytest

from mergekit_mo.holes import Hole, Setting, is_hole, number, read_setting
from mergekit_mo.problems import Place

AT: Place = ("parameters", "weight")


def read(node: Any) -> Setting:
    setting, problems = read_setting("weight", node, AT)
    assert not problems
    return setting


def complaints(node: Any) -> list[tuple[Place, str]]:
    setting, problems = read_setting("weight", node, AT)
    assert not setting.holes
    return [(problem.place, problem.what) for problem in problems]


@pytest.mark.parametrize("node", [0.5, 1, "1e-4", True, {"value": 0.5}])
def test_a_plain_value_is_no_hole(node: Any) -> None:
    setting = read(node)
    assert not setting.holes
    assert len(setting.fixed) == 1
    assert setting.covers_all


def test_a_scalar_with_bounds_is_one_dimension() -> None:
    setting = read({"value": 0.5, "low": 0, "high": 1})
    assert setting == Setting((), (Hole(AT, "weight", (0.5,), False, 0.0, 1.0),), True)


def test_a_list_with_bounds_is_one_dimension_for_each_anchor() -> None:
    (hole,) = read({"value": [0.1, 0.2, 0.3], "low": 0, "high": 1}).holes
    assert hole.gradient
    assert hole.values == (0.1, 0.2, 0.3)


def test_a_gradient_without_bounds_is_fixed() -> None:
    fixed = (((*AT, 0), 0.1), ((*AT, 1), 0.9))
    assert read([0.1, 0.9]).fixed == fixed
    assert read({"value": [0.1, 0.9]}).fixed[0] == ((*AT, "value", 0), 0.1)


def test_each_entry_of_a_filter_list_may_be_a_hole() -> None:
    setting = read(
        [
            {"filter": "self_attn", "value": 0.5, "low": 0, "high": 1},
            {"filter": "mlp", "value": 0.2},
            {"value": [0.5, 0.6], "low": 0, "high": 1},
        ]
    )
    first, second = setting.holes
    assert (first.place, first.filter, first.gradient) == ((*AT, 0), "self_attn", False)
    assert (second.place, second.filter, second.gradient) == ((*AT, 2), None, True)
    assert setting.fixed == (((*AT, 1, "value"), 0.2),)
    assert setting.covers_all


def test_filters_alone_leave_some_tensors_over() -> None:
    assert not read({"filter": "mlp", "value": 0.5, "low": 0, "high": 1}).covers_all
    assert read({"filter": "*", "value": 0.5, "low": 0, "high": 1}).covers_all


def test_choices_keep_truth_values_and_numbers_apart() -> None:
    (hole,) = read({"value": True, "choices": [True, 1, False]}).holes
    assert hole.choices == (True, 1, False)
    assert hole.low is None
    assert complaints({"value": 1, "choices": [True, False]}) == [
        ((*AT, "value"), "value 1 is not among the choices [true, false]")
    ]


def test_a_gradient_may_choose() -> None:
    (hole,) = read({"value": [0.5, 1], "choices": [0.5, 1]}).holes
    assert hole.values == (0.5, 1)


def test_a_logarithm_is_kept() -> None:
    (hole,) = read({"value": "1e-3", "low": "1e-4", "high": 1e-2, "log": True}).holes
    assert (hole.low, hole.high, hole.values, hole.log) == (1e-4, 1e-2, (1e-3,), True)


@pytest.mark.parametrize(
    ("node", "place", "what"),
    [
        ([], (), "an empty list of anchors"),
        ({"value": [], "low": 0, "high": 1}, ("value",), "an empty list"),
        ({"value": []}, ("value",), "an empty list"),
        ([[0.5]], (0,), "the anchors of a gradient are plain numbers"),
        ({"value": [{"value": 1}]}, ("value", 0), "the anchors of a gradient are plain numbers"),
        ([{"value": 1}, 0.5], (1,), "a list holds either"),
        ([0.5, 0.6, {"value": 1}], (2,), "a list holds either"),
        ({"value": None, "low": 0, "high": 1}, ("value",), "expected a number, got nothing"),
        ({"value": 1, "low": 0, "high": float("inf")}, ("high",), "expected a number, got inf"),
        ({"value": float("nan"), "low": 0, "high": 1}, ("value",), "expected a number, got nan"),
        ({"value": 1, "low": 1, "high": 1}, ("low",), "low 1 is not below high 1"),
        ({"value": 1, "low": True, "high": 1}, ("low",), "expected a number, got true"),
        ({"value": 0, "low": -1e308, "high": 1e308}, ("low",), "low and high are too far apart"),
        (
            {"value": 1, "low": 1e-300, "high": 1e300, "log": True},
            ("low",),
            "low and high are too far apart",
        ),
        ({"value": 1, "low": 0, "high": 1, "log": 1}, ("log",), "expected true or false, got 1"),
        ({"value": 1, "choices": "ab"}, ("choices",), "expected a list of two values or more"),
        ({"value": 1, "choices": [1, 2, [3]]}, ("choices", 2), "a choice is a plain value"),
        ({"value": 1, "choices": [1, 2, 1.0]}, ("choices", 2), "1.0 stands twice"),
        ({"value": 1, "choices": [1, None]}, ("choices", 1), "a choice is a plain value"),
        ({"value": None, "choices": [1, 2]}, ("value",), "value nothing is not among"),
        ({"filter": 3, "value": 1, "low": 0, "high": 1}, ("filter",), "expected a part of"),
    ],
)
def test_a_mistake_is_told_at_its_place(node: Any, place: Place, what: str) -> None:
    ((found_place, found_what),) = complaints(node)
    assert found_place == (*AT, *place)
    assert found_what.startswith(what)


@pytest.mark.parametrize("early", [None, "*", "", "mlp", "mlp.down_proj", "proj"])
def test_an_entry_that_no_tensor_reaches_is_told(early: str | None) -> None:
    nodes = [{"filter": early, "value": 1}, {"filter": "mlp.down_proj", "value": 0.5}]
    _, problems = read_setting("weight", nodes, AT)
    assert [problem.place for problem in problems] == [(*AT, 1)]
    assert problems[0].what.startswith("cannot be reached")


def test_a_narrow_filter_may_stand_before_a_wide_one() -> None:
    read([{"filter": "mlp.down", "value": 1}, {"filter": "mlp", "value": 0.5}, {"value": 1}])


def test_only_numbers_are_numbers() -> None:
    assert number("1e-4") == 1e-4
    assert number(3) == 3.0
    others: list[object] = [True, None, "x", [], {}, 10**400]
    assert [number(other) for other in others] == [None] * 6


def test_a_mapping_is_a_hole_by_its_bounds_or_choices() -> None:
    assert is_hole({"value": 1, "low": 0})
    assert is_hole({"choices": []})
    assert not is_hole({"value": 1, "filter": "mlp"})
    assert not is_hole(0.5)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mergekit_mo.configuration import Configuration, read_configuration
from mergekit_mo.methods import methods
from mergekit_mo.parameters import check_blocks
from mergekit_mo.problems import Place, Problem
from mergekit_mo.references import absolute_reference, existing_folder, reference_text

HOLE = {"value": 0.5, "low": 0.0, "high": 1.0}
CHOICES: Place = ("search", "merge_method")


def read(text: str, folder: Path = Path("/nowhere"), choices: Any = None) -> Configuration:
    configuration, problems = read_configuration(yaml.safe_load(text), folder, choices, CHOICES)
    assert problems == []
    assert configuration is not None
    return configuration


def complaints(text: str, choices: Any = None) -> list[Problem]:
    return read_configuration(yaml.safe_load(text), Path("/nowhere"), choices, CHOICES)[1]


def places(configuration: Configuration) -> list[Place]:
    return [hole.place for hole in configuration.holes]


MODELS = """
merge_method: ties
base_model: org/base
models:
  - model: org/chat
    parameters:
      weight: {value: 0.5, low: 0, high: 1}
      density: [{filter: mlp, value: 0.5, low: 0.1, high: 1}, {value: 0.6}]
  - model: org/maths
parameters:
  weight: {value: [0.1, 0.2], low: 0, high: 1}
  normalize: {value: true, choices: [true, false]}
"""
SLICES = """
merge_method: linear
slices:
  - sources:
      - model: org/chat
        layer_range: [0, 8]
        parameters: {weight: {value: 0.5, low: 0, high: 1}}
      - {model: org/maths, layer_range: [4, 12], parameters: {weight: 0.5}}
  - sources:
      - {model: org/chat, layer_range: [8, 16]}
      - {model: org/maths, layer_range: [8, 16]}
    parameters: {weight: {value: 0.4, low: 0, high: 1}}
"""
MODULES = """
merge_method: slerp
base_model: org/base
modules:
  text_decoder:
    models: [{model: org/base}, {model: org/chat}]
    parameters: {t: {value: 0.5, low: 0, high: 1}}
  vision_tower:
    slices:
      - sources:
          - {model: org/base, layer_range: [0, 4]}
          - {model: org/chat, layer_range: [0, 4]}
        parameters: {t: {value: 0.2, low: 0, high: 1}}
"""


def test_holes_are_found_in_models_and_at_the_top() -> None:
    configuration = read(MODELS)
    mine: Place = ("models", 0, "parameters")
    assert places(configuration) == [
        (*mine, "weight"),
        (*mine, "density", 0),
        ("parameters", "weight"),
        ("parameters", "normalize"),
    ]
    assert configuration.sources == ("org/base", "org/chat", "org/maths")
    assert configuration.base == "org/base"


def test_holes_are_found_in_slices_and_in_their_sources() -> None:
    configuration = read(SLICES)
    assert places(configuration) == [
        ("slices", 0, "sources", 0, "parameters", "weight"),
        ("slices", 1, "parameters", "weight"),
    ]
    assert configuration.base is None


def test_holes_are_found_in_modules() -> None:
    assert places(read(MODULES)) == [
        ("modules", "text_decoder", "parameters", "t"),
        ("modules", "vision_tower", "slices", 0, "parameters", "t"),
    ]


def _numeric() -> Iterator[Any]:
    for method in methods().values():
        for parameter in method.parameters.values():
            if parameter.kind is not bool:
                yield pytest.param(
                    method.name, parameter.name, id=f"{method.name}-{parameter.name}"
                )


def _tree(method_name: str) -> dict[str, Any]:
    """A whole configuration for a method: as many models as it takes, and what it requires."""
    method = methods()[method_name]
    tree: dict[str, Any] = {"merge_method": method_name}
    if method.needs_base:
        tree["base_model"] = "org/base"
    names = next(
        names
        for n in (1, 2, 3)
        if not method.inputs_problem(
            [*(names := [f"org/m{i}" for i in range(n)]), *["org/base"] * method.needs_base],
            "org/base" if method.needs_base else None,
        )
    )
    tree["models"] = [{"model": name, "parameters": {}} for name in names]
    tree["parameters"] = {}
    for parameter in method.parameters.values():
        if parameter.required:
            tree["parameters"][parameter.name] = 0.5
    return tree


@pytest.mark.parametrize(("method", "name"), list(_numeric()))
def test_every_numeric_parameter_of_every_method_carries_a_hole(method: str, name: str) -> None:
    parameter = methods()[method].parameters[name]
    hole: dict[str, Any] = {"value": 0.4, "low": 0.3, "high": 0.45}
    if parameter.kind is int:
        hole = {"value": 3, "low": 2, "high": 5}
    if name == "epsilon" and parameter.per_model:
        hole = {"value": 0.1, "low": 0.05, "high": 0.2}
    tree = _tree(method)
    tree["parameters"][name] = hole
    if parameter.per_model:
        tree["models"][0]["parameters"][name] = hole
    configuration, problems = read_configuration(tree, Path("/nowhere"), None, CHOICES)
    assert problems == []
    assert configuration is not None
    assert len(configuration.holes) == 1 + parameter.per_model


@pytest.mark.parametrize("method", list(methods()))
def test_mergekit_takes_the_smallest_tree_of_every_method(method: str) -> None:
    from mergekit.config import MergeConfiguration

    tree = _tree(method)
    _, problems = read_configuration(tree, Path("/nowhere"), None, CHOICES)
    assert problems == []
    assert MergeConfiguration.model_validate(tree).merge_method == method


def test_the_method_is_chosen_among_several_of_which_the_own_comes_first() -> None:
    configuration = read(MODELS, choices=["dare_ties", "breadcrumbs", "ties"])
    assert [method.name for method in configuration.methods] == ["ties", "dare_ties", "breadcrumbs"]
    assert configuration.is_random
    assert not read(MODELS).is_random


def test_a_parameter_may_belong_to_one_of_the_methods_only() -> None:
    text = MODELS.replace("normalize:", "gamma: {value: 0.1, low: 0, high: 0.5}\n  normalize:")
    read(text, choices=["ties", "breadcrumbs"])
    (problem,) = complaints(text, choices=["ties", "dare_ties"])
    assert problem.what == "ties and dare_ties have no parameter 'gamma'"


def test_a_searched_method_that_is_unknown_is_told_where_it_stands() -> None:
    (problem,) = complaints(MODELS, choices=["ties", "dare_tis"])
    assert problem.place == (*CHOICES, 1)
    (problem,) = complaints(MODELS, choices=["ties", ["dare_ties"]])
    assert problem.place == (*CHOICES, 1)


def test_a_searched_method_that_needs_a_base_is_told_where_it_stands() -> None:
    (problem,) = complaints(SLICES, choices=["linear", "ties"])
    assert problem.place == CHOICES
    assert problem.what == "ties needs a base_model:"


def test_a_folder_beside_the_recipe_becomes_absolute(tmp_path: Path) -> None:
    for name in ("base", "models/chat", "adapter"):
        (tmp_path / name).mkdir(parents=True)
    text = """
    merge_method: ties
    base_model: base
    models:
      - {model: models/chat+adapter, parameters: {weight: {value: 0.5, low: 0, high: 1}}}
      - {model: ./models/chat, parameters: {weight: 0.5}}
      - {model: org/maths@main, parameters: {weight: 0.5}}
    tokenizer: {source: base, tokens: {<a>: {source: ./models/chat}, <b>: {source: org/other}}}
    """
    configuration = read(text, tmp_path)
    here = tmp_path.resolve()
    chat = str(here / "models/chat")
    assert configuration.sources == (
        str(here / "base"),
        f"{chat}+{here / 'adapter'}",
        chat,
        "org/maths@main",
    )
    assert [entry["model"] for entry in configuration.tree["models"]] == list(
        configuration.sources[1:]
    )
    assert configuration.tree["tokenizer"]["tokens"]["<a>"]["source"] == chat
    assert configuration.tree["tokenizer"]["source"] == "base"


def test_a_model_that_only_lends_its_tokenizer_is_no_source() -> None:
    assert "org/other" not in read(MODELS + "tokenizer_source: org/other").sources


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ("org/a", "org/a"),
        ({"model": "org/a", "lora": "org/b"}, "org/a+org/b"),
        ({"model": {"path": "org/a", "revision": "v1"}, "lora": None}, "org/a@v1"),
        ({"model": {"path": "a"}, "lora": {"path": "b", "revision": "c"}}, "a+b@c"),
        ("", None),
        (3, None),
        ({}, None),
        ({"model": 3}, None),
        ({"model": "a", "lora": 3}, None),
        ({"model": "a", "other": 3}, None),
        ({"path": "a"}, None),
        ({"model": {"path": "a", "revision": 3}}, None),
    ],
)
def test_a_model_is_read_in_all_of_mergekits_forms(node: Any, text: str | None) -> None:
    assert reference_text(node) == text


@pytest.mark.parametrize(
    "text",
    ["./absent", "/absent/x", "~/absent-x", "a/b/c", "a+b+c", "a@b@c", "+a", "a+", "@v", "a/b+./c"],
)
def test_what_names_no_model_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no folder|no model"):
        absolute_reference(text, tmp_path)


def test_a_folder_that_mergekit_would_read_as_an_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a+b" / "model").mkdir(parents=True)
    with pytest.raises(ValueError, match="cannot take a folder"):
        absolute_reference("./model", tmp_path / "a+b")


@pytest.mark.parametrize("text", ["x" * 5000, "a\0b", "~no_such_user_here/x"])
def test_a_name_that_no_folder_can_have_is_no_folder(text: str, tmp_path: Path) -> None:
    assert existing_folder(text, tmp_path) is None


def test_passthrough_slices_take_any_base() -> None:
    read(
        """
    merge_method: passthrough
    base_model: org/base
    slices:
      - sources: [{model: org/chat, layer_range: [0, 8]}]
      - sources: [{model: org/maths, layer_range: [4, 12]}]
        parameters: {scale: {value: 1, low: 0.5, high: 1}}
    """
    )


def test_a_base_that_cannot_be_read_is_one_problem() -> None:
    (problem,) = complaints(MODELS.replace("base_model: org/base", "base_model: ./absent"))
    assert problem.place == ("base_model",)


def test_a_model_that_cannot_be_read_is_one_problem() -> None:
    text = """
    merge_method: slerp
    base_model: org/base
    models: [{model: org/base}, {model: ./absent}]
    parameters: {t: {value: 0.5, low: 0, high: 1}}
    """
    (problem,) = complaints(text)
    assert problem.place == ("models", 1, "model")


@pytest.mark.parametrize("key", ["models", "slices", "modules"])
@pytest.mark.parametrize("value", ["[]", "{}", "3", "[3]", "[[]]", "x", "{x: {}}", "[{}]"])
def test_a_list_of_the_wrong_shape_is_a_problem(key: str, value: str) -> None:
    assert complaints(f"merge_method: passthrough\n{key}: {value}\n")


@pytest.mark.parametrize(
    "value", ["[0]", "[0, 1, 2]", "[0, x]", "[0, 1.5]", "3", "[-1, 3]", "[2, 2]"]
)
def test_a_layer_range_is_two_rising_numbers(value: str) -> None:
    (problem,) = complaints(SLICES.replace("[0, 8]", value))
    assert problem.place == ("slices", 0, "sources", 0, "layer_range")


@pytest.mark.parametrize(
    "line",
    [
        "dtype: 16",
        "out_dtype: [float16]",
        "chat_template: 3",
        "tokenizer: union",
        "tokenizer: {source: {}}",
        "tokenizer: {tokens: [a]}",
        "tokenizer: {tokens: {a: b}}",
        "tokenizer: {tokens: {a: {kind: zero}}}",
        "tokenizer: {tokens: {a: {source: {kind: zero, modle: a}}}}",
        "tokenizer_source: [a]",
        "another: key",
    ],
)
def test_a_top_level_key_is_checked(line: str) -> None:
    assert len(complaints(MODELS + line)) == 1


def test_della_reads_each_models_own_epsilon() -> None:
    text = """
    merge_method: della
    base_model: org/base
    models:
      - {model: org/chat, parameters: {epsilon: 0.05}}
      - {model: org/maths, parameters: {epsilon: EPSILON}}
    parameters: {weight: {value: 1, low: 0, high: 1}, density: 0.9}
    """
    assert complaints(text.replace("EPSILON", "0.09")) == []
    assert complaints(text.replace("EPSILON", "{value: 0.05, low: 0.01, high: 0.09}")) == []
    (problem,) = complaints(text.replace("EPSILON", "0.1"))
    assert problem.place == ("parameters", "density")
    (problem,) = complaints(text.replace("EPSILON", "{value: 0.05, low: 0.01, high: 0.1}"))
    assert "epsilon 0.1:" in problem.what


@pytest.mark.parametrize(
    "density", ["1", "0", "0.5", "[0.3, 0.8]", "{value: 0.5, choices: [0.2, 0.5, 0.8]}"]
)
def test_della_takes_densities_that_leave_room_and_the_two_ends(density: str) -> None:
    assert complaints(_della(density)) == []


@pytest.mark.parametrize(
    "density", ["0.9", "0.15", "[0.5, 1]", "{value: 0.5, choices: [0.5, 0.9]}"]
)
def test_della_refuses_densities_near_the_ends(density: str) -> None:
    (problem,) = complaints(_della(density))
    assert problem.place[:2] == ("parameters", "density")


def _della(density: str) -> str:
    return f"""
    merge_method: della
    base_model: org/base
    models: [{{model: org/chat}}, {{model: org/maths}}]
    parameters: {{weight: {{value: 1, low: 0, high: 1}}, density: {density}}}
    """


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("max_iter", "2.5"),
        ("max_iter", "0"),
        ("max_iter", "[2, 5]"),
        ("max_iter", "{value: 2.5, low: 1, high: 5}"),
        ("max_iter", "{value: [2, 3], choices: [2, 3]}"),
        ("tol", "0"),
        ("tol", ".inf"),
        ("tol", "true"),
        ("tol", "x"),
        ("tol", "null"),
        ("tol", "{value: }"),
        ("tol", "{value: 1, choices: [1, true]}"),
    ],
)
def test_a_value_of_the_wrong_kind_is_a_problem(parameter: str, value: str) -> None:
    text = "merge_method: karcher\nmodels: [{model: org/a}, {model: org/b}]\nparameters:\n"
    (problem,) = complaints(f"{text}  {parameter}: {value}\n")
    assert problem.place[:2] == ("parameters", parameter)


@pytest.mark.parametrize("value", ["true", "false", "1", "0", "'true'", "[true, false]"])
def test_a_switch_is_true_or_false(value: str) -> None:
    text = MODELS.replace("{value: true, choices: [true, false]}", value)
    assert complaints(text) == []


def test_no_blocks_are_no_problems() -> None:
    assert check_blocks([], [], [methods()["ties"]]) == ([], [])

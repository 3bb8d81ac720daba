from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mergekit_mo.convert import convert
from mergekit_mo.genome import PARAMETERS, model_layers
from mergekit_mo.mark import Marked
from mergekit_mo.problems import RecipeError, UserError, parse_source
from mergekit_mo.recipe import Recipe, load_recipe
from mergekit_mo.space import Space

TASKS = [
    {"name": "spartqa_train", "weight": 0.7, "metric": "exact_match,strict-match"},
    "other_train",
]


def genome(**more: Any) -> dict[str, Any]:
    own = {"models": ["org/a", "org/b"], "merge_method": "ties", "base_model": "org/base"}
    return {"genome": {**own, **more}, "tasks": TASKS}


def converted(tree: dict[str, Any], folder: Path, layers: int | None = None) -> Marked:
    made = convert(parse_source(yaml.safe_dump(tree), "genome.yaml"), folder, layers=layers)
    assert made.problems == ()
    return made


def recipe(tree: dict[str, Any], folder: Path, layers: int | None = None) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(converted(tree, folder, layers).text, encoding="utf-8")
    return load_recipe(path)


def test_a_genome_becomes_a_recipe(tmp_path: Path) -> None:
    found = recipe(genome(tokenizer_source="union"), tmp_path)
    tree = found.configuration.tree
    assert tree["merge_method"] == "ties"
    assert tree["base_model"] == "org/base"
    assert tree["dtype"] == "bfloat16"
    assert tree["tokenizer_source"] == "union"
    assert tree["parameters"] == {"normalize": True, "int8_mask": True}
    assert [e["model"] for e in tree["models"]] == ["org/a", "org/b"]
    assert tree["models"][1]["parameters"] == {
        "weight": {"value": 0.5, "low": 0, "high": 1},
        "density": {"value": 1, "low": 0.1, "high": 1},
    }


@pytest.mark.parametrize("method", [m for m in PARAMETERS if m != "slerp"])
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("filters", [None, ["self_attn", "mlp"]])
@pytest.mark.parametrize("granularity", [0, 4])
def test_dimensions_are_those_of_the_genome(
    method: str, smooth: bool, filters: list[str] | None, granularity: int, tmp_path: Path
) -> None:
    tree = genome(
        merge_method=method, smooth=smooth, filters=filters, layer_granularity=granularity
    )
    space = Space(recipe(tree, tmp_path, 12).configuration)
    groups, sets = 3 if granularity else 1, 3 if filters else 1
    assert space.dim == groups * 2 * sets * len(PARAMETERS[method])


@pytest.mark.parametrize("method", [m for m in PARAMETERS if m != "slerp"])
@pytest.mark.parametrize("smooth", [False, True])
def test_the_start_is_the_merge_that_the_genome_starts_from(
    method: str, smooth: bool, tmp_path: Path
) -> None:
    from mergekit.config import MergeConfiguration

    tree = genome(merge_method=method, smooth=smooth, layer_granularity=4, filters=["mlp"])
    space = Space(recipe(tree, tmp_path, 8).configuration)
    config = space.config(space.starts()[0].unit)
    merge = MergeConfiguration.model_validate(config)
    both = 2 if smooth else 1
    first = (merge.models if smooth else merge.slices[0].sources)[0]
    for name in PARAMETERS[method]:
        start = 0.5 if name == "weight" else 1.0
        value = [start] * both if smooth else start
        settings = [(s.filter, s.value) for s in first.parameters[name]]
        assert settings == [("mlp", value), (None, value)]
    if not smooth:
        ranges = [tuple(piece.sources[0].layer_range) for piece in merge.slices]
        assert ranges == [(0, 4), (4, 8)]
        models = [str(source.model) for source in merge.slices[0].sources]
        assert models == ["org/a", "org/b", *["org/base"] * (method != "linear")]


def test_slerp_of_two_goes_all_the_way_between_them(tmp_path: Path) -> None:
    tree = genome(merge_method="slerp", base_model=None, layer_granularity=4)
    found = recipe(tree, tmp_path, 8).configuration
    assert found.base == "org/a"
    holes = [(h.parameter, h.values, h.low, h.high) for h in found.holes]
    assert holes == [("t", (0.5,), 0, 1)] * 2
    assert Space(recipe(genome(merge_method="slerp"), tmp_path).configuration).dim == 1


@pytest.mark.parametrize("models", [["org/a"], ["org/a", "org/b", "org/c"]])
def test_slerp_of_any_other_number_is_refused(models: list[str], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"there are {len(models)}: mergekit-evolve picks two"):
        converted(genome(merge_method="slerp", models=models), tmp_path)


def test_negative_weights_are_bounds(tmp_path: Path) -> None:
    holes = recipe(genome(allow_negative_weights=True), tmp_path).configuration.holes
    assert {(h.parameter, h.low) for h in holes} == {("weight", -1), ("density", 0.1)}


def test_normalize_is_what_the_genome_would_take(tmp_path: Path) -> None:
    for method, own in (("ties", True), ("linear", True), ("task_arithmetic", False)):
        for said, expected in ((None, own), (True, True), (False, False)):
            tree = genome(merge_method=method, normalize=said)
            found = recipe(tree, tmp_path).configuration.tree["parameters"]
            assert found["normalize"] is expected
            assert ("int8_mask" in found) == (method != "linear")


def test_the_base_among_the_models_has_no_numbers(tmp_path: Path) -> None:
    tree = genome(models=["org/base", "org/a", "org/b"])
    made = converted(tree, tmp_path)
    assert made.dimension == 4
    assert "org/base is the base: its numbers change nothing; left out" in made.notes
    assert "value: 0.333333" in made.text


def test_linear_leaves_a_base_out_that_it_does_not_merge(tmp_path: Path) -> None:
    made = converted(genome(merge_method="linear"), tmp_path)
    assert "base_model" not in yaml.safe_load(made.text)
    assert any("linear does not merge it" in note for note in made.notes)


def test_tasks_are_goals_and_their_weights_a_comment_and_a_preference(tmp_path: Path) -> None:
    made = converted(genome(), tmp_path)
    goals = yaml.safe_load(made.text)["search"]["objectives"]
    assert goals == [
        {"task": "spartqa_train", "metric": "exact_match,strict-match"},
        {"task": "other_train", "metric": "acc,none"},
    ]
    assert "# weight 0.7 in the genome" in made.text
    assert any("--prefer spartqa_train=0.7,other_train=1" in note for note in made.notes)


def test_a_negative_weight_turns_its_task_round(tmp_path: Path) -> None:
    tree = genome() | {"tasks": [{"name": "x", "weight": -2, "metric": "word_perplexity,none"}]}
    (goal,) = yaml.safe_load(converted(tree, tmp_path).text)["search"]["objectives"]
    assert goal["direction"] == "minimize"


def test_evaluation_is_carried_over_with_the_genomes_own_defaults(tmp_path: Path) -> None:
    own = recipe(genome(), tmp_path).evaluation
    assert (own.limit, own.num_fewshot) == (None, None)
    assert (own.apply_chat_template, own.fewshot_as_multiturn) == (True, True)
    said = {"limit": 50, "num_fewshot": 3, "apply_chat_template": False}
    found = recipe(genome() | said, tmp_path).evaluation
    assert (found.limit, found.num_fewshot, found.apply_chat_template) == (50, 3, False)
    assert found.fewshot_as_multiturn is None


def test_what_cannot_be_carried_over_is_said_once(tmp_path: Path) -> None:
    tree = genome(colour="red") | {"limit": 5, "shuffle": True, "random_init": True, "size": 1}
    notes = converted(tree, tmp_path).notes
    for word in ("limit", "shuffle", "random_init", "colour", "size"):
        assert sum(note.startswith(f"{word}:") for note in notes) == 1


def test_layers_are_read_from_the_first_model(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text(json.dumps({"num_hidden_layers": 8}))
    tree = genome(models=["./a", "org/b"], layer_granularity=2)
    assert converted(tree, tmp_path).dimension == 16
    (tmp_path / "a" / "config.json").write_text('{"text_config": {"num_hidden_layers": 4}}')
    assert model_layers("./a", tmp_path) == 4


def test_layers_that_cannot_be_told_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_args: Any, **_kwargs: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(UserError, match="needs the number of layers"):
        converted(genome(layer_granularity=2), tmp_path)


def test_groups_of_layers_have_to_come_out_even(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="9 layers are no multiple of 2"):
        converted(genome(layer_granularity=2), tmp_path, 9)


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"merge_method": "ties"}, "mergekit-mo init"),
        ({"tasks": []}, "has no genome:"),
        (genome(merge_method="tis"), "did you mean 'ties'"),
        (genome(merge_method="della"), "no merge method of mergekit-evolve"),
        (genome(models="org/a"), "expected a list"),
        (genome(models=[1]), "expected a list of models"),
        (genome(smooth=1), "expected true or false"),
        (genome(layer_granularity="2"), "expected a whole number"),
        (genome(layer_granularity=True), "expected a whole number"),
        (genome(base_model=None), "needs a base_model"),
        (genome(merge_method="slerp", smooth=True), "neither smooth nor filters"),
        (genome() | {"tasks": None}, "has no tasks:"),
        (genome() | {"tasks": [1]}, "expected a task"),
        (genome() | {"tasks": [{"name": "x", "weight": "much"}]}, "expected a task"),
        (genome() | {"genome": 1}, "expected a mapping"),
    ],
)
def test_mistakes_are_told_with_their_place(
    tree: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=told) as error:
        converted(tree, tmp_path)
    assert str(error.value).startswith("genome.yaml:")

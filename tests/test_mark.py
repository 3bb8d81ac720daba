from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergekit_mo.bounds import default_bounds
from mergekit_mo.mark import Marked, fetch_config, mark, objective_text
from mergekit_mo.methods import methods
from mergekit_mo.problems import RecipeError, UserError
from mergekit_mo.recipe import load_recipe, read_recipe
from mergekit_mo.space import Space

SLERP = """\
# The classic, from a model card
slices:
  - sources:
      - model: org/base
        layer_range: [0, 32]
      - model: org/chat   # the talker
        layer_range: [0, 32]
merge_method: slerp
base_model: org/base
parameters:
  t:
    - filter: self_attn   # attention
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value:
        - 1
        - 0.5   # deep
    - value: 0.5 # fallback
dtype: float16
"""
DARE = """\
models:
  - model: org/base
    # no parameters: the base
  - model: org/chat
    parameters: {density: 0.53, weight: 0.4}
  - model: org/maths
    parameters:
      density: 5e-1
      weight:   0.3   # less of it
merge_method: dare_ties
base_model: org/base
parameters:
  int8_mask: true
  normalize: false
  lambda: 1
dtype: bfloat16
"""
LINEAR = """\
merge_method: linear
models:
- model: org/one
  parameters:
    weight:
    - 0.2
    - 0.8
- model: org/two
  parameters:
    weight:
      # shallow to deep
      - 0.8   # first
      - 1e-1
"""
DELLA = """\
merge_method: della
base_model: org/base
models:
  - {model: org/one, parameters: {weight: 1.2, density: 0.9, epsilon: 0.05}}
  - {model: org/two, parameters: {weight: -0.3, density: [0.3, 0.6], epsilon: 0.02}}
tokenizer_source: union
"""
SHARED = """\
merge_method: ties
base_model: org/base
models:
  - model: org/one
    parameters: &same
      weight: 0.5
      density: &d 0.7
  - model: org/two
    parameters: *same
  - model: org/three
    parameters:
      <<: *same
      weight: 0.25
"""
SLICES = """\
merge_method: nearswap
slices:
- base_model: org/one
  sources:
  - {model: org/one, layer_range: [0, 4]}
  - {model: org/two, layer_range: [0, 4]}
  parameters:
    t: 0.001
base_model: org/one
"""
FLOW = '{"merge_method": "sce", "base_model": "org/a", "models": [{"model": "org/b"}, \
{"model": "org/c"}], "parameters": {"select_topk": 0.5}}'
MODULES = """\
merge_method: breadcrumbs
base_model: org/base
modules:
  decoder:
    models:
      - model: org/one
        parameters: {weight: 1, density: 0.9, gamma: 0.2}
"""
VALID = {
    "slerp": SLERP,
    "dare": DARE,
    "linear": LINEAR,
    "della": DELLA,
    "shared": SHARED,
    "slices": SLICES,
    "flow": FLOW,
    "modules": MODULES,
}
OLD = """\
models:
  - model: org/one
    layer_range: [0, 32]   # of an older mergekit
    parameters:
      weight: 0.5
      normalize: true
  - layer_range:
      - 0
      - 32
    model: org/two
    parameters: {t: 3, weight: 0.5}
merge_method: linear
parameters:
  embed_slerp: true
dtype: float16
random_seed: 7
"""


def marked(text: str, folder: Path, *objectives: str) -> Marked:
    return mark(text, "merge.yml", folder, objectives=objectives)


def written(made: Marked, folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(made.text, encoding="utf-8")
    return path


def starts(made: Marked, folder: Path) -> dict[str, Any]:
    """The configuration at the recipe's own values."""
    space = Space(load_recipe(written(made, folder)).configuration)
    assert space.dim == made.dimension
    return space.config(space.starts()[0].unit)


@pytest.mark.parametrize("name", VALID)
def test_a_marked_configuration_reads_without_problems(name: str, tmp_path: Path) -> None:
    made = marked(VALID[name], tmp_path, "sparsity")
    assert made.problems == ()
    assert made.dimension > 0
    load_recipe(written(made, tmp_path))


@pytest.mark.parametrize("name", VALID)
def test_without_objectives_they_are_all_that_is_missing(name: str, tmp_path: Path) -> None:
    made = marked(VALID[name], tmp_path)
    _, _, problems = read_recipe(written(made, tmp_path))
    assert [problem.what for problem in problems] == ["has no objectives:"]


@pytest.mark.parametrize("name", VALID)
def test_the_commented_example_is_ready_once_its_marks_are_off(name: str, tmp_path: Path) -> None:
    text = marked(VALID[name], tmp_path).text
    head, _, block = text.partition("  # objectives:")
    block = re.sub("^  # ", "  ", "  # objectives:" + block, flags=re.MULTILINE)
    path = tmp_path / "recipe.yaml"
    path.write_text(head + block, encoding="utf-8")
    assert len(load_recipe(path).objectives) == 3


@pytest.mark.parametrize("name", VALID)
def test_mergekit_merges_the_recipe_and_its_start_as_the_configuration(
    name: str, tmp_path: Path
) -> None:
    from mergekit.config import MergeConfiguration

    original = MergeConfiguration.model_validate(yaml.safe_load(VALID[name]))
    made = marked(VALID[name], tmp_path, "sparsity")
    recipe = MergeConfiguration.model_validate(yaml.safe_load(made.text))
    assert values(recipe) == values(original)
    assert values(MergeConfiguration.model_validate(starts(made, tmp_path))) == values(original)


def values(node: Any) -> Any:
    """A configuration with every setting in one form, numbers as numbers."""
    node = node.model_dump(mode="json", exclude_none=True) if hasattr(node, "model_dump") else node
    if isinstance(node, list):
        return [values(child) for child in node]
    if not isinstance(node, dict):
        try:
            return node if isinstance(node, bool) else float(node)
        except (TypeError, ValueError):
            return node
    if set(node) == {"value"}:
        return values(node["value"])
    return {key: values(child) for key, child in node.items()}


@pytest.mark.parametrize("name", [name for name in VALID if name != "flow"])
def test_comments_and_layout_stay(name: str, tmp_path: Path) -> None:
    made = marked(VALID[name], tmp_path)
    for line in VALID[name].splitlines():
        comment = line.partition("#")[2]
        assert comment in made.text
        if not any(letter.isdigit() for letter in line):
            assert line in made.text.splitlines()


def test_numbers_are_marked_where_they_stand(tmp_path: Path) -> None:
    lines = marked(DARE, tmp_path).text.splitlines()
    assert lines[4] == (
        "    parameters: {density: {value: 0.53, low: 0.1, high: 1}, "
        "weight: {value: 0.4, low: 0, high: 1}}"
    )
    assert lines[7] == "      density: {value: 5e-1, low: 0.1, high: 1}"
    assert lines[8] == "      weight:   {value: 0.3, low: 0, high: 1}   # less of it"
    assert "  lambda: {value: 1, low: 0.5, high: 1.5}" in lines


def test_gradients_and_filters_are_marked_in_their_own_form(tmp_path: Path) -> None:
    tree = yaml.safe_load(marked(SLERP, tmp_path).text)
    ends = {"low": 0, "high": 1}
    assert tree["parameters"]["t"] == [
        {"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1], **ends},
        {"filter": "mlp", "value": [1, 0.5], **ends},
        {"value": 0.5, **ends},
    ]


def test_values_outside_the_default_bounds_widen_them(tmp_path: Path) -> None:
    tree = yaml.safe_load(marked(DELLA, tmp_path).text)
    one, two = (entry["parameters"]["weight"] for entry in tree["models"])
    assert one == {"value": 1.2, "low": 0, "high": 1.5}
    assert two == {"value": -0.3, "low": -0.5, "high": 1}


@pytest.mark.parametrize("name", sorted(methods()))
def test_bounds_hold_the_value_and_are_legal(name: str) -> None:
    method = methods()[name]
    for parameter in method.parameters.values():
        for value in (-2.0, 0.0, 1e-7, 0.004, 0.3, 0.99, 1.0, 7.3):
            bounds = default_bounds(method, parameter.name, [value])
            if bounds is not None:
                assert bounds.low <= value <= bounds.high
                assert bounds.low < bounds.high
                assert parameter.range.holds(bounds.low)
                assert parameter.range.holds(bounds.high)
                assert not bounds.log or bounds.low > 0


@pytest.mark.parametrize("density", [0.1, 0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("epsilon", [None, 0.01, 0.04, 0.09])
def test_every_density_of_della_is_legal_with_every_epsilon(
    density: float, epsilon: float | None, tmp_path: Path
) -> None:
    own = 0.15 if epsilon is None else epsilon
    if not (own < density < 1 - own):
        pytest.skip("not legal to begin with")
    more = "" if epsilon is None else f", epsilon: {epsilon}"
    text = DELLA.replace("density: 0.9, epsilon: 0.05", f"density: {density}{more}")
    text = text.replace(", epsilon: 0.02", more)
    made = marked(text, tmp_path, "sparsity")
    assert made.problems == ()
    assert made.dimension >= 5


def test_a_density_of_1_stays_as_it_is_where_epsilon_leaves_no_room(tmp_path: Path) -> None:
    made = marked(DELLA.replace("density: 0.9", "density: 1"), tmp_path, "sparsity")
    assert made.problems == ()
    assert "density: 1," in made.text
    assert any("density 1 stays as it is" in note for note in made.notes)


def test_what_mergekit_passes_over_is_taken_out_and_said(tmp_path: Path) -> None:
    made = marked(OLD, tmp_path, "parameters")
    assert made.problems == ()
    assert "    # layer_range: [0, 32]   # of an older mergekit" in made.text
    assert "# random_seed: 7" in made.text
    assert len(made.notes) == 6
    assert "line 6: normalize is taken out: mergekit reads it only for the whole" in made.notes[1]
    assert starts(made, tmp_path) == {
        "models": [
            {"model": "org/one", "parameters": {"weight": 0.5}},
            {"model": "org/two", "parameters": {"weight": 0.5}},
        ],
        "merge_method": "linear",
        "parameters": None,
        "dtype": "float16",
    }


def test_switches_tolerances_and_the_base_are_left_alone(tmp_path: Path) -> None:
    text = DARE.replace("    # no parameters: the base", "    parameters: {weight: 1.0}")
    tree = yaml.safe_load(marked(text, tmp_path).text)
    assert tree["models"][0]["parameters"] == {"weight": 1.0}
    assert tree["parameters"]["normalize"] is False
    with pytest.raises(UserError, match="no number to search; karcher takes max_iter, tol"):
        marked(
            "merge_method: karcher\nmodels: [{model: a/b}, {model: a/c}]\n"
            "parameters: {tol: 1e-5, max_iter: 9}",
            tmp_path,
        )


def test_a_configuration_with_mistakes_is_marked_and_they_are_told(tmp_path: Path) -> None:
    made = marked(DARE.replace("0.53", "1.53"), tmp_path)
    (problem,) = made.problems
    assert problem.what == "density is from 0 to 1, got 1.53"
    assert "density: 1.53," in made.text


def test_a_recipe_is_not_marked_again(tmp_path: Path) -> None:
    made = marked(DARE, tmp_path)
    with pytest.raises(UserError, match="is a recipe already"):
        marked(made.text, tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [("merge_method: tiez\n", "did you mean 'ties'"), ("models: []\n", "has no merge_method")],
)
def test_a_file_without_a_known_method_is_refused(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=told):
        marked(text, tmp_path)


def test_holes_that_are_there_stay(tmp_path: Path) -> None:
    made = marked(DARE.replace("0.53", "{value: 0.53, low: 0.5, high: 0.6}"), tmp_path, "sparsity")
    assert made.dimension == 5
    assert "density: {value: 0.53, low: 0.5, high: 0.6}" in made.text


def test_the_ends_of_lines_and_of_the_document_stay(tmp_path: Path) -> None:
    text = "---\n" + DARE + "...\n"
    made = marked(text.replace("\n", "\r\n"), tmp_path, "sparsity")
    assert made.problems == ()
    assert made.text.count("\n") == made.text.count("\r\n")
    path = tmp_path / "recipe.yaml"
    path.write_bytes(made.text.encode())
    assert len(load_recipe(path).objectives) == 1


def test_local_models_are_named_from_the_recipe(tmp_path: Path) -> None:
    for name in ("here/models/one", "here/two", "there/three"):
        (tmp_path / name).mkdir(parents=True)
    text = "merge_method: linear\nmodels:\n"
    for name in ("models/one", "./two", "three"):
        text += f"  - {{model: {name}, parameters: {{weight: 0.3}}}}\n"
    here, there, out = tmp_path / "here", tmp_path / "there", tmp_path / "out"
    out.mkdir()
    made = mark(text, "merge.yml", out, objectives=["parameters"], elsewhere=[here, there])
    assert made.problems == ()
    found = load_recipe(written(made, out)).configuration.sources
    assert found == tuple(str(p) for p in (here / "models/one", here / "two", there / "three"))


# Objectives.


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("sparsity", "sparsity"),
        ("gsm8k_train", {"task": "gsm8k_train"}),
        ("gsm8k_train:acc", {"task": "gsm8k_train", "metric": "acc"}),
        ("t:exact_match,strict-match", {"task": "t", "metric": "exact_match,strict-match"}),
        ("my tasks/a.yaml:acc", {"task": "my tasks/a.yaml", "metric": "acc"}),
        ("null", {"task": "null"}),
        ("1e5:on", {"task": "1e5", "metric": "on"}),
    ],
)
def test_objectives_are_read(text: str, entry: Any, tmp_path: Path) -> None:
    assert yaml.safe_load(objective_text(text, tmp_path)) == entry


@pytest.mark.parametrize("text", ["", ":acc", "task:"])
def test_objectives_of_another_form_are_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="TASK or TASK:METRIC"):
        objective_text(text, tmp_path)


def test_a_tasks_file_is_named_from_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "a.yaml").touch()
    out = tmp_path / "out"
    out.mkdir()
    text = objective_text("tasks/a.yaml:acc", out, [tmp_path])
    assert yaml.safe_load(text) == {"task": "../tasks/a.yaml", "metric": "acc"}


# The Hub.


def test_a_published_configuration_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def download(repo: str, name: str, *, revision: str | None) -> str:
        asked.append((repo, name, revision))
        path = tmp_path / name
        path.write_text("\ufeff" + DARE, encoding="utf-8")
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert fetch_config("org/model@v1") == DARE
    fetch_config("org/model")
    assert asked == [
        ("org/model", "mergekit_config.yml", "v1"),
        ("org/model", "mergekit_config.yml", None),
    ]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("EntryNotFoundError", "has no mergekit_config.yml"),
        ("LocalEntryNotFoundError", "cannot be reached"),
        ("RepositoryNotFoundError", "hf auth login"),
        ("RevisionNotFoundError", "has no revision 'v1'"),
        ("HFValidationError", "cannot be had: no"),
    ],
)
def test_what_the_hub_refuses_is_told(
    kind: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import errors

    error = getattr(errors, kind)
    made = error.__new__(error)
    made.args = ("no",)

    def download(*_args: Any, **_kwargs: Any) -> str:
        raise made

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(UserError, match=told):
        fetch_config("org/model@v1")


# Whatever the file holds, it becomes a recipe or is refused in words.


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_garbled_configuration_is_marked_or_refused_in_words(
    data: st.DataObject, tmp_path: Path
) -> None:
    text = data.draw(st.sampled_from([*VALID.values(), OLD]))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 12, len(text))))
    marks = [
        "&a ",
        "*a",
        "*same",
        "<<: ",
        "? ",
        "---\n",
        "\t",
        "{",
        "]",
        ": ",
        "#",
        "null",
        "x: 1\n",
    ]
    odd = data.draw(st.one_of(st.sampled_from(marks), st.text(max_size=5)))
    try:
        made = marked(text[:start] + odd + text[end:], tmp_path, "parameters")
    except UserError:  # a RecipeError is one
        return
    if not made.problems:
        load_recipe(written(made, tmp_path))

from __future__ import annotations

import copy
import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mergekit_mo.evaluation import Evaluation
from mergekit_mo.problems import RecipeError, UserError
from mergekit_mo.recipe import DEFAULT_BUDGET, DEFAULT_OPTIMIZER, Recipe, load_recipe, read_recipe
from mergekit_mo.space import Space

# The example of the design, word for word.
EXAMPLE = """
merge_method: dare_ties
base_model: Qwen/Qwen2.5-1.5B
dtype: bfloat16
models:
  - model: Qwen/Qwen2.5-1.5B-Instruct
    parameters:
      weight:  {value: 0.5, low: 0.0, high: 1.0}          # a hole: one dimension
      density: {value: 0.6, low: 0.1, high: 1.0}
  - model: Qwen/Qwen2.5-Math-1.5B-Instruct
    parameters:
      weight:                                              # holes combine with filters
        - {filter: self_attn, value: 0.5, low: 0.0, high: 1.0}
        - {value: [0.5, 0.5, 0.5, 0.5], low: 0.0, high: 1.0}   # four anchors: four dimensions
      density: 0.5
parameters:
  normalize: {value: true, choices: [true, false]}
search:
  objectives:
    - {task: gsm8k_train, metric: "exact_match,strict-match"}
    - {task: my_tasks/legal.yaml, metric: acc, threshold: 0.4}   # a constraint
    - sparsity
  evaluation: {limit: 200, holdout: 200, num_fewshot: 0, batch_size: 16, device: auto}
  optimizer: mm-mo            # or {mm-mo: {elites: 5}}
  budget: 30
  seed: 0
"""
SLICES = """
merge_method: slerp
base_model: org/base
slices:
  - sources:
      - {model: org/base, layer_range: [0, 12]}
      - {model: org/chat, layer_range: [0, 12]}
    parameters: {t: [{filter: mlp, value: 1e-1, low: 1e-2, high: 1, log: true}, {value: 0.5}]}
  - sources:
      - {model: org/base, layer_range: [12, 24]}
      - {model: org/chat, layer_range: [12, 24]}
tokenizer: {source: base, tokens: {<x>: {source: org/chat}}}
parameters: {t: {value: [0, 0.5, 1], low: 0, high: 1}}
search:
  objectives: [{sparsity: {}, name: sparse}, {task: a, threshold: 1e-1}]
  optimizer: {sobol: {scramble: true}}
"""
LINEAR = """
merge_method: linear
modules:
  decoder:
    models:
      - {model: org/chat, parameters: {weight: {filter: mlp, value: 0.5, low: 0, high: 1}}}
      - {model: org/maths}
    parameters: {weight: {value: 0.5, choices: [0.25, 0.5, 1]}}
search: {objectives: [sparsity], budget: 3, seed: 7}
"""
SEVERAL = EXAMPLE + "  merge_method: [ties, dare_ties, della]\n"
SEVERAL = SEVERAL.replace("low: 0.1, high: 1.0}", "low: 0.2, high: 0.8}")
VALID = {"example": EXAMPLE, "slices": SLICES, "linear": LINEAR, "several": SEVERAL}


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, **overrides: int | None) -> Recipe:
    return load_recipe(write(folder, text), **overrides)


def test_the_example_of_the_design_is_a_recipe(tmp_path: Path) -> None:
    recipe = load(tmp_path, EXAMPLE)
    assert [axis.name for axis in Space(recipe.configuration).axes] == [
        "Qwen2.5-1.5B-Instruct weight",
        "Qwen2.5-1.5B-Instruct density",
        "Qwen2.5-Math-1.5B-Instruct weight self_attn",
        *[f"Qwen2.5-Math-1.5B-Instruct weight[{i}]" for i in range(4)],
        "normalize",
    ]
    task, constraint, sparsity = recipe.objectives
    assert (task.kind, task.settings["task"], task.threshold) == ("task", "gsm8k_train", None)
    assert constraint.threshold == 0.4
    assert "threshold" not in constraint.settings
    assert (sparsity.kind, sparsity.settings) == ("sparsity", {})
    assert recipe.evaluation == Evaluation(200, 200, 0, 16, "auto")
    assert (recipe.optimizer.kind, recipe.budget, recipe.seed) == ("mm-mo", 30, 0)


@pytest.mark.parametrize("name", VALID)
def test_mergekit_takes_a_recipe_as_it_stands_and_filled(name: str, tmp_path: Path) -> None:
    from mergekit.config import MergeConfiguration

    MergeConfiguration.model_validate(yaml.safe_load(VALID[name]))
    recipe = load(tmp_path, VALID[name])
    space = Space(recipe.configuration)
    for unit in (0.0, 0.3, 1.0):
        config = space.config([unit] * space.dim)
        assert "search" not in config
        assert not any(key in yaml.safe_dump(config) for key in ("low:", "high:", "choices:"))
        read = MergeConfiguration.model_validate(config)
        assert MergeConfiguration.model_validate(yaml.safe_load(read.to_yaml())) == read


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    recipe = load(tmp_path, LINEAR.replace(", budget: 3, seed: 7", ""))
    assert recipe.evaluation == Evaluation()
    assert (recipe.optimizer.kind, recipe.optimizer.settings) == (DEFAULT_OPTIMIZER, {})
    assert (recipe.budget, recipe.seed) == (DEFAULT_BUDGET, 0)


def test_the_command_line_takes_the_place_of_budget_and_seed(tmp_path: Path) -> None:
    recipe = load(tmp_path, LINEAR, budget=8, seed=9)
    assert (recipe.budget, recipe.seed) == (8, 9)


def test_objectives_have_names_thresholds_and_settings(tmp_path: Path) -> None:
    recipe = load(tmp_path, SLICES)
    sparse, task = recipe.objectives
    assert (sparse.kind, sparse.name, sparse.settings) == ("sparsity", "sparse", {})
    assert task.threshold == 0.1
    assert (recipe.optimizer.kind, recipe.optimizer.settings) == ("sobol", {"scramble": True})


def test_models_and_tasks_are_found_from_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("models/base", "tasks", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    text = LINEAR.replace("org/chat", "models/base")
    text = text.replace("budget", "evaluation: {include_path: tasks}, budget")
    path = write(tmp_path, text)
    monkeypatch.chdir(tmp_path / "elsewhere")
    recipe = load_recipe(Path("..") / path.name)
    here = tmp_path.resolve()
    assert recipe.configuration.sources == (str(here / "models/base"), "org/maths")
    assert recipe.evaluation.include_path == (str(here / "tasks"),)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("value: 0.5, low: 0.0, high: 1.0}          #", "value: 0.4, low: 0.0, high: 1.0}  #"),
        ("density: 0.5", "density: 0.4"),
        ("dtype: bfloat16", "dtype: float32"),
        ("limit: 200", "limit: 100"),
        ("threshold: 0.4", "threshold: 0.5"),
        ("- sparsity", "- {sparsity: {}, name: zeros}"),
        ("mm-mo ", "{mm-mo: {elites: 5}} "),
        ("seed: 0", "seed: 1"),
        ("seed: 0", "seed: 0\n  merge_method: [dare_ties, ties]"),
        ("Qwen2.5-1.5B\n", "Qwen2.5-1.5B@main\n"),
    ],
)
def test_the_fingerprint_changes_with_what_changes_results(
    old: str, new: str, tmp_path: Path
) -> None:
    assert old in EXAMPLE
    changed = load(tmp_path, EXAMPLE.replace(old, new, 1))
    assert changed.fingerprint != load(tmp_path, EXAMPLE).fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("budget: 30", "budget: 60"),
        ("device: auto", "device: cpu"),
        ("  budget: 30\n  seed: 0\n", "  seed: 0\n  budget: 30  # as before\n"),
        ("0.0", "0.00"),
    ],
)
def test_the_fingerprint_stays_with_what_does_not(old: str, new: str, tmp_path: Path) -> None:
    assert old in EXAMPLE
    changed = load(tmp_path, EXAMPLE.replace(old, new))
    assert changed.fingerprint == load(tmp_path, EXAMPLE).fingerprint


def test_the_facts_are_plain_json(tmp_path: Path) -> None:
    facts = load(tmp_path, EXAMPLE).facts()
    assert json.loads(json.dumps(facts)) == facts


def test_reading_leaves_the_source_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path, EXAMPLE)
    recipe, source, _ = read_recipe(path)
    assert source.tree == yaml.safe_load(EXAMPLE)
    assert recipe is not None
    assert recipe.source.text == EXAMPLE


def test_a_recipe_with_mistakes_outside_its_configuration_is_still_read(tmp_path: Path) -> None:
    recipe, _, problems = read_recipe(write(tmp_path, EXAMPLE.replace("budget: 30", "budget: -1")))
    assert recipe is not None
    assert recipe.budget == DEFAULT_BUDGET
    assert [problem.place for problem in problems] == [("search", "budget")]


# Whatever the file holds, reading it ends in a recipe or in problems told in words.

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**20, -(10**400)]),
    st.floats(),
    st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 1, 1)),
    st.binary(max_size=4),
    st.text(max_size=6),
    st.sampled_from(
        [
            *["ties", "linear", "dare_ties", "della", "passthrough", "union", "base", "org/base"],
            *["./x", "~x", "a+b", "a@b", "*", "mlp", "1e-4", "nan"],
            *["inf", "0.5", "float32", "\0"],
        ]
    ),
)
KEYS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [
            *["merge_method", "base_model", "models", "slices", "modules", "sources", "parameters"],
            *["model", "lora", "path", "revision", "layer_range", "weight", "density"],
            *["t", "normalize", "value", "low", "high", "log", "choices"],
            *["filter", "tokenizer", "tokens", "source", "kind", "search", "objectives"],
            *["evaluation", "optimizer", "budget", "seed", "task", "metric", "name"],
            *["threshold", "sparsity", "include_path", "limit", "gen_kwargs"],
        ]
    ),
    st.text(max_size=4),
    st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.floats(), st.dates()),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=8,
)


def _paths(node: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(node, dict | list):
        return [here]
    below = node.items() if isinstance(node, dict) else enumerate(node)
    return [here, *(path for key, child in below for path in _paths(child, (*here, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A valid recipe in which some values were replaced, added, taken out or exchanged."""
    tree: Any = {"": copy.deepcopy(yaml.safe_load(draw(st.sampled_from(list(VALID.values())))))}
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(_paths(tree)[1:]))
        parent = tree
        for key in above:
            parent = parent[key]
        what = draw(st.sampled_from(["replace", "add", "drop", "exchange"]))
        if what == "replace":
            parent[last] = draw(TREES)
        elif what == "exchange":
            *way, end = draw(st.sampled_from(_paths(tree)[1:]))
            other = tree
            for key in way:
                other = other[key]
            parent[last] = copy.deepcopy(other[end])
        elif what == "add" and isinstance(parent[last], dict):
            parent[last][draw(KEYS)] = draw(TREES)
        elif what == "add" and isinstance(parent[last], list):
            parent[last].append(draw(TREES))
        elif above:
            del parent[last]
    return tree.get("")


def check(path: Path, text: str) -> None:
    """Reads a file and, where it is a recipe, lets mergekit read what comes of it."""
    from mergekit.config import MergeConfiguration

    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        recipe, source, problems = read_recipe(path)
    except UserError:  # a RecipeError is one
        return
    if problems:
        lines = str(RecipeError(source, problems)).splitlines()
        assert len(lines) >= 2 * len(problems)
        return
    assert recipe is not None
    assert len(recipe.fingerprint) == 64
    space = Space(recipe.configuration)
    for unit in (0.0, 0.4, 1.0):
        MergeConfiguration.model_validate(space.config([unit] * space.dim))


FUZZ = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(tree=mutated())
@example(tree={"merge_method": "linear", "models": [{"model": "~nobody_here"}]})
def test_a_mutated_recipe_is_read_or_refused_in_words(tree: Any, tmp_path: Path) -> None:
    check(tmp_path / "recipe.yaml", yaml.dump(tree, allow_unicode=True))


@settings(FUZZ, max_examples=100)
@given(tree=TREES)
def test_any_tree_is_read_or_refused_in_words(tree: Any, tmp_path: Path) -> None:
    check(tmp_path / "recipe.yaml", yaml.dump(tree))


@FUZZ
@given(data=st.data())
def test_a_garbled_text_is_read_or_refused_in_words(data: st.DataObject, tmp_path: Path) -> None:
    text = data.draw(st.sampled_from(list(VALID.values())))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 12, len(text))))
    marks = st.sampled_from(
        ["&a ", "*a", "<<: ", "!!int ", "? ", "---\n", "\t", "{", "]", ": ", "#"]
    )
    odd = data.draw(st.one_of(marks, st.text(max_size=5)))
    check(tmp_path / "recipe.yaml", text[:start] + odd + text[end:])

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Type = Callable[..., Result]

RECIPE = """\
merge_method: linear
models:
  - {model: org/a, parameters: {weight: {value: 0.4, low: 0, high: 1}}}
  - {model: org/b, parameters: {weight: 0.6}}
search:
  objectives: [parameters]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_a_text_in_order_is_said_to_be(typed: Type, recipe: Path) -> None:
    result = typed("validate", recipe, "--shallow")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"mergekit-mo validate {recipe}" in result.stderr
    assert typed("validate", recipe, "--shallow", "--json").stdout == "[]\n"


def test_every_problem_is_told_at_once(typed: Type, recipe: Path) -> None:
    text = RECIPE.replace("weight: 0.6", "wieght: 0.6").replace("[parameters]", "[sparsty]")
    recipe.write_text(text + "  optimizer: sobal\n")
    result = typed("validate", recipe, "--shallow")
    assert result.exit_code == 2
    for word in ("'weight'", "'sparsity'", "'sobol'"):
        assert f"did you mean {word}" in result.stdout
    assert "4 problems" in result.stderr  # a weight is missing, too


def test_json_has_the_place_of_every_problem(typed: Type, recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("value: 0.4", "value: 1.4"))
    result = typed("validate", recipe, "--shallow", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout) == [
        {
            "file": str(recipe),
            "line": 3,
            "column": 42,
            "place": "models[0].parameters.weight.value",
            "what": "value 1.4 is not between low 0 and high 1",
            "hint": "the search starts from value:",
        }
    ]


def test_a_file_that_is_no_yaml_has_a_place_too(typed: Type, recipe: Path) -> None:
    recipe.write_text("a: b: c\n")
    (problem,) = json.loads(typed("validate", recipe, "--shallow", "--json").stdout)
    assert (problem["line"], problem["column"]) == (1, 5)
    assert "not valid YAML" in problem["what"]


def test_a_file_that_is_not_there_is_told(typed: Type, recipe: Path) -> None:
    result = typed("validate", recipe.with_name("other.yaml"))
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_models_and_tasks_are_checked_unless_told_otherwise(
    typed: Type, recipe: Path, monkeypatch: pytest.MonkeyPatch, model: Callable[..., Path]
) -> None:
    missing = recipe.with_name("missing")
    missing.mkdir()
    recipe.write_text(RECIPE.replace("org/a", str(model())).replace("org/b", str(missing)))
    assert typed("validate", recipe, "--shallow").exit_code == 0
    result = typed("validate", recipe)
    assert result.exit_code == 2
    assert "cannot be opened" in result.stdout
    other = model(seed=1)
    recipe.write_text(RECIPE.replace("org/a", str(model())).replace("org/b", str(other)))
    result = typed("validate", recipe)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"mergekit-mo search {recipe}" in result.stderr


def test_options_reach_the_check(
    typed: Type, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mergekit_mo.preflight

    seen: dict[str, object] = {}

    def prepare(path: Path, flags: object, **allowed: bool) -> None:
        seen.update(vars(flags), path=path, **allowed)

    monkeypatch.setattr(mergekit_mo.preflight, "prepare", prepare)
    words = ["--device", "cuda:1"]
    flags = ["trust_remote_code", "allow_pickle", "allow_test_sets", "run_task_code"]
    words += ["--trust-remote-code", "--allow-pickle", "--search-on-test-sets", "--run-task-code"]
    assert typed("validate", recipe, *words).exit_code == 0
    assert seen["device"] == "cuda:1"
    assert all(seen[flag] is True for flag in flags)

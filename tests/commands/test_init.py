from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from mergekit_mo.recipe import load_recipe

Type = Callable[..., Result]

CONFIG = """\
# mine
merge_method: linear
models:
  - {model: org/a, parameters: {weight: 0.4}}
  - {model: org/b, parameters: {weight: 0.6}}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("merge.yml")
    path.write_text(CONFIG)
    return path


def test_a_recipe_is_printed_and_what_to_fill_in_is_said(typed: Type, config: Path) -> None:
    result = typed("init", config)
    assert result.exit_code == 0
    assert result.stdout.startswith("# mine\n")
    assert "weight: {value: 0.4, low: 0, high: 1}" in result.stdout
    assert "2 numbers to search" in result.stderr
    assert "mergekit-mo init merge.yml --objective TASK" in result.stderr


def test_a_recipe_is_written_ready_to_run(typed: Type, config: Path) -> None:
    words = ["--objective", "parameters", "--objective", "x:acc", "--out", "new/recipe.yaml"]
    result = typed("init", config, *words)
    assert result.stdout == ""
    assert "mergekit-mo validate new/recipe.yaml" in result.stderr
    assert len(load_recipe(Path("new/recipe.yaml")).objectives) == 2


def test_a_file_is_replaced_only_by_force_and_the_hint_does_it(typed: Type, config: Path) -> None:
    result = typed("init", config, "--objective", "parameters", "--out", config)
    assert result.exit_code == 2
    assert config.read_text() == CONFIG
    command = result.stderr.splitlines()[1]
    assert typed(*shlex.split(command)[1:]).exit_code == 0
    assert "search:" in config.read_text()


def test_json_has_the_recipe_and_what_was_done(typed: Type, config: Path) -> None:
    config.write_text(CONFIG + "random_seed: 1\n")
    facts = json.loads(typed("init", config, "--json").stdout)
    assert facts["dimension"] == 2
    assert facts["recipe"].startswith("# mine")
    assert "random_seed is taken out" in facts["notes"][0]
    assert (facts["problems"], facts["file"]) == ([], None)


def test_what_is_wrong_with_a_configuration_is_told_in_the_recipes_lines(
    typed: Type, config: Path
) -> None:
    config.write_text(CONFIG.replace("org/b", "./nowhere"))
    result = typed("init", config, "--out", "recipe.yaml")
    assert result.exit_code == 2
    assert "recipe.yaml:5:6: models[1].model: there is no folder './nowhere'" in result.stderr
    assert "mergekit-mo validate recipe.yaml" in result.stderr


def test_a_published_model_is_taken_from_the_hub(
    typed: Type, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(repo: str, name: str, *, revision: str | None) -> str:
        assert (repo, name, revision) == ("org/merged", "mergekit_config.yml", None)
        return str(config)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    result = typed("init", "hf:org/merged", "--objective", "parameters", "--out", "recipe.yaml")
    assert result.exit_code == 0
    assert load_recipe(Path("recipe.yaml")).configuration.sources == ("org/a", "org/b")


@pytest.mark.parametrize(
    ("text", "told"),
    [(None, "No such file"), ("a: [", "not valid YAML"), ("merge_method: lin\n", "'linear'")],
)
def test_what_cannot_be_read_is_told(typed: Type, config: Path, text: Any, told: str) -> None:
    config.write_text(text) if text else config.unlink()
    result = typed("init", config)
    assert result.exit_code == 2
    assert told in result.stderr

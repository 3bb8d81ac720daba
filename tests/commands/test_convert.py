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

GENOME = """\
genome:
  models: [org/a, org/b]
  merge_method: dare_ties
  base_model: org/base
  layer_granularity: 4
tasks: [{name: x_train, weight: 0.5}, y_train]
limit: 10
"""


@pytest.fixture
def genome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("genome.yaml")
    path.write_text(GENOME)
    return path


def test_a_recipe_is_printed_and_what_is_lost_is_said_once(typed: Type, genome: Path) -> None:
    result = typed("convert", genome, "--layers", 8)
    assert result.exit_code == 0
    assert "merge_method: dare_ties" in result.stdout
    assert "8 numbers to search" in result.stderr
    assert result.stderr.count("limit:") == 1
    assert "mergekit-mo convert genome.yaml --layers 8 --out recipe.yaml" in result.stderr


def test_a_recipe_is_written_ready_to_run(typed: Type, genome: Path) -> None:
    result = typed("convert", genome, "--layers", 8, "--out", "recipe.yaml", "--json")
    assert json.loads(result.stdout)["dimension"] == 8
    assert "mergekit-mo validate recipe.yaml" in result.stderr
    assert len(load_recipe(Path("recipe.yaml")).objectives) == 2


def test_layers_that_are_not_at_hand_are_asked_for(
    typed: Type, genome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_args: Any, **_kwargs: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    result = typed("convert", genome)
    assert result.exit_code == 2
    command = result.stderr.splitlines()[-1]
    assert command == "  mergekit-mo convert genome.yaml --layers 32"
    assert typed(*shlex.split(command)[1:]).exit_code == 0


def test_what_is_no_genome_is_told(typed: Type, genome: Path) -> None:
    genome.write_text("merge_method: ties\n")
    result = typed("convert", genome)
    assert result.exit_code == 2
    assert "mergekit-mo init" in result.stderr

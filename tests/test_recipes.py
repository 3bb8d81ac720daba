"""The recipes that ship read without problems, and are mergekit files as they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mergekit_mo.recipe import load_recipe
from mergekit_mo.space import Space

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
TASKS = sorted((ROOT / "recipes" / "tasks").glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> None:
    """The demo's models, which its recipe names by folder."""
    from mergekit_mo.testing import family

    family(ROOT / ".cache" / "tiny")


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_a_recipe_reads_without_problems_and_without_network(path: Path) -> None:
    recipe = load_recipe(path)
    assert Space(recipe.configuration).dim >= 3
    assert len(recipe.objectives) >= 2


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_a_recipe_is_a_mergekit_file_as_it_stands(path: Path) -> None:
    from mergekit.config import MergeConfiguration

    merge = MergeConfiguration.model_validate(yaml.safe_load(path.read_text()))
    start = Space(load_recipe(path).configuration).starts()[0]
    filled = Space(load_recipe(path).configuration).config(start.unit)
    assert MergeConfiguration.model_validate(filled).merge_method == merge.merge_method


def test_mergekit_merges_the_demo_from_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    from mergekit_mo.resident import folder_digest

    monkeypatch.chdir(ROOT / "recipes")
    text = Path("demo.yaml").read_text()
    merge = MergeConfiguration.model_validate(yaml.safe_load(text))
    options = MergeOptions(quiet=True, write_model_card=False, random_seed=0)
    run_merge(merge, str(tmp_path / "out"), options)
    assert folder_digest(tmp_path / "out")


@pytest.mark.parametrize("path", TASKS, ids=lambda p: p.name)
def test_a_task_asks_no_benchmarks_test_split(path: Path) -> None:
    task: dict[str, Any] = yaml.safe_load(path.read_text())
    assert task["task"] == path.stem
    assert task.keys() >= {"dataset_path", "output_type", "doc_to_text", "doc_to_target"}
    assert task["metric_list"][0].keys() >= {"metric", "aggregation", "higher_is_better"}
    assert task.get("test_split", task.get("validation_split")) in ("train", "validation")


def test_every_task_that_a_recipe_names_by_file_is_there() -> None:
    for path in RECIPES:
        for objective in load_recipe(path).objectives:
            named = str(objective.settings.get("task", ""))
            if named.endswith(".yaml"):
                assert (path.parent / named).is_file(), named

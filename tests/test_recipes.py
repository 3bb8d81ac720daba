"""The recipes that ship read without problems, can be started, and are mergekit files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mergekit_mo import cli
from mergekit_mo.recipe import load_recipe
from mergekit_mo.space import Space
from tests.conftest import Make
from tests.localised import DEPTH, RECIPES, ROOT, localised

NAMES = sorted(path.name for path in RECIPES.glob("*.yaml"))
HUB = [name for name in NAMES if name != "demo.yaml"]


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> None:
    """The demo's models, which its recipe names by folder."""
    from mergekit_mo.testing import family

    family(ROOT / ".cache" / "tiny")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, model: Make) -> Path:
    return localised(tmp_path_factory.mktemp("local"), model)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_reads_without_problems_and_without_network(name: str) -> None:
    recipe = load_recipe(RECIPES / name)
    assert Space(recipe.configuration).dim >= 3
    assert len(recipe.objectives) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_a_mergekit_file_as_it_stands(name: str) -> None:
    from mergekit.config import MergeConfiguration

    path = RECIPES / name
    merge = MergeConfiguration.model_validate(yaml.safe_load(path.read_text()))
    start = Space(load_recipe(path).configuration).starts()[0]
    filled = Space(load_recipe(path).configuration).config(start.unit)
    assert MergeConfiguration.model_validate(filled).merge_method == merge.merge_method


@pytest.mark.parametrize("name", HUB)
def test_a_recipe_passes_every_check_and_tells_its_plan(local: Path, name: str) -> None:
    """With untrained models in the place of the Hub's, and tasks of the same columns and sizes."""
    words = [str(local / name), "--dry-run", "--json", "--device", "cpu", "-j", "1"]
    if "instruction_checks" in (RECIPES / name).read_text(encoding="utf-8"):
        refused = CliRunner().invoke(cli.search, words)
        assert "instruction_checks.yaml runs Python code of its own" in refused.stderr
        words.append("--run-task-code")
    done = CliRunner().invoke(cli.search, words)
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    recipe = load_recipe(RECIPES / name)
    assert plan["dimension"] == Space(recipe.configuration).dim
    assert plan["budget"] == recipe.budget
    assert len(plan["goals"]) == len(recipe.objectives)
    for items in plan["items"].values():
        assert items == {"search": recipe.evaluation.limit, "holdout": recipe.evaluation.holdout}


def test_layer_ranges_stay_within_the_models() -> None:
    ranges = [
        [int(n) for n in found]
        for name in HUB
        for found in re.findall(
            r"layer_range: \[(\d+), (\d+)\]", (RECIPES / name).read_text(encoding="utf-8")
        )
    ]
    assert ranges
    assert all(0 <= low < high <= DEPTH for low, high in ranges)


def test_mergekit_merges_the_demo_from_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    from mergekit_mo.digests import folder_digest

    monkeypatch.chdir(ROOT / "recipes")
    text = Path("demo.yaml").read_text()
    merge = MergeConfiguration.model_validate(yaml.safe_load(text))
    options = MergeOptions(quiet=True, write_model_card=False, random_seed=0)
    run_merge(merge, str(tmp_path / "out"), options)
    assert folder_digest(tmp_path / "out")


def test_every_task_that_a_recipe_names_by_file_is_there() -> None:
    for name in NAMES:
        for objective in load_recipe(RECIPES / name).objectives:
            settings: dict[str, Any] = dict(objective.settings)
            named = str(settings.get("task", ""))
            if named.endswith(".yaml"):
                assert (RECIPES / named).is_file(), named

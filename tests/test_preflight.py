"""What is wrong with a recipe beyond its text is told before anything is made, all at once.

`unready/` holds a recipe for each mistake, and beside it what a user is told.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mergekit_mo import preflight
from mergekit_mo.machine import free_cores
from mergekit_mo.objectives.sparsity import Sparsity
from mergekit_mo.objectives.task import Task
from mergekit_mo.options import MergeFlags
from mergekit_mo.problems import RecipeError
from mergekit_mo.testing import untrained
from tests.toy import FLAGS, Toy

CASES = sorted((Path(__file__).parent / "unready").glob("*.yaml"))


@pytest.fixture(scope="module")
def crowd(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's folder, with models and tasks that something is wrong with."""
    folder = tmp_path_factory.mktemp("unready")
    shutil.copytree(toy.folder / "models", folder / "models")
    shutil.copytree(toy.folder / "tasks", folder / "tasks")
    models, tasks = folder / "models", folder / "tasks"
    shutil.copytree(models / "one", models / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    (models / "empty").mkdir()
    shutil.copytree(models / "one", models / "foreign")
    swap_tokens(models / "foreign" / "tokenizer.json")
    untrained(models / "wide", layers=2, hidden=64, seed=3)
    untrained(models / "deep", layers=3, hidden=32, seed=3)
    untrained(models / "gpt", "gpt2", layers=2, hidden=32, seed=3)
    untrained(models / "vocal", layers=2, hidden=32, vocab=400, seed=3)
    write_tasks(tasks)
    return folder


def swap_tokens(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    vocab = content["model"]["vocab"]
    first, second = list(vocab)[5:7]
    vocab[first], vocab[second] = vocab[second], vocab[first]
    path.write_text(json.dumps(content), encoding="utf-8")


def write_tasks(folder: Path) -> None:
    usual = yaml.safe_load((folder / "choice.yaml").read_text())

    def write(name: str, **changes: object) -> None:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**usual, **changes}))

    write("gsm8k", task="gsm8k", test_split="validation", validation_split=None)
    write("no_data", task="no_data", dataset_kwargs={"data_files": {"validation": "none.json"}})
    write("samples", task="samples", output_type="generate_until", doc_to_target="{{gold}}",
          repeats=8, metric_list=[{"metric": "exact_match"}])  # fmt: skip
    (folder / "group.yaml").write_text("group: toys\ntask: [gsm8k, samples]\n")
    (folder / "more").mkdir()
    data = str(folder / "items.json")
    write("more/choice", dataset_kwargs={"data_files": {"validation": data}})


def complaint(path: Path, flags: MergeFlags = FLAGS) -> str:
    """What a user is told of a recipe, without the folder that it is in."""
    with pytest.raises(RecipeError) as caught:
        preflight.prepare(path, flags)
    assert caught.value.status == 2
    return str(caught.value).replace(f"{path.parent}/", "")


def everything(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES, ids=[path.stem for path in CASES])
def test_what_is_wrong_is_told_with_its_place_and_the_way_out(crowd: Path, case: Path) -> None:
    recipe = crowd / case.name
    shutil.copy(case, recipe)
    before = everything(crowd)
    flags = replace(FLAGS, device=None) if "device:" in case.read_text() else FLAGS
    found = complaint(recipe, flags)
    golden = case.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):  # written anew, to be read by eye
        golden.write_text(f"{found}\n", encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8").rstrip("\n")
    assert everything(crowd) == before


def test_every_mistake_has_its_text() -> None:
    texts = {path.stem for path in (Path(__file__).parent / "unready").glob("*.txt")}
    assert texts == {path.stem for path in CASES}


def test_a_device_that_a_flag_names_is_no_line_of_the_recipe(toy: Toy) -> None:
    told = complaint(toy.recipe("device"), MergeFlags(device="gpu0"))
    assert told.startswith("device.yaml:1:1: torch cannot use the device 'gpu0' here: ")


def test_random_masks_on_several_gpus_are_refused(toy: Toy) -> None:
    recipe = toy.recipe("masks", method="dare_ties")
    told = complaint(recipe, replace(FLAGS, multi_gpu=True))
    assert told == (
        "masks.yaml:1:1: merge_method: the masks of a random method cannot be repeated with "
        "--multi-gpu\n    1 | merge_method: dare_ties\n"
        "      | ^ leave out --multi-gpu and --gpu-rich"
    )


def test_a_sound_recipe_is_ready(toy: Toy) -> None:
    ready = preflight.prepare(toy.recipe("sound"), FLAGS)
    assert [g.name for g in ready.goals] == ["toy_choice", "toy_bits", "sparsity"]
    assert [g.maximize for g in ready.goals] == [True, False, False]
    assert list(ready.objectives) == [g.name for g in ready.goals]
    assert isinstance(ready.objectives["sparsity"], Sparsity)
    assert [asked.name for asked in ready.tasks] == ["toy_choice", "toy_bits"]
    assert (ready.device, ready.threads) == ("cpu", 1)
    assert ready.size is not None
    assert ready.size.parameters > 10_000
    assert ready.recipe.budget == 4


def test_budget_seed_and_threads_can_be_given_from_outside(toy: Toy) -> None:
    recipe = toy.recipe("sound")
    ready = preflight.prepare(recipe, MergeFlags(device="cpu"), budget=99, seed=7)
    assert (ready.recipe.budget, ready.recipe.seed) == (99, 7)
    assert ready.threads == free_cores()


def test_two_metrics_of_one_task_share_its_run_and_are_told_apart(toy: Toy) -> None:
    (toy.folder / "tasks" / "both.yaml").write_text(
        (toy.folder / "tasks" / "choice.yaml").read_text().replace("toy_choice", "toy_both")
        .replace("metric_list: [", "metric_list: [{metric: acc_norm}, ")
    )  # fmt: skip
    objectives = [
        {"task": "tasks/both.yaml", "metric": "acc"},
        {"task": "tasks/both.yaml", "metric": "acc_norm", "threshold": 0.25},
        {"task": "./tasks/both.yaml", "metric": "acc", "name": "mine", "direction": "minimize"},
    ]
    ready = preflight.prepare(toy.recipe("both", objectives=objectives), FLAGS)
    assert [g.name for g in ready.goals] == ["toy_both:acc", "toy_both:acc_norm", "mine"]
    assert [g.threshold for g in ready.goals] == [None, 0.25, None]
    assert [g.maximize for g in ready.goals] == [True, True, False]
    assert len(ready.tasks) == 1
    first = ready.objectives["mine"]
    assert isinstance(first, Task)
    assert (first.task, first.metric) == ("toy_both", "acc,none")


def test_a_test_set_can_be_searched_on_by_saying_so(crowd: Path) -> None:
    path = crowd / "said.yaml"
    path.write_text((CASES[0].parent / "test_set.yaml").read_text())
    ready = preflight.prepare(path, FLAGS, allow_test_sets=True)
    assert "gsm8k" in [asked.name for asked in ready.tasks]


def test_a_place_for_loras_is_taken_only_where_there_are_some(toy: Toy, tmp_path: Path) -> None:
    ready = preflight.prepare(toy.recipe("sound"), FLAGS, lora_cache=tmp_path)
    assert ready.flags.lora_merge_cache is None

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
import yaml

from mergekit_mo.tasks import TaskError, contaminates, find_task, load_task

BODY: dict[str, Any] = {
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "loglikelihood",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "metadata": {"version": 1},
}


def write(folder: Path, name: str, **body: Any) -> Path:
    """A task over a data file beside it, named without a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (
        json.dumps({"question": f"{folder.name} {i} and", "answer": f" {i}"}) for i in range(4)
    )
    (folder / "items.json").write_text("\n".join(lines))
    files = {body.get("test_split", "test"): "items.json"}
    path = folder / f"{name}.yaml"
    path.write_text(
        yaml.safe_dump({"task": name, "dataset_kwargs": {"data_files": files}, **BODY, **body})
    )
    return path


@pytest.mark.parametrize("name", ["arc_easy", "gsm8k", "mmlu_anatomy", "winogrande"])
def test_a_task_of_lm_eval_is_found_without_its_index(name: str, tmp_path: Path) -> None:
    own = Path(lm_eval.tasks.__file__).parent
    start = time.perf_counter()
    path = find_task(name, tmp_path, [])
    assert path.is_relative_to(own)
    assert name in path.read_text()
    assert time.perf_counter() - start < 5


def test_a_file_is_found_from_the_recipes_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "recipes" / "mine", "sums")
    monkeypatch.chdir(tmp_path)
    assert find_task("mine/sums.yaml", tmp_path / "recipes", []) == path.resolve()
    assert find_task(str(path), tmp_path / "elsewhere", []) == path.resolve()
    with pytest.raises(TaskError, match=r"no file .*sums\.yaml") as caught:
        find_task("mine/sums.yaml", tmp_path, [])
    assert "beside the recipe" in caught.value.hint


def test_an_included_folder_comes_before_lm_eval(tmp_path: Path) -> None:
    deep = write(tmp_path / "mine" / "deep", "sums")
    mine = write(tmp_path / "mine", "arc_easy")
    assert find_task("sums", tmp_path, [tmp_path / "mine"]) == deep
    assert find_task("arc_easy", tmp_path, [tmp_path / "mine"]) == mine


def test_a_name_may_be_quoted_or_remarked_upon(tmp_path: Path) -> None:
    for i, line in enumerate(('"task": "one"', "task : two  # of many", "task: 'three'\r")):
        (tmp_path / f"{i}.yaml").write_text(f"{line}\noutput_type: loglikelihood\n", newline="")
    found = [find_task(name, tmp_path, [tmp_path]).stem for name in ("one", "two", "three")]
    assert found == ["0", "1", "2"]


def test_a_name_that_begins_another_is_not_that_other(tmp_path: Path) -> None:
    write(tmp_path, "sums_hard")
    with pytest.raises(TaskError, match="no task is called 'sums'") as caught:
        find_task("sums", tmp_path, [tmp_path])
    assert "YAML" in caught.value.hint


def test_a_name_that_two_files_claim_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", "sums")
    write(tmp_path / "b", "sums")
    with pytest.raises(TaskError, match="several files name a task 'sums'"):
        find_task("sums", tmp_path, [tmp_path])


def test_data_files_are_found_beside_the_task_whatever_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = write(tmp_path / "first", "one"), write(tmp_path / "second", "two")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for path in (first, second):
        task = load_task(path)
        assert task.task_name == path.stem
        assert [d["question"] for d in task.eval_docs] == [
            f"{path.parent.name} {i} and" for i in range(4)
        ]
    assert Path.cwd() == tmp_path / "cwd"


def test_data_that_was_rewritten_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path, "sums")
    assert len(load_task(path).eval_docs) == 4
    (tmp_path / "items.json").write_text(json.dumps({"question": "new", "answer": " 1"}))
    assert [d["question"] for d in load_task(path).eval_docs] == ["new"]


def test_a_task_that_includes_another_and_names_functions_is_loaded(tmp_path: Path) -> None:
    write(tmp_path, "base")
    (tmp_path / "helpers.py").write_text("def text(doc):\n    return doc['question'].upper()\n")
    (tmp_path / "child.yaml").write_text(
        "include: base.yaml\ntask: child\ndoc_to_text: !function helpers.text\n"
    )
    path = find_task("child", tmp_path, [tmp_path])
    with pytest.raises(TaskError, match=r"Python code of its own .*helpers\.text") as caught:
        load_task(path)
    assert "--run-task-code" in caught.value.hint
    task = load_task(path, run_code=True)
    assert task.task_name == "child"
    assert task.doc_to_text(task.eval_docs[0]).endswith("0 AND")


@pytest.mark.parametrize(
    ("content", "listing"),
    [
        ({"group": "both", "task": ["one", "two"]}, "one, two"),
        (
            {"group": "both", "task": [{"task": "one"}, {"group": "rest", "task": ["x"]}]},
            "one, rest",
        ),
        ({"task_list": [{"task": "one"}, {"task": "two"}]}, "one, two"),
    ],
)
def test_a_group_is_refused_with_the_names_of_its_tasks(
    content: dict[str, Any], listing: str, tmp_path: Path
) -> None:
    path = tmp_path / "both.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(TaskError, match="both is a group of 2 tasks") as caught:
        load_task(path)
    assert caught.value.hint.endswith(listing)


def test_a_group_of_lm_eval_is_refused_without_loading_its_tasks(tmp_path: Path) -> None:
    start = time.perf_counter()
    with pytest.raises(TaskError, match="mmlu is a group of 4 tasks") as caught:
        load_task(find_task("mmlu", tmp_path, []))
    assert "mmlu_stem" in caught.value.hint
    assert time.perf_counter() - start < 5


def test_a_task_without_a_name_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "sums", task=None)
    with pytest.raises(TaskError, match=r"sums\.yaml does not name its task"):
        load_task(path)


@pytest.mark.parametrize(
    ("change", "what", "hint"),
    [
        ({"dataset_kwargs": {"data_files": {"test": "gone.json"}}}, "gone", "beside the task"),
        ({"test_split": "missing"}, "cannot be loaded", ""),
        ({"output_type": "guess"}, "guess", ""),
    ],
)
def test_a_task_that_cannot_be_loaded_says_why(
    change: dict[str, Any], what: str, hint: str, tmp_path: Path
) -> None:
    path = write(tmp_path, "sums")
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    with pytest.raises(TaskError, match=what) as caught:
        load_task(path)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "split", "spoils"),
    [
        ("gsm8k", "test", True),
        ("gsm8k_cot", "test", True),
        ("arc_easy", "test", True),
        ("hellaswag", "validation", True),
        ("mmlu_anatomy", "test", True),
        ("mmlu", "test", True),
        ("mmlusr_answer_only", "test", True),
        ("boolq-seq2seq", "validation", True),
        ("arc", "test", True),
        ("gsm8k_train", "test", False),
        ("gsm8k_train_cot", "test", False),
        ("arc_easy_val", "validation", False),
        ("mmlu_dev", "dev", False),
        ("gsm8k_mine", "train", False),
        ("mmlu_mine", "auxiliary_train", False),
        ("my_sums", "test", False),
        ("legal_questions", "validation", False),
        ("droplets", "test", False),
        ("search_engine", "test", False),
        ("arcade", "test", False),
    ],
)
def test_well_known_test_sets_are_told_from_everything_else(
    name: str, split: str, spoils: bool, tmp_path: Path
) -> None:
    reason = contaminates(load_task(write(tmp_path, name, test_split=split)))
    assert bool(reason) is spoils
    if spoils:
        assert reason == f"{name} asks a well-known benchmark's {split} split"


def test_a_well_known_data_set_is_known_under_any_name(tmp_path: Path) -> None:
    task = load_task(write(tmp_path, "innocent"))
    for place in ("openai/gsm8k", "cais/mmlu", "allenai/ai2_arc", "openai/openai_humaneval"):
        task.set_config("dataset_path", place)
        assert "innocent asks a well-known benchmark's test split" in contaminates(task)
    task.set_config("test_split", "train[:500]")
    assert contaminates(task) == ""

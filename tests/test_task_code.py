"""A stranger's task is data: no code of it runs before somebody said so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
import yaml

from mergekit_mo.task_code import code_of
from mergekit_mo.tasks import TaskError, load_task

TASK: dict[str, Any] = {
    "task": "sums",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"validation": "items.json"}},
    "validation_split": "validation",
    "output_type": "loglikelihood",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc"}],
}


def write(folder: Path, name: str = "sums", **more: Any) -> Path:
    (folder / "items.json").write_text(json.dumps({"question": "1 and 1", "answer": " 2"}))
    path = folder / f"{name}.yaml"
    text = yaml.safe_dump({**TASK, **more})
    path.write_text(text.replace("'!function ", "!function ").replace("boom'", "boom"))
    (folder / "evil.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"
        "def boom(*_):\n    return ''\n"
    )
    return path


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"doc_to_text": "!function evil.boom"}, "!function evil.boom"),
        ({"process_docs": "!function evil.boom"}, "!function evil.boom"),
        ({"metric_list": [{"metric": "!function evil.boom"}]}, "!function evil.boom"),
        ({"metric_list": [{"metric": "owner/evil"}]}, "metric owner/evil"),
        ({"metric_list": [{"metric": "acc", "hf_evaluate": True}]}, "metric acc"),
        ({"dataset_path": "evil.py"}, "dataset_path evil.py"),
    ],
)
@pytest.mark.parametrize("included", [False, True])
def test_code_is_named_and_refused_before_it_runs(
    tmp_path: Path, more: dict[str, Any], what: str, included: bool
) -> None:
    path = write(tmp_path, **more)
    if included:
        path = tmp_path / "child.yaml"
        path.write_text("include: sums.yaml\ntask: child\n")
    with pytest.raises(TaskError) as caught:
        load_task(path)
    assert what in str(caught.value)
    assert caught.value.hint == "look at that code, then say --run-task-code"
    assert not (tmp_path / "evil.ran").exists()


def test_python_objects_in_yaml_are_code(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text() + "x: !!python/object/apply:os.system [touch evil.ran]\n")
    with pytest.raises(TaskError, match="runs Python code of its own"):
        load_task(path)
    assert not (tmp_path / "evil.ran").exists()


def test_tasks_without_code_and_those_of_lm_eval_are_free(tmp_path: Path) -> None:
    assert code_of(write(tmp_path)) == ""
    own = Path(lm_eval.tasks.__file__).parent
    named = next(p for p in sorted(own.glob("mbpp/*.yaml")) if b"!function" in p.read_bytes())
    assert code_of(named) == ""


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('touch evil.ran') }}",
        "{{ question.format.__globals__ }}",
    ],
)
def test_templates_cannot_reach_python(tmp_path: Path, template: str) -> None:
    with pytest.raises(TaskError, match=r"SecurityError|UndefinedError"):
        load_task(write(tmp_path, doc_to_text=template))
    assert not (tmp_path / "evil.ran").exists()


def test_templates_write_what_they_did(tmp_path: Path) -> None:
    text = "{% set x = question.split() %}{{x[0]|upper}}-{{question|regex_replace('and','&')}}\n"
    task = load_task(write(tmp_path, doc_to_text=text))
    assert task.doc_to_text(task.eval_docs[0]) == "1-1 & 1\n"

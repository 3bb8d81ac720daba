from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mergekit_mo.evaluation import Evaluation, read_evaluation
from mergekit_mo.problems import Place

AT: Place = ("search", "evaluation")


def test_without_a_block_the_defaults_hold(tmp_path: Path) -> None:
    expected = Evaluation(limit=None, holdout=0.25, num_fewshot=None, batch_size=16, device="auto")
    assert read_evaluation(None, AT, tmp_path) == (expected, [])
    assert read_evaluation({}, AT, tmp_path) == (expected, [])


def test_every_key_is_read(tmp_path: Path) -> None:
    node = {
        "limit": 200,
        "holdout": 100,
        "num_fewshot": 0,
        "batch_size": 4,
        "device": "cuda:1",
        "max_length": 512,
        "apply_chat_template": True,
        "fewshot_as_multiturn": True,
        "system_instruction": "Be brief.",
        "gen_kwargs": {"max_gen_toks": 8},
    }
    evaluation, problems = read_evaluation(node, AT, tmp_path)
    assert problems == []
    assert {key: getattr(evaluation, key) for key in node} == node


def test_what_is_empty_is_the_default(tmp_path: Path) -> None:
    empty = ("limit", "num_fewshot", "max_length", "system_instruction", "gen_kwargs")
    node = dict.fromkeys((*empty, "include_path"))
    assert read_evaluation(node, AT, tmp_path) == (Evaluation(), [])


@pytest.mark.parametrize("holdout", [0, 0.0, 0.25, 1, 500])
def test_a_holdout_is_a_number_or_a_fraction(holdout: float, tmp_path: Path) -> None:
    assert read_evaluation({"holdout": holdout}, AT, tmp_path)[1] == []


@pytest.mark.parametrize("form", ["text", "list"])
def test_include_path_is_found_from_the_recipe(form: str, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    value: Any = "tasks" if form == "text" else ["tasks", str(tmp_path)]
    evaluation, problems = read_evaluation({"include_path": value}, AT, tmp_path)
    assert problems == []
    assert evaluation.include_path[0] == str((tmp_path / "tasks").resolve())
    assert all(Path(path).is_absolute() for path in evaluation.include_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("limit", 0),
        ("limit", True),
        ("limit", 10.0),
        ("holdout", 1.0),
        ("holdout", -1),
        ("holdout", float("nan")),
        ("holdout", None),
        ("num_fewshot", -1),
        ("batch_size", None),
        ("batch_size", "auto"),
        ("device", 0),
        ("max_length", "long"),
        ("apply_chat_template", "yes"),
        ("system_instruction", 1),
        ("gen_kwargs", "do_sample=False"),
        ("include_path", [1]),
        ("include_path", "\0"),
        ("include_path", "~no_such_user_here/tasks"),
        ("include_path", "x" * 5000),
    ],
)
def test_a_wrong_value_is_told_at_its_key_and_the_default_stands_in(
    key: str, value: Any, tmp_path: Path
) -> None:
    evaluation, problems = read_evaluation({key: value}, AT, tmp_path)
    assert evaluation == Evaluation()
    assert [problem.place for problem in problems] == [(*AT, key)]


def test_the_facts_are_plain_json_without_the_device(tmp_path: Path) -> None:
    evaluation, _ = read_evaluation({"device": "cpu", "limit": 5}, AT, tmp_path)
    facts = json.loads(json.dumps(evaluation.facts()))
    assert facts["limit"] == 5
    assert "device" not in facts


@pytest.mark.parametrize("node", [[], "all", 3])
def test_a_block_that_is_no_mapping_is_told(node: Any, tmp_path: Path) -> None:
    _, problems = read_evaluation(node, AT, tmp_path)
    assert [problem.place for problem in problems] == [AT]

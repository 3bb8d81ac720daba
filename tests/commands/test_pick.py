from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

Type = Callable[..., Result]
Plant = Callable[..., Path]


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (["--by", "knee"], 4),
        (["--prefer", "task=0.9,other=0.1"], 5),
        (["--prefer", "task=1", "--prefer", "other=9"], 3),
        (["--at-least", "task=0.9"], 5),
        (["--at-least", "task=0.3", "--at-least", "other=0.9"], 3),
        (["--trial", "7"], 7),
    ],
)
def test_a_pick_prints_its_configuration(
    typed: Type, planted: Plant, words: list[str], number: int
) -> None:
    run = planted()
    result = typed("pick", run, *words)
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["i"] == number - 2
    assert f"trial {number}: " in result.stderr
    assert "of the way" in result.stderr or "the best of it" in result.stderr
    out = run / "models" / f"{number:03d}"
    assert f"write the model with:  mergekit-mo merge {run} {number} {out}" in result.stderr


def test_the_file_of_the_front_is_printed_with_its_header(typed: Type, planted: Plant) -> None:
    run = planted()
    text = "# scores and commands\n" + typed("pick", run, "--by", "knee").stdout
    path = run / "front" / "004.yaml"
    path.parent.mkdir()
    path.write_text(text)
    assert typed("pick", run, "--by", "knee").stdout == text
    path.write_text(text.replace("linear", "karcher"))
    assert "linear" in typed("pick", run, "--by", "knee").stdout


def test_json_has_the_scores_of_both_splits_and_what_was_traded(
    typed: Type, planted: Plant
) -> None:
    result = typed("pick", planted(), "--by", "knee", "--json")
    facts = json.loads(result.stdout)
    assert facts["trial"] == 4
    score = facts["scores"]["task"]
    assert (score["value"], score["stderr"], score["n"]) == (0.8, 0.01, 50)
    assert score["low"] < 0.8 < score["high"]
    assert [gain["goal"] for gain in facts["gains"]] == ["task", "other"]
    assert facts["holdout"] == facts["scores"]
    assert facts["config"]["merge_method"] == "linear"
    assert [goal["goal"] for goal in facts["traded"]] == ["task", "other"]
    assert facts["next"].startswith("mergekit-mo merge ")
    assert result.stderr == ""


def test_every_error_names_the_next_command(typed: Type, planted: Plant) -> None:
    run = planted()
    told = {
        ("--at-least", "task=2"): f"mergekit-mo pick {run} --trial 6",
        ("--prefer", "tsk=0.7,other=1"): f"mergekit-mo pick {run} --prefer task=0.7,other=1",
        ("--trial", "99"): f"mergekit-mo front {run}",
        ("--prefer", "much"): f"mergekit-mo front {run}",
        (): f"mergekit-mo pick {run} --by knee",
        ("--by", "knee", "--trial", "4"): f"mergekit-mo pick {run} --by knee",
    }
    for words, command in told.items():
        result = typed("pick", run, *words)
        assert result.exit_code in (1, 2)
        assert result.stdout == ""
        assert command in result.stderr
        name, *again = shlex.split(command)[1:]
        if name == "pick":
            assert typed("pick", *again).exit_code == 0


def test_an_empty_front_is_told(typed: Type, planted: Plant) -> None:
    result = typed("pick", planted(threshold=2.0), "--by", "knee")
    assert result.exit_code == 1
    assert "the front is empty" in result.stderr


def test_the_run_is_only_read(typed: Type, planted: Plant) -> None:
    run = planted()
    before = (run / "archive.db").read_bytes()
    typed("pick", run, "--by", "knee")
    assert (run / "archive.db").read_bytes() == before
    assert [path.name for path in run.iterdir()] == ["archive.db"]


def test_a_folder_without_a_run_is_told_with_the_way_out(
    typed: Type, planted: Plant, tmp_path: Path
) -> None:
    run = planted()
    recipe = tmp_path / "recipe.yaml"
    recipe.touch()
    told = {
        run.parent / "bas": "did you mean 'base'?",
        run.parent: f"runs in {run.parent}: base",
        run / "archive.db": f"name the folder that it is in:  {run}",
        recipe: f"mergekit-mo search {recipe}",
        tmp_path / "no where" / "x": "mergekit-mo search RECIPE.yaml --out '",
    }
    for path, words in told.items():
        result = typed("pick", path, "--by", "knee")
        assert result.exit_code == 2
        assert words in result.stderr

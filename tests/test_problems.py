from __future__ import annotations

import os
from pathlib import Path

import pytest

from mergekit_mo.problems import (
    Problem,
    RecipeError,
    UserError,
    near,
    parse_source,
    path_text,
    read_source,
    shown,
)
from mergekit_mo.recipe import load_recipe

BROKEN = Path(__file__).parent / "broken"
RECIPES = sorted(BROKEN.glob("*.yaml"), key=lambda path: path.stem)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_broken_recipe_gets_its_whole_message(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compares with the golden file beside the recipe.

    `UPDATE_GOLDEN=1 pytest tests/test_problems.py` writes the golden files anew; read the
    difference before you keep it.
    """
    monkeypatch.chdir(BROKEN)
    with pytest.raises(RecipeError) as caught:
        load_recipe(Path(path.name))
    message = f"{caught.value}\n"
    golden = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(message, encoding="utf-8")
    assert message == golden.read_text(encoding="utf-8")
    assert caught.value.status == 2


def test_every_golden_message_has_its_recipe() -> None:
    assert {path.stem for path in BROKEN.glob("*.txt")} == {path.stem for path in RECIPES}
    assert len(RECIPES) >= 30


def test_all_problems_are_told_in_the_order_of_the_file() -> None:
    source = parse_source("a: 1\nb:\n  - c: 2\n  - d: 3\n", "x.yaml")
    problems = [
        Problem(("b", 1, "d"), "third"),
        Problem(("a",), "first"),
        Problem(("b",), "second"),
    ]
    told = [line for line in str(RecipeError(source, problems)).splitlines() if "x.yaml" in line]
    assert told == ["x.yaml:1:1: a: first", "x.yaml:2:1: b: second", "x.yaml:4:5: b[1].d: third"]


def test_a_place_that_the_file_lacks_is_shown_at_the_nearest_one_above() -> None:
    source = parse_source("a:\n  b: 1\n", "x.yaml")
    assert source.mark(("a", "b", "c", 3)) == (2, 3)
    assert source.mark(("z",)) == (1, 1)


def test_the_caret_stands_below_its_column_even_after_tabs() -> None:
    source = parse_source('a: ["\t\t", b]\n', "x.yaml")
    rows = source.describe(Problem(("a", 1), "wrong", "so")).splitlines()
    assert rows == [
        "x.yaml:1:11: a[1]: wrong",
        '    1 | a: ["\t\t", b]',
        "      |      \t\t   ^ so",
    ]


def test_what_an_anchor_brings_is_shown_where_the_anchor_stands() -> None:
    text = "a: &shared\n  x: 1\n  y: 2\nb:\n  <<: *shared\n  y: 3\nc:\n  y: 4\n  <<: [*shared]\n"
    source = parse_source(text, "x.yaml")
    assert source.tree["b"] == {"x": 1, "y": 3}
    assert source.mark(("b", "x")) == (2, 3)
    assert source.mark(("b", "y")) == (6, 3)
    assert source.mark(("c", "y")) == (8, 3)


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "+1e4", "-1.5e3", ".5e1", "1.e-4"])
def test_a_number_with_an_exponent_is_a_number(text: str) -> None:
    assert parse_source(f"a: {text}", "x").tree == {"a": float(text)}


@pytest.mark.parametrize("text", ["'1e-4'", "1e-4x", "e4", "1e", "org/base@1e5"])
def test_a_text_that_looks_much_like_a_number_stays_a_text(text: str) -> None:
    assert parse_source(f"a: {text}", "x").tree == {"a": text.strip("'")}


@pytest.mark.parametrize(
    "value",
    ["!!bool maybe", "!!int ''", "!!float x", "!!timestamp x", "0x" + "f" * 5000, "9" * 5000, "="],
)
def test_a_value_that_cannot_be_read_is_a_problem_at_its_place(value: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_source(f"a: 1\nb: {value}\n", "x.yaml")
    assert [problem.place for problem in caught.value.problems] == [("b",)]
    assert str(caught.value).startswith("x.yaml:2:1: b: ")


@pytest.mark.parametrize(
    "text",
    ["{{{{", "a: b: c", "\t", "a: *none", "!!map x", "[" * 500, "? [a]\n: b", "? {a: b}\n: c", ""],
)
def test_text_that_is_no_yaml_mapping_is_one_problem(text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_source(text, "x.yaml")
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith("x.yaml:1:")


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("a: 1\n", encoding="utf-8-sig")
    source = read_source(path)
    assert source.tree == {"a": 1}
    assert source.mark(("a",)) == (1, 1)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml: No such file"):
        read_source(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="directory"):
        read_source(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(UserError, match=r"latin\.yaml: not UTF-8"):
        read_source(tmp_path / "latin.yaml")


def test_a_place_is_written_as_a_user_would() -> None:
    assert path_text(("models", 0, "parameters", "weight")) == "models[0].parameters.weight"
    assert path_text(()) == ""


def test_a_hint_names_the_nearest_word_first() -> None:
    assert near("densty", ["weight", "density"]) == "did you mean 'density'? known: density, weight"
    assert near("x", ["weight"], what="there are") == "there are: weight"
    assert near("x", []) == "known: none"


def test_values_are_shown_as_yaml_and_cut_short() -> None:
    assert shown(None) == "nothing"
    assert shown(True) == "true"
    assert shown(0.5) == "0.5"
    assert shown("a") == "'a'"
    assert shown({"a": [None, False]}) == '{"a": [null, false]}'
    assert len(shown(list(range(1000)))) == 61

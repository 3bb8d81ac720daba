from __future__ import annotations

from typing import Any

import pytest

from mergekit_mo.archive import Archive
from mergekit_mo.preference import Preference, read_preference
from mergekit_mo.problems import Place
from mergekit_mo.trial import Goal

PLACE: Place = ("search", "preference")


def test_weights_and_bounds_are_read() -> None:
    found, problems = read_preference(
        {"weights": {"a": 1, "b": 0.5}, "at_least": {"c": "1e-1"}}, PLACE
    )
    assert not problems
    assert found == Preference({"a": 1.0, "b": 0.5}, {"c": 0.1})
    assert read_preference(None, PLACE) == (None, [])


@pytest.mark.parametrize(
    ("node", "place", "what"),
    [
        (0.7, (), "expected a mapping"),
        ({"weight": {"a": 1}}, ("weight",), "no key"),
        ({"weights": [1]}, ("weights",), "expected numbers by goal"),
        ({"weights": {"a": "much"}}, ("weights", "a"), "expected a number"),
        ({"weights": {"a": -1, "b": 2}}, ("weights", "a"), "0 or more"),
        ({"weights": {"a": 0}}, ("weights",), "above 0"),
        ({"at_least": {"a": float("nan")}}, ("at_least", "a"), "expected a number"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_place(node: Any, place: Place, what: str) -> None:
    _, problems = read_preference(node, PLACE)
    assert [(p.place, what in p.what) for p in problems] == [((*PLACE, *place), True)]


def test_goals_that_are_not_there_are_told_with_the_nearest_one() -> None:
    (problem,) = Preference({"gsm8": 1.0}).unknown(["gsm8k", "arc"])
    assert problem.place == (*PLACE, "weights", "gsm8")
    assert "gsm8k" in problem.hint


def test_an_archive_remembers_it() -> None:
    wanted = Preference({"g": 2.0}, {"g": 0.5})
    with Archive.create(":memory:", [Goal("g", True)], {"preference": wanted.facts()}) as archive:
        assert archive.preference == wanted
    with Archive.memory([Goal("g", True)]) as archive:
        assert archive.preference == Preference()

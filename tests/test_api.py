"""The Python face: names that load nothing until used, and a search that is the command's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mergekit_mo
from mergekit_mo import Archive, Recipe, UserError, choose, search
from mergekit_mo.events import Ended, Finished, Started
from tests.toy import Toy, dump, run

HEAVY = ["torch", "mergekit", "transformers", "lm_eval", "botorch", "numpy"]


def test_importing_the_package_loads_nothing() -> None:
    code = f"import sys, mergekit_mo; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_name_of_the_face_is_there_and_no_other() -> None:
    for name in mergekit_mo.__all__:
        assert getattr(mergekit_mo, name) is not None
        assert name in dir(mergekit_mo)
    with pytest.raises(AttributeError, match="has no attribute 'sarch'"):
        mergekit_mo.sarch  # noqa: B018


def test_a_search_from_python_is_that_of_the_command(toy: Toy, tmp_path: Path) -> None:
    path = toy.recipe("face", budget=9)
    recipe = Recipe.load(str(path), budget=2)
    out = tmp_path / "mine"
    events = list(search(recipe, out, device="cpu", num_threads=1))
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Ended)
    run(path, tmp_path / "theirs", budget=2)
    mine, theirs = dump(out), dump(tmp_path / "theirs")
    assert mine == theirs
    with Archive.open(str(out), read_only=True) as archive:
        front = archive.front()
        assert front
        assert choose.knee(archive).trial in front
    with pytest.raises(UserError, match="holds a run already"):
        search(recipe, out, device="cpu", num_threads=1)
    more = search(Recipe.load(path, budget=3), out, resume=True, device="cpu", num_threads=1)
    assert [e.trial.number for e in more if isinstance(e, Finished)] == [5]


def test_problems_are_told_when_search_is_called(toy: Toy, tmp_path: Path) -> None:
    path = toy.recipe("faulty", optimizer="soboll")
    with pytest.raises(UserError, match="did you mean 'sobol'"):
        search(path, tmp_path / "out", device="cpu", num_threads=1)
    with pytest.raises(TypeError, match="devise"):
        search(toy.recipe("fine"), tmp_path / "out", devise="cpu")
    assert not (tmp_path / "out").exists()


def test_a_file_that_has_changed_is_not_searched_in_its_place(toy: Toy, tmp_path: Path) -> None:
    recipe = Recipe.load(toy.recipe("changed"))
    toy.recipe("changed", optimizer="random")
    with pytest.raises(UserError, match="not the recipe that was read"):
        search(recipe, tmp_path, device="cpu", num_threads=1)

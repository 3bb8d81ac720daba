from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks._merges import Merges
from benchmarks._texts import WRITERS, texts
from benchmarks.families import (
    FAMILIES,
    FAMILIES_FOLDER,
    HELD_OUT,
    SPACES,
    TUNING,
    grid,
    located,
    recipe,
)
from mergekit_mo.testing.planted import small_space


def test_two_families_are_kept_out_of_all_tuning() -> None:
    assert set(HELD_OUT) | set(TUNING) == set(FAMILIES)
    assert not set(HELD_OUT) & set(TUNING)
    assert (len(HELD_OUT), len(TUNING)) == (2, 4)


def test_no_two_families_share_seed_and_size() -> None:
    assert len({f.seed for f in FAMILIES.values()}) == len(FAMILIES)
    assert len({(f.width, f.inner, f.vocab) for f in FAMILIES.values()}) == len(FAMILIES)
    assert len({f.digest for f in FAMILIES.values()}) == len(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_two_spaces_and_a_grid(name: str) -> None:
    family = FAMILIES[name]
    dims = [small_space(recipe(family, space)).dim for space in SPACES]
    assert dims == [6, 16]
    space = small_space(grid(family))
    methods = {space.method([u] + [0.5] * 6) for u in (0.1, 0.5, 0.9)}
    assert methods == {"linear", "ties", "dare_ties"}


def test_a_recipe_of_a_space_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no space is called 'wide'"):
        recipe(FAMILIES["wren"], "wide")


def test_a_configuration_is_located_without_touching_the_one_that_is_remembered() -> None:
    family = FAMILIES["owl"]
    space = small_space(recipe(family, "global"))
    config = space.config(space.starts()[0].unit)
    found = located(config, family)
    assert config["base_model"] == "owl/base"
    assert found["base_model"] == str(FAMILIES_FOLDER / "owl" / "base")
    assert Path(found["models"][0]["model"]).name == family.domains[0]
    assert found["models"][0]["parameters"] == config["models"][0]["parameters"]


@pytest.mark.parametrize("domain", WRITERS)
def test_a_language_is_the_same_for_a_seed_and_its_sides_share_no_document(domain: str) -> None:
    found = texts((domain,), 5)[domain]
    assert found == texts((domain,), 5)[domain]
    assert found.train[0] != texts((domain,), 6)[domain].train[0]
    assert not set(found.train) & set(found.held_out)
    assert len(set(found.train)) == len(found.train)


def test_a_problem_needs_no_trained_family_until_a_merge_is_missing(tmp_path: Path) -> None:
    problem = Merges(FAMILIES["wren"], "layered", data=tmp_path, cache=tmp_path / "memo")
    assert [c.origin for c in problem.starts] == ["recipe", "uniform"]
    assert problem.space.dim == 16
    assert len(problem.memo) == 0

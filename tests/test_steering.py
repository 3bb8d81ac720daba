"""What steers a search without being one of its goals, from the recipe to the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mergekit_mo import loop
from mergekit_mo.archive import Archive
from mergekit_mo.preference import Preference
from tests.toy import QLOGNEHVI, Toy, dump, run

QUICK = QLOGNEHVI["qlognehvi"] | {"sparsity": True, "relevance": True, "noise": "items"}
GOALS: list[Any] = [{"task": "tasks/choice.yaml"}, {"task": "tasks/bits.yaml"}]


@pytest.fixture(scope="module")
def out(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steering") / "run"
    recipe = toy.recipe(
        "steering",
        objectives=GOALS,
        optimizer={"mm-mo": QUICK},
        preference={"weights": {"toy_choice": 1.0}},
    )
    run(recipe, folder, budget=5)
    return folder


def test_the_distance_from_the_base_is_measured_for_every_trial(out: Path) -> None:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        distances = [t.scores["sparsity"].value for t in archive.trials]
        assert [goal.name for goal in archive.auxiliary] == ["sparsity"]
        data = archive.data(auxiliary=True)
    assert distances[0] == 0, "the base itself"
    assert all(d > 0 for d in distances[1:])
    assert data.Y.shape == (5, 3)


def test_it_is_in_no_table_and_in_no_front(out: Path) -> None:
    for name in ("front.csv", "trials.csv"):
        assert "sparsity" not in (out / name).read_text(encoding="utf-8").partition("\n")[0]
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        assert archive.matrix(archive.front()).shape[1] == 2


def test_the_sources_differences_are_taken_once_and_kept(out: Path) -> None:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        norms = archive.fact("differences")
    assert sorted(Path(source).name for source in norms) == ["one", "two"]
    assert all(norm >= 0 for own in norms.values() for norm in own.values())


def test_the_preference_is_on_record(out: Path) -> None:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        assert archive.preference == Preference({"toy_choice": 1.0})


def test_the_surrogate_took_over(out: Path) -> None:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        origins = [t.origin for t in archive.candidates]
    assert origins == ["recipe", "uniform", "soup", "mm-mo", "mm-mo"]


def test_a_steered_search_resumes_to_the_same_archive(toy: Toy, tmp_path: Path, out: Path) -> None:
    recipe = toy.folder / "steering.yaml"
    run(recipe, tmp_path, budget=4)
    run(recipe, tmp_path, budget=5, resume=True)
    for table in ("fact", "trial", "score", "answers"):
        assert dump(tmp_path)[table] == dump(out)[table]


def test_candidates_that_belong_together_are_asked_for_together(toy: Toy, tmp_path: Path) -> None:
    run(toy.recipe("threes", objectives=GOALS, optimizer="tests.toy:Threes"), tmp_path, budget=7)
    with Archive.open(tmp_path / loop.ARCHIVE, read_only=True) as archive:
        assert [t.ask for t in archive.candidates] == [None, None, 0, 0, 0, 1, 1]

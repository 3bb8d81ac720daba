"""What a worker builds from what travels to it, and searches by several real workers."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from mergekit_mo import loop, preflight
from mergekit_mo.archive import Archive
from mergekit_mo.hiring import Blueprint, hire
from mergekit_mo.problems import UserError
from mergekit_mo.trial import Trial
from mergekit_mo.workers import Workers
from tests.toy import FLAGS, Toy, run


def scored(out: Path) -> dict[object, object]:
    """What came of each candidate, whatever their order."""
    with Archive.open(out, read_only=True) as archive:
        done: tuple[Trial, ...] = archive.trials
    return {t.unit or t.origin: (t.digest, t.scores, {} if t.unit else t.holdout) for t in done}


@pytest.mark.slow
def test_workers_of_their_own_score_as_one_does_to_the_last_digit(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe("crew", budget=3)
    run(recipe, tmp_path / "one")
    ready = preflight.prepare(recipe, FLAGS, workers=Workers("processes", 2))
    assert ready.threads == 1
    list(loop.search(ready, tmp_path / "two"))
    assert scored(tmp_path / "two") == scored(tmp_path / "one")


def test_a_worker_builds_what_was_read_whatever_the_file_says_by_now(
    toy: Toy, tmp_path: Path
) -> None:
    recipe = toy.recipe("edited", budget=1)
    blueprint = Blueprint.of(preflight.prepare(recipe, FLAGS, seed=5))
    recipe.write_text("nothing")
    evaluator = pickle.loads(pickle.dumps(blueprint))()
    assert list(evaluator.objectives) == ["toy_choice", "toy_bits", "sparsity"]


def test_a_worker_with_other_data_is_not_taken(toy: Toy) -> None:
    ready = preflight.prepare(toy.recipe("other data", budget=1), FLAGS)
    blueprint = replace(Blueprint.of(ready), seed=1)  # another seed asks other items
    with pytest.raises(UserError, match="are not those that the search began with"):
        blueprint()


def test_an_executor_that_there_is_not_is_told(toy: Toy) -> None:
    ready = preflight.prepare(toy.recipe("odd"), FLAGS, workers=Workers("rayy", 2))
    with pytest.raises(UserError, match="no executor is called 'rayy': did you mean 'ray'"):
        hire(ready)

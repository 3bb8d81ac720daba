"""Searches with rungs: hopeless merges are asked fewer items, and the front is the same."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from mergekit_mo import choose, loop, preflight
from mergekit_mo.archive import Archive
from mergekit_mo.console import races_text
from mergekit_mo.events import Finished
from mergekit_mo.problems import RecipeError, UserError
from mergekit_mo.rivals import plan_of, race_of
from tests.toy import FLAGS, QLOGNEHVI, Toy, dump, run

GOALS = [{"task": "tasks/bits.yaml"}, "parameters"]
BUDGET = 7


def recipe(toy: Toy, name: str, rungs: list[int], **search: object) -> Path:
    evaluation: dict[str, Any] = {"limit": 32, "holdout": 4, "batch_size": 8}
    evaluation |= {"rungs": rungs} if rungs else {}
    own: dict[str, Any] = {
        "objectives": GOALS,
        "evaluation": evaluation,
        "budget": BUDGET,
        **search,
    }
    return toy.recipe(name, **own)


@pytest.fixture(scope="module")
def full(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("full") / "run"
    run(recipe(toy, "all_items", []), out)
    return out


@pytest.fixture(scope="module")
def raced(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("raced") / "run"
    run(recipe(toy, "raced", [8, 16]), out)
    return out


def test_who_runs_to_the_end_has_the_scores_of_full_scoring(full: Path, raced: Path) -> None:
    with Archive.open(full) as all_items, Archive.open(raced) as some:
        stopped = [t for t in some.candidates if t.status == "stopped"]
        assert stopped
        assert [t.number for t in some.front()] == [t.number for t in all_items.front()]
        for ours, theirs in zip(some.trials, all_items.trials, strict=True):
            assert (ours.config, ours.digest) == (theirs.config, theirs.digest)
            if ours.status == "done":
                for goal, m in theirs.scores.items():
                    assert ours.scores[goal].value == pytest.approx(m.value, rel=1e-6)
                    assert ours.scores[goal].n == m.n
                for one, two in zip(*(a.answers(ours.number, "search", "toy_bits")["values"]
                                      ["bits_per_byte,none"] for a in (some, all_items)),
                                    strict=True):  # fmt: skip
                    assert one == pytest.approx(two, rel=1e-5)


def test_a_stopped_trial_says_where_and_is_an_estimate(full: Path, raced: Path) -> None:
    with Archive.open(full) as all_items, Archive.open(raced) as some:
        front = {t.number for t in some.front()}
        assert not {t.number for t in some.candidates if t.stopped} & front
        for trial in some.candidates:
            if trial.stopped is None:
                continue
            assert trial.stopped.asked in (8, 16)
            assert trial.stopped.of == 32
            assert trial.stopped.by < trial.number
            assert not trial.holdout
            m = trial.scores["toy_bits"]
            assert m.n == trial.stopped.asked
            true = all_items.trials[trial.number].scores["toy_bits"].value
            assert m.stderr is not None
            assert math.isclose(m.value, true, abs_tol=6 * m.stderr + 1e-9)
            assert len(some.answers(trial.number, "search", "toy_bits")["ids"]) == m.n
            with pytest.raises(UserError, match=r"was stopped at \d+ of 32 items"):
                choose.numbered(some, trial.number)
        assert "stopped early, which saved" in races_text(some)
        rows = list(csv.DictReader((raced / "trials.csv").open(encoding="utf-8")))
        shown = {r["trial"]: r["stopped"] for r in rows if r["stopped"]}
        assert shown == {
            str(t.number): f"{t.stopped.asked}/32" for t in some.candidates if t.stopped
        }


def test_optimizers_learn_from_estimates_with_their_larger_variance(raced: Path) -> None:
    with Archive.open(raced) as archive:
        stops = {t.number for t in archive.candidates if t.stopped}
        assert not stops & set(archive.data().numbers)
        data = archive.data(partial=True)
        assert {n for n, p in zip(data.numbers, data.partial, strict=True) if p} == stops
        assert (data.Yvar[data.partial, 0] > 0).all()


def test_a_race_is_against_trials_of_earlier_asks_alone(raced: Path) -> None:
    with Archive.open(raced) as archive:
        starts = [t for t in archive.candidates if t.ask is None]
        assert all(t.status == "done" and race_of(archive, t) is None for t in starts)
        last = archive.candidates[-1]
        race = race_of(archive, last)
        assert race is not None
        assert all(rival.number < last.number for rival in race.rivals)
        assert plan_of(archive) == race.plan


def test_a_search_that_was_stopped_races_on_alike(toy: Toy, tmp_path: Path) -> None:
    path = recipe(toy, "cut", [8, 16], optimizer=QLOGNEHVI)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(path, whole)
    search = loop.search(preflight.prepare(path, FLAGS), cut)
    for event in search:
        if isinstance(event, Finished) and event.trial.status == "stopped":
            break
    search.close()
    run(path, cut, resume=True)
    assert dump(cut) == dump(whole)


def test_what_cannot_be_raced_for_is_refused_with_its_place(toy: Toy) -> None:
    text = (toy.folder / "tasks" / "choice.yaml").read_text(encoding="utf-8")
    corpus = text.replace("toy_choice", "toy_mcc").replace(
        "{metric: acc, aggregation: mean,", "{metric: mcc, aggregation: matthews_corrcoef,"
    )
    (toy.folder / "tasks" / "mcc.yaml").write_text(corpus, encoding="utf-8")
    goals = [{"task": "tasks/bits.yaml"}, {"task": "tasks/mcc.yaml"}]
    with pytest.raises(RecipeError) as caught:
        preflight.prepare(recipe(toy, "corpus", [8, 16], objectives=goals), FLAGS)
    assert "search.objectives[1]: toy_mcc cannot be raced for" in str(caught.value)
    with pytest.raises(RecipeError) as caught:
        preflight.prepare(recipe(toy, "late", [32]), FLAGS)
    assert "search.evaluation.rungs[0]: the search has 32 items of a task" in str(caught.value)
    with pytest.raises(RecipeError) as caught:
        preflight.prepare(recipe(toy, "itemless", [8], objectives=["parameters"]), FLAGS)
    assert "nothing to race over" in str(caught.value)
    with pytest.raises(RecipeError) as caught:
        preflight.prepare(recipe(toy, "falling", [16, 8]), FLAGS)
    assert "expected ascending whole numbers of 8 or more" in str(caught.value)

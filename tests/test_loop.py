"""The search itself: its order, its budget, what it records and what it survives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mergekit_mo import loop, preflight
from mergekit_mo.archive import Archive
from mergekit_mo.events import Ended, Event, Finished, Opened, Started, Warned
from mergekit_mo.problems import UserError
from mergekit_mo.testing import untrained
from mergekit_mo.trial import Trial
from tests.toy import FLAGS, QLOGNEHVI, Toy, dump, run

BUDGET = 6
SOURCES = ["base", "one", "two"]


@pytest.fixture(scope="module")
def out(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loop") / "run"


@pytest.fixture(scope="module")
def events(toy: Toy, out: Path) -> list[Event]:
    """Of an undisturbed search, in the folder `out`."""
    return run(toy.recipe("usual", budget=BUDGET), out)


@pytest.fixture(scope="module")
def trials(events: list[Event], out: Path) -> tuple[Trial, ...]:
    return trials_of(out)


def trials_of(out: Path) -> tuple[Trial, ...]:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        return archive.trials


def candidates_of(out: Path) -> list[Trial]:
    return [t for t in trials_of(out) if t.role == "candidate"]


def front_of(out: Path) -> list[int]:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        return [t.number for t in archive.front()]


def test_the_references_come_first_and_outside_the_budget(trials: tuple[Trial, ...]) -> None:
    roles = [t.role for t in trials]
    assert roles == ["reference"] * 3 + ["candidate"] * BUDGET
    assert [Path(t.origin).name for t in trials[:3]] == SOURCES
    for trial in trials[:3]:
        assert trial.config == {
            "merge_method": "passthrough",
            "base_model": trial.origin,
            "models": [{"model": trial.origin}],
        }
        assert trial.status == "done"


def test_the_recipes_own_values_then_the_uniform_mix_then_the_optimizer(
    trials: tuple[Trial, ...],
) -> None:
    origins = [t.origin for t in trials[3:]]
    assert origins == ["recipe", "uniform"] + ["sobol"] * (BUDGET - 2)
    assert [t.ask for t in trials[3:]] == [None, None, *range(BUDGET - 2)]
    own, mix = (t.config["models"] for t in trials[3:5])
    assert own[0]["parameters"] == {"weight": 0.4, "density": 0.6}
    assert own[1]["parameters"] == {"weight": [0.7, 0.3]}
    assert mix[0]["parameters"] == {"weight": 0.5, "density": 0.6}
    assert mix[1]["parameters"] == {"weight": [0.5, 0.5]}


def test_a_budget_of_one_is_the_recipes_own_merge(toy: Toy, tmp_path: Path) -> None:
    run(toy.recipe("one", budget=1), tmp_path)
    assert [t.origin for t in candidates_of(tmp_path)] == ["recipe"]


def test_the_events_come_in_order(events: list[Event], out: Path) -> None:
    kinds = [type(e) for e in events]
    front, opened = front_of(out), len(opened_of(out))
    assert kinds == [Started, *[Finished] * (3 + BUDGET), *[Opened] * (3 + opened), Ended]
    finished = [e.trial.number for e in events if isinstance(e, Finished)]
    assert finished == list(range(3 + BUDGET))
    first, last = events[0], events[-1]
    assert isinstance(first, Started)
    assert (first.out, first.budget, first.done) == (out, BUDGET, 0)
    assert isinstance(last, Ended)
    assert [t.number for t in last.front] == front


def test_a_reference_never_stands_on_the_front(events: list[Event]) -> None:
    for event in events:
        if isinstance(event, Finished) and event.trial.role == "reference":
            assert not event.on_front
        if isinstance(event, Ended):
            assert {t.role for t in event.front} == {"candidate"}


def test_the_first_candidate_joins_the_front(events: list[Event]) -> None:
    finished = [e for e in events if isinstance(e, Finished) and e.trial.role == "candidate"]
    assert finished[0].on_front


def opened_of(out: Path) -> list[int]:
    """The candidates that are scored on the hold-out: the recipe's own values, and the front."""
    return sorted({3, *front_of(out)})


def test_the_hold_out_is_scored_once_for_references_front_and_own_values_and_recorded(
    events: list[Event], out: Path, trials: tuple[Trial, ...]
) -> None:
    expected = [0, 1, 2, *opened_of(out)]
    assert [e.trial.number for e in events if isinstance(e, Opened)] == expected
    assert [t.number for t in trials if t.holdout] == expected
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        assert archive.openings() == tuple(expected)
        search = archive.answers(0, "search", "toy_choice")["ids"]
        held = archive.answers(0, "holdout", "toy_choice")["ids"]
    assert (len(search), len(held)) == (8, 4)
    assert not set(search) & set(held)


def test_every_candidate_answers_the_same_items(trials: tuple[Trial, ...], out: Path) -> None:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        asked = {str(archive.answers(t.number, "search", "toy_bits")["ids"]) for t in trials}
    assert len(asked) == 1


def test_the_run_folder_says_what_was_searched_and_asked(
    events: list[Event], toy: Toy, out: Path
) -> None:
    assert (out / "recipe.yaml").read_text() == (toy.folder / "usual.yaml").read_text()
    items = json.loads((out / "items" / "search.json").read_text())
    assert {name: len(ids) for name, ids in items.items()} == {"toy_choice": 8, "toy_bits": 8}
    left = {p.name for p in out.iterdir()}
    assert left == {
        ".lock", "archive.db", "front", "front.csv", "front.png", "items", "recipe.yaml",
        "report.html", "trials.csv", "trials.jsonl",
    }  # fmt: skip


def test_what_was_yielded_is_on_disk(toy: Toy, tmp_path: Path) -> None:
    ready = preflight.prepare(toy.recipe("disk", budget=2), FLAGS)
    for event in loop.search(ready, tmp_path):
        if isinstance(event, Finished):
            known = {t.number: t for t in trials_of(tmp_path)}
            assert known[event.trial.number] == event.trial
        if isinstance(event, Opened):
            assert trials_of(tmp_path)[event.trial.number].holdout == event.trial.holdout


def test_without_a_hold_out_nothing_is_opened(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe("no_holdout", budget=1, evaluation={"limit": 4, "holdout": 0})
    events = run(recipe, tmp_path)
    assert not [e for e in events if isinstance(e, Opened)]
    assert not any(t.holdout for t in trials_of(tmp_path))


def models(weight: Any) -> list[Any]:
    return [
        {"model": "models/one", "parameters": {"weight": weight}},
        {"model": "models/two", "parameters": {"weight": 0.5}},
    ]


def test_a_merge_that_is_not_finite_is_a_failed_trial(toy: Toy, tmp_path: Path) -> None:
    weight = {"value": 0.5, "choices": [0.5, 1e39, 0.25]}
    recipe = toy.recipe(
        "nan", method="task_arithmetic", models=models(weight), budget=3, objectives=["sparsity"]
    )
    events = run(recipe, tmp_path)
    found = {t.config["models"][0]["parameters"]["weight"]: t for t in candidates_of(tmp_path)}
    assert found.keys() == {0.5, 1e39, 0.25}
    bad = found[1e39]
    assert (bad.status, bad.scores, bad.digest) == ("failed", {}, None)
    assert bad.error is not None
    assert "finite" in bad.error
    assert found[0.5].status == found[0.25].status == "done"
    assert bad.number not in front_of(tmp_path)
    assert isinstance(events[-1], Ended)


def test_a_failed_merge_leaves_the_next_one_as_it_would_have_been(toy: Toy, tmp_path: Path) -> None:
    weight = {"value": 1e39, "choices": [1e39, 0.25]}
    recipe = toy.recipe(
        "after", method="task_arithmetic", models=models(weight), budget=2, objectives=["sparsity"]
    )
    run(recipe, tmp_path / "a")
    weight = {"value": 0.25, "choices": [1e39, 0.25]}
    recipe = toy.recipe(
        "alone", method="task_arithmetic", models=models(weight), budget=1, objectives=["sparsity"]
    )
    run(recipe, tmp_path / "b")
    failed, after = candidates_of(tmp_path / "a")
    (alone,) = candidates_of(tmp_path / "b")
    assert failed.status == "failed"
    assert (after.digest, after.scores) == (alone.digest, alone.scores)


def test_a_space_that_is_used_up_ends_the_search(toy: Toy, tmp_path: Path) -> None:
    weight = {"value": 0.5, "choices": [0.5, 0.25]}
    recipe = toy.recipe("small", models=models(weight), budget=9, objectives=["sparsity"])
    events = run(recipe, tmp_path)
    assert len(candidates_of(tmp_path)) == 2
    assert [e.message for e in events if isinstance(e, Warned)] == [
        "the space has no more candidates"
    ]
    assert isinstance(events[-1], Ended)


def test_an_objective_that_raises_makes_a_failed_trial(toy: Toy, tmp_path: Path) -> None:
    distances = {"tests.toy:Fussy": {"most": 600.0}}
    weight = {"value": 0.5, "choices": [0.5, 0.01]}
    recipe = toy.recipe(
        "fussy", method="task_arithmetic", models=models(weight), budget=2,
        objectives=[distances, {"task": "tasks/bits.yaml"}],
    )  # fmt: skip
    events = run(recipe, tmp_path)
    far, near = candidates_of(tmp_path)
    assert (far.status, near.status) == ("failed", "done")
    assert far.error is not None
    assert far.error.startswith("ArithmeticError: ")
    assert far.error.endswith(" is too far for me")
    assert not far.scores
    assert front_of(tmp_path) == [near.number]
    assert isinstance(events[-1], Ended)


def test_where_no_reference_can_be_scored_the_search_says_why(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe("hopeless", objectives=[{"tests.toy:Fussy": {"most": -1.0}}])
    with pytest.raises(UserError, match="no reference could be scored") as caught:
        run(recipe, tmp_path)
    assert caught.value.status == 1
    assert "ArithmeticError: 0.000 is too far for me" in str(caught.value)


def test_where_no_candidate_can_be_scored_the_search_says_why(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe("sad", objectives=[{"tests.toy:Fussy": {"most": 0.0}}], budget=2)
    with pytest.raises(UserError, match="no candidate could be scored") as caught:
        run(recipe, tmp_path)
    assert caught.value.status == 1
    assert "is too far for me" in str(caught.value)
    assert [t.status for t in candidates_of(tmp_path)] == ["failed", "failed"]


def test_the_front_keeps_every_threshold(
    toy: Toy, tmp_path: Path, trials: tuple[Trial, ...], out: Path
) -> None:
    on_front = [trials[number] for number in front_of(out)]
    distances = sorted(t.scores["sparsity"].value for t in on_front)
    assert len(distances) > 1
    bound = sum(distances[-2:]) / 2  # the farthest member of the usual front breaks it
    objectives = [
        {"task": "tasks/choice.yaml"},
        {"task": "tasks/bits.yaml"},
        {"sparsity": {}, "threshold": bound},
    ]
    run(toy.recipe("bound", budget=BUDGET, objectives=objectives), tmp_path)
    numbers = [t.number for t in on_front if t.scores["sparsity"].value <= bound]
    assert front_of(tmp_path) == numbers
    assert len(numbers) == len(on_front) - 1


def copied(toy: Toy, folder: Path) -> Toy:
    shutil.copytree(toy.folder / "models", folder / "models")
    shutil.copytree(toy.folder / "tasks", folder / "tasks")
    return Toy(folder)


def test_a_run_whose_sources_have_changed_is_not_continued(toy: Toy, tmp_path: Path) -> None:
    mine = copied(toy, tmp_path / "toy")
    recipe, out = mine.recipe("changing", budget=2), tmp_path / "run"
    search = loop.search(preflight.prepare(recipe, FLAGS), out)
    assert isinstance(search, Iterator)
    for event in search:
        if isinstance(event, Finished) and event.trial.number == 4:
            break
    search.close()
    before = dump(out)
    shutil.rmtree(mine.folder / "models" / "two")
    untrained(mine.folder / "models" / "two", layers=2, hidden=32, seed=77)
    with pytest.raises(UserError, match="two is not what it was when the run"):
        run(recipe, out, resume=True)
    assert dump(out) == before


def check_raised(parts: Path, whole: Path, before: int) -> None:
    """A run whose budget was raised from `before` is one that had it from the start."""
    mine, theirs = dump(parts), dump(whole)
    assert mine["fact"] == theirs["fact"]
    assert mine["trial"] == theirs["trial"]
    for table in ("score", "answers"):
        searched = [[r for r in d[table] if r[1] == "search"] for d in (mine, theirs)]
        assert searched[0] == searched[1]
    assert front_of(parts) == front_of(whole)
    for path in (whole / "front").iterdir():
        assert (parts / "front" / path.name).read_text() == path.read_text().replace(
            str(whole), str(parts)
        ).replace(f"of {whole.name}", f"of {parts.name}")
    # What was the front before was opened too, and is on record.
    with Archive.open(parts / loop.ARCHIVE, read_only=True) as archive:
        first = archive.openings()[: 3 + before]
        assert set(archive.openings()) >= {*first, *front_of(whole)}
        assert len(set(archive.openings())) == len(archive.openings())
        held = {t.number for t in archive.trials if t.holdout}
        assert held == set(archive.openings())


def test_a_raised_budget_continues_as_if_it_had_been_so_from_the_start(
    toy: Toy, tmp_path: Path, events: list[Event], out: Path
) -> None:
    recipe = toy.folder / "usual.yaml"
    run(recipe, tmp_path, budget=3)
    before = len(front_of(tmp_path))
    started = run(recipe, tmp_path, resume=True)[0]
    assert isinstance(started, Started)
    assert (started.budget, started.done) == (BUDGET, 6)
    check_raised(tmp_path, out, before)


def test_a_raised_budget_continues_with_a_surrogate_that_learns_the_same(
    toy: Toy, tmp_path: Path
) -> None:
    recipe = toy.recipe("learning", optimizer=QLOGNEHVI)
    run(recipe, tmp_path / "parts", budget=4)
    before = len(front_of(tmp_path / "parts"))
    run(recipe, tmp_path / "parts", budget=6, resume=True)
    run(recipe, tmp_path / "whole", budget=6)
    origins = [t.origin for t in candidates_of(tmp_path / "whole")]
    assert origins == ["recipe", "uniform", "sobol", *["qlognehvi"] * 3]
    check_raised(tmp_path / "parts", tmp_path / "whole", before)


def test_a_finished_search_that_is_resumed_changes_nothing(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe("again", budget=2)
    run(recipe, tmp_path)
    before, files = dump(tmp_path), (tmp_path / "trials.csv").read_text()
    events = run(recipe, tmp_path, resume=True)
    assert [type(e) for e in events] == [Started, Ended]
    assert dump(tmp_path) == before
    assert (tmp_path / "trials.csv").read_text() == files


def test_the_same_seed_gives_the_same_archive_and_another_another(
    toy: Toy, tmp_path: Path, events: list[Event], out: Path
) -> None:
    recipe = toy.folder / "usual.yaml"
    for name in ("a", "b"):
        run(recipe, tmp_path / name, seed=1, budget=3)
    assert dump(tmp_path / "a") == dump(tmp_path / "b")
    mine, usual = ([t.unit for t in candidates_of(folder)] for folder in (tmp_path / "a", out))
    assert mine[:2] == usual[:2]
    assert not set(mine[2:]) & set(usual[2:])
    asked = [
        json.loads((folder / "items" / "search.json").read_text())["toy_bits"]
        for folder in (out, tmp_path / "a")
    ]
    assert asked[0] != asked[1]


def test_asks_are_numbered_without_gaps(trials: tuple[Trial, ...]) -> None:
    asks = [t.ask for t in trials if t.ask is not None]
    assert all(b == a + 1 for a, b in pairwise(asks))

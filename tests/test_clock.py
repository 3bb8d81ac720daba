"""A budget of time, on a clock that the tests move."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergekit_mo import loop, preflight
from mergekit_mo.archive import Archive
from mergekit_mo.budget import UNBOUNDED, Budget
from mergekit_mo.clock import IMPORTED, SPENT, Clock
from mergekit_mo.console import Lines
from mergekit_mo.events import Finished, Started
from mergekit_mo.plan import plan_facts, plan_text
from mergekit_mo.trial import Goal, Measurement, Outcome
from tests.toy import FLAGS, Toy


class Hand:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def archived(*seconds: float) -> Archive:
    """An archive whose references took so many seconds."""
    archive = Archive.memory([Goal("a", True)])
    for i, took in enumerate(seconds):
        (trial,) = archive.propose("reference", [(f"m{i}", {})])
        scores = {"a": Measurement(float(i))}
        archive.finish(trial.number, Outcome(scores, {}, "d", None, took), 0.0)
    return archive


def test_without_a_time_it_always_allows_another() -> None:
    assert Clock(archived(5.0), Budget(3), 1.0).allows(1, 1)


def test_it_allows_what_ends_in_time() -> None:
    hand = Hand()
    clock = Clock(archived(10.0, 10.0), Budget(UNBOUNDED, 60), 0.0, hand)
    assert clock.spent == 20  # what the trials took, where nothing else is known
    hand.at += 30
    assert clock.allows(0, 1)
    assert not clock.allows(1, 1)  # behind one that runs it would end after 70
    assert clock.allows(1, 2)
    hand.at += 1
    assert not clock.allows(0, 1)


def test_it_leaves_time_for_the_hold_out() -> None:
    hand = Hand()
    archive = archived(10.0, 10.0)  # two parents to be scored on half as many items
    clock = Clock(archive, Budget(UNBOUNDED, 60), 0.5, hand)
    hand.at += 20
    assert clock.allows(0, 1)  # 40 + 10 + 2 * 5
    hand.at += 1
    assert not clock.allows(0, 1)
    assert clock.allows(0, 2)


def test_pauses_do_not_count() -> None:
    hand = Hand()
    archive = archived(10.0)
    first = Clock(archive, Budget(UNBOUNDED, 60), 0.0, hand)
    hand.at += 12
    first.mark()
    assert archive.fact(SPENT) == 22
    hand.at += 10_000
    second = Clock(archive, Budget(UNBOUNDED, 60), 0.0, hand)
    assert second.spent == 22
    hand.at += 3
    assert second.spent == 25


@pytest.fixture(scope="module")
def out(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("timed") / "run"


def test_a_search_ends_when_its_time_does_and_goes_on_with_more(toy: Toy, out: Path) -> None:
    recipe = toy.recipe(
        "timed", objectives=[{"task": "tasks/choice.yaml"}, "sparsity"], budget="0.001s"
    )
    ready = preflight.prepare(recipe, FLAGS)
    events = list(loop.search(ready, out))
    assert isinstance(events[0], Started)
    assert (events[0].budget, events[0].seconds) == (UNBOUNDED, 0.001)
    with Archive.open(out, read_only=True) as archive:
        assert [t.origin for t in archive.candidates] == ["recipe", "uniform"]
        assert all(t.holdout for t in archive.references)
        spent = archive.fact(SPENT)
        assert spent >= sum(t.seconds or 0 for t in archive.trials)
    ready = preflight.prepare(recipe, FLAGS, budget=f"{spent + 600:.0f}s")
    events = []
    for event in loop.search(ready, out, resume=True):
        events.append(event)
        if isinstance(event, Finished):
            break
    with Archive.open(out, read_only=True) as archive:
        assert archive.candidates[2].status == "done"
        assert archive.fact(SPENT) > spent
    ready = preflight.prepare(recipe, FLAGS, budget={"trials": 3, "time": "1h"})  # type: ignore[arg-type]
    list(loop.search(ready, out, resume=True))
    with Archive.open(out, read_only=True) as archive:
        assert [t.status for t in archive.candidates] == ["done"] * 3


def test_it_is_told_before_and_while_it_is_spent(
    toy: Toy, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    ready = preflight.prepare(toy.folder / "timed.yaml", FLAGS, budget="8h")
    facts = plan_facts(ready)
    assert (facts["budget"], facts["budget_seconds"], facts["merges"]) == (None, 28800, None)
    assert "cost: merges for 8h by sobol and 3 reference trials, 8 items answered by each;" in (
        plan_text(ready)
    )
    with Archive.open(out, read_only=True) as archive:
        Lines(Console(), Console(stderr=True)).show(Started(archive, out, UNBOUNDED, 0, 28800.0))
    assert "the search starts, merges for 8h in all" in capsys.readouterr().err


def test_what_another_run_spent_is_not_counted() -> None:
    with archived(5.0, 7.0) as archive:
        archive.remember(IMPORTED, {"run": "old", "trials": [0]})
        assert Clock(archive, Budget(3, 60.0), 0.0, Hand()).spent == 7.0

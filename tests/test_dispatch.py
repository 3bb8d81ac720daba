"""Searches with several workers, whose time is simulated and whose work is made up."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest

from mergekit_mo import loop, preflight
from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.evaluate import Job
from mergekit_mo.events import Event, Finished, Warned
from mergekit_mo.executors import Executor
from mergekit_mo.preflight import Ready
from mergekit_mo.testing.simulated import Simulated
from mergekit_mo.trial import Measurement, Trial
from tests.toy import FLAGS, Toy, Wide

BUDGET, WORKERS = 16, 4


@pytest.fixture(scope="module")
def ready(toy: Toy) -> Ready:
    recipe = toy.recipe("dispatched", budget=BUDGET, optimizer="tests.toy:Wide")
    return preflight.prepare(recipe, FLAGS)


def work(job: Job) -> Outcome:
    """Scores that depend on the configuration alone."""
    draw = random.Random(str(job.config))
    scores = {name: Measurement(draw.random()) for name in ("toy_choice", "toy_bits", "sparsity")}
    return Outcome(scores, {}, str(job.config), None, 1.0)


def seconds(job: Job) -> float:
    return random.Random(job.number).lognormvariate(3, 1)


def simulated(slots: int) -> Simulated[Job, Outcome]:
    return Simulated(work, slots, seconds, lambda: 0.0)


def hiring(executor: Executor[Job, Outcome]) -> Callable[[Ready], Executor[Job, Outcome]]:
    return lambda _: executor


def trials_of(out: Path) -> tuple[Trial, ...]:
    with Archive.open(out, read_only=True) as archive:
        return archive.trials


def finished(events: Sequence[Event]) -> list[int]:
    return [e.trial.number for e in events if isinstance(e, Finished)]


def test_outcomes_are_recorded_as_workers_finish(ready: Ready, tmp_path: Path) -> None:
    events = list(loop.search(ready, tmp_path, hire=hiring(simulated(WORKERS))))
    numbers = finished(events)
    assert sorted(numbers) == list(range(3 + BUDGET))
    assert numbers != sorted(numbers)
    trials = trials_of(tmp_path)
    assert {t.status for t in trials} == {"done"}
    assert len({t.unit for t in trials[3:]}) == BUDGET


def test_the_optimizer_is_asked_while_the_others_run(ready: Ready, tmp_path: Path) -> None:
    Wide.asked.clear()
    list(loop.search(ready, tmp_path, hire=hiring(simulated(WORKERS))))
    first, *later = Wide.asked
    assert first == (2, WORKERS + 1 - 2)  # the recipe's own values and the uniform mix run
    assert later == [(WORKERS, 1)] * (BUDGET - WORKERS - 1)  # each with the others pending


def test_no_worker_idles_before_the_budget_is_spent(ready: Ready, tmp_path: Path) -> None:
    executor = simulated(WORKERS)
    for event in loop.search(ready, tmp_path, hire=hiring(executor)):
        if isinstance(event, Finished) and len(trials_of(tmp_path)) < 3 + BUDGET:
            assert len(executor.running) == WORKERS or event.trial.role == "reference"


def test_more_workers_than_trials_ask_for_no_more_than_the_budget(
    ready: Ready, tmp_path: Path
) -> None:
    list(loop.search(ready, tmp_path, hire=hiring(simulated(100))))
    assert len(trials_of(tmp_path)) == 3 + BUDGET


def test_a_search_that_is_stopped_loses_nothing_and_asks_nothing_twice(
    ready: Ready, tmp_path: Path
) -> None:
    done: dict[int, Trial] = {}
    kept = []
    for count in (1, 5, 2, 4, 100):
        search = loop.search(ready, tmp_path, resume=True, hire=hiring(simulated(WORKERS)))
        for event in islice((e for e in search if isinstance(e, Finished)), count):
            assert event.trial.number not in done
            done[event.trial.number] = event.trial
        search.close()
        trials = {t.number: t for t in trials_of(tmp_path)}
        assert all(replace(trials[n], holdout={}) == t for n, t in done.items())
        kept.append({n: t.unit for n, t in trials.items()})
    assert all(a.items() <= b.items() for a, b in pairwise(kept))
    assert len(done) == 3 + BUDGET
    units = Counter(unit for unit in kept[-1].values() if unit)
    assert set(units.values()) == {1}


def test_candidates_that_belong_together_are_asked_for_when_all_of_them_are_back(
    toy: Toy, tmp_path: Path
) -> None:
    optimizer = {"tests.toy:Wide": {"together": 5}}
    ready = preflight.prepare(toy.recipe("rounds", budget=14, optimizer=optimizer), FLAGS)
    Wide.asked.clear()
    list(loop.search(ready, tmp_path, hire=hiring(simulated(WORKERS))))
    assert Wide.asked == [(0, 5), (0, 5), (0, 2)]


def test_a_space_that_is_used_up_is_told_once_and_what_runs_is_waited_for(
    toy: Toy, tmp_path: Path
) -> None:
    weight = {"value": 0.5, "choices": [0.5, 0.25, 0.75]}
    models = [
        {"model": "models/one", "parameters": {"weight": weight}},
        {"model": "models/two", "parameters": {"weight": 0.5}},
    ]
    ready = preflight.prepare(toy.recipe("few", models=models, budget=9), FLAGS)
    events = list(loop.search(ready, tmp_path, hire=hiring(simulated(WORKERS))))
    assert [e.message for e in events if isinstance(e, Warned)] == [
        "the space has no more candidates"
    ]
    assert [t.status for t in trials_of(tmp_path)] == ["done"] * 6


class Stuttering(Simulated[Job, Outcome]):
    """Gives every result twice, the second time with other scores: a worker that woke late."""

    late: tuple[Job, Outcome] | None = None

    def wait(self) -> tuple[Job, Outcome]:
        if self.late is not None:
            late, self.late = self.late, None
            return late
        job, outcome = super().wait()
        self.late = job, replace(outcome, scores={}, error="late")
        return job, outcome

    def ready(self) -> bool:
        return self.late is not None or super().ready()


def test_a_result_that_nobody_waits_for_any_more_is_dropped(ready: Ready, tmp_path: Path) -> None:
    executor = Stuttering(work, WORKERS, seconds, lambda: 0.0)
    events = list(loop.search(ready, tmp_path, hire=hiring(executor)))
    assert sorted(finished(events)) == list(range(3 + BUDGET))
    assert {t.status for t in trials_of(tmp_path)} == {"done"}


def test_simulated_workers_idle_while_the_search_thinks() -> None:
    clock = iter(range(0, 1000, 5))  # every look at the clock is five seconds after the last
    executor: Simulated[int, int] = Simulated(
        lambda job: job, 1, lambda _: 12.0, lambda: next(clock)
    )
    for job in range(3):
        executor.submit(job)
    assert [executor.wait()[0] for _ in range(3)] == [0, 1, 2]
    assert sum(end - start for start, end in executor.spans) == 36
    assert executor.now >= 36 + 5


def test_a_front_member_that_merges_to_other_weights_gets_a_warning_and_no_hold_out(
    ready: Ready, tmp_path: Path
) -> None:
    def fickle(job: Job) -> Outcome:
        outcome = work(job)
        return replace(outcome, digest="others") if job.split == "holdout" else outcome

    executor = Simulated(fickle, 1, seconds, lambda: 0.0)
    events = list(loop.search(ready, tmp_path, hire=hiring(executor)))
    warnings = [e.message for e in events if isinstance(e, Warned)]
    front = [t.number for t in trials_of(tmp_path) if t.holdout]
    assert front == []
    assert len(warnings) > 3
    assert all("merged to other weights than those that were scored" in text for text in warnings)

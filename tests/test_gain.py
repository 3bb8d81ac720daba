"""The first line of a finished search: chosen by search scores, told by the hold-out, honest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.gain import answer, own_trial
from mergekit_mo.space import Candidate
from mergekit_mo.trial import Goal, Measurement

GOALS = [Goal("sums", True), Goal("cost", False)]
ITEMS = 50
RNG = np.random.default_rng(0)
HARD = RNG.uniform(size=ITEMS)


def values(mean: float, spread: float = 0.05) -> list[float]:
    """Items of about a mean: hard or easy for everybody, and a little of their own."""
    own = RNG.normal(size=ITEMS) * spread
    found = HARD - HARD.mean() + own - own.mean() + mean
    return [float(v) for v in found]


def outcome(sums: Sequence[float], cost: float, *, items: bool = True) -> Outcome:
    array = np.array(sums)
    error = float(array.std(ddof=1) / math.sqrt(len(array)))
    scores = {
        "sums": Measurement(float(array.mean()), error, len(array)),
        "cost": Measurement(cost),
    }
    answers = {"quiz": {"values": {"acc,none": list(sums)}}} if items else {}
    return Outcome(scores, answers, "d", None, 1.0)


Entry = tuple[str, Outcome, Outcome | None]


def planted(entries: Sequence[Entry], goals: Sequence[Goal] = GOALS, **facts: Any) -> Archive:
    """Two parents, and candidates of an origin with their search and hold-out outcomes."""
    measures = {"measures": {"sums": ["quiz", "acc,none"]}}
    archive = Archive.create(":memory:", goals, {**measures, **facts})
    archive.propose("reference", [("a", {}), ("b", {})])
    archive.finish(0, outcome(values(0.0), 0.0), 0.0)
    archive.finish(1, outcome(values(1.0), 1.0), 0.0)
    for i, (origin, found, held) in enumerate(entries):
        (trial,) = archive.propose("candidate", [(Candidate((i / 8,), origin), {})])
        archive.finish(trial.number, found, 0.0)
        if held is not None:
            archive.finish(trial.number, held, 0.0, "holdout")
    return archive


def entry(origin: str, mean: float, cost: float, held: float | None = None) -> Entry:
    later = None if held is None else outcome(values(held), cost)
    return origin, outcome(values(mean), cost), later


def test_the_trial_is_chosen_by_search_scores_and_told_by_the_hold_out() -> None:
    archive = planted(
        [
            entry("recipe", 0.3, 0.5, 0.31),
            entry("sobol", 0.9, 0.4, 0.35),  # the best by search scores, hardly so by the rest
            entry("sobol", 0.8, 0.45, 0.9),
        ]
    )
    found = answer(archive)
    assert found is not None
    assert (found.trial.number, found.split) == (3, "holdout")
    assert found.own is not None
    assert found.own.number == 2
    sums, cost = found.gains
    assert sums.gain == pytest.approx(0.04)
    assert cost.gain == pytest.approx(0.1)  # less is better, and so a gain


def test_the_interval_is_that_of_a_paired_test() -> None:
    archive = planted([entry("recipe", 0.3, 0.5, 0.30), entry("sobol", 0.9, 0.4, 0.32)])
    found = answer(archive)
    assert found is not None
    sums = found.gains[0]
    first, second = (archive.answers(n, "holdout", "quiz")["values"]["acc,none"] for n in (2, 3))
    interval = ttest_rel(second, first).confidence_interval(0.95)
    assert sums.half is not None
    assert (sums.gain - sums.half, sums.gain + sums.half) == pytest.approx(
        (interval.low, interval.high)
    )
    assert sums.paired
    assert sums.significant == (interval.low > 0)


def test_a_gain_within_its_interval_is_called_not_significant() -> None:
    archive = planted([entry("recipe", 0.3, 0.5, 0.300), entry("sobol", 0.9, 0.5, 0.301)])
    found = answer(archive)
    assert found is not None
    told = found.line()
    assert told.startswith(
        "trial 3, alone on the front, against the recipe's own values (trial 2) on the hold-out "
        "(gain, 95% interval; + is better): sums +0.00100 ["
    )
    assert told.endswith("] not significant; cost equal")


def test_a_loss_on_the_hold_out_is_told_as_one() -> None:
    archive = planted([entry("recipe", 0.3, 0.5, 0.7), entry("sobol", 0.9, 0.4, 0.2)])
    found = answer(archive)
    assert found is not None
    assert found.gains[0].significant
    assert "sums -0.500 [-0." in found.line()


def test_without_items_the_error_is_that_of_both_scores() -> None:
    def held(mean: float) -> Outcome:
        return outcome(values(mean), 0.5, items=False)

    archive = planted(
        [
            ("recipe", outcome(values(0.3), 0.5), held(0.3)),
            ("sobol", outcome(values(0.9), 0.5), held(0.6)),
        ]
    )
    found = answer(archive)
    assert found is not None
    gain = found.gains[0]
    assert not gain.paired
    errors = [gain.own.stderr, gain.best.stderr]
    assert gain.half == pytest.approx(math.hypot(*(e or 0.0 for e in errors)) * 2.0096, rel=1e-4)
    assert gain.facts()["significant"] is True


def test_without_a_hold_out_the_search_items_are_named_as_such() -> None:
    archive = planted([entry("recipe", 0.3, 0.5), entry("sobol", 0.9, 0.4)])
    found = answer(archive)
    assert found is not None
    assert "on the search items (no hold-out)" in found.line()


def test_the_stated_preference_chooses() -> None:
    entries = [entry("recipe", 0.3, 0.5), entry("sobol", 0.9, 0.6), entry("sobol", 0.2, 0.05)]
    for weights, number, words in (
        ({"sums": 3.0, "cost": 1.0}, 3, "best for sums 75%, cost 25%"),
        ({"cost": 2.0}, 4, "best for cost 100%"),
    ):
        archive = planted(entries, preference={"weights": weights, "at_least": {}})
        found = answer(archive)
        assert found is not None
        assert (found.trial.number, found.why) == (number, words)
    archive = planted(entries, preference={"weights": {}, "at_least": {"cost": 0.1}})
    found = answer(archive)
    assert found is not None
    assert (found.trial.number, found.why) == (4, "best that keeps cost 0.1")
    both = {"weights": {"sums": 1.0}, "at_least": {"cost": 0.1}}
    found = answer(planted(entries, preference=both))
    assert found is not None
    assert found.trial.number == 4
    none = {"weights": {}, "at_least": {"cost": -1.0}}
    found = answer(planted(entries, preference=none))
    assert found is not None
    assert found.why == "nearest to bounds that none keeps"


def test_own_values_that_are_the_best_are_called_so() -> None:
    found = answer(planted([entry("recipe", 0.9, 0.1), entry("sobol", 0.3, 0.5)]))
    assert found is not None
    assert found.line() == (
        "trial 2, alone on the front, is the recipe's own values: the search found nothing better "
        "there"
    )
    assert found.facts()["gains"] == []


def test_own_values_that_failed_are_no_obstacle() -> None:
    lost = Outcome({}, {}, None, "MergeError: no", 1.0)
    archive = planted([("recipe", lost, None), entry("sobol", 0.3, 0.5)])
    found = answer(archive)
    assert found is not None
    assert found.line().endswith("; the recipe's own values could not be scored")


def test_an_empty_front_has_no_answer() -> None:
    goals = [Goal("sums", True, 2.0), GOALS[1]]
    archive = planted([entry("recipe", 0.9, 0.1)], goals)
    assert answer(archive) is None
    assert own_trial(archive) is not None
    assert own_trial(Archive.memory(GOALS)) is None

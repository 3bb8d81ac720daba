from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.choose import (
    UnknownGoalError,
    UnmetError,
    at_least,
    knee,
    knee_row,
    numbered,
    prefer,
    read_amounts,
)
from mergekit_mo.pareto import nondominated
from mergekit_mo.problems import UserError
from mergekit_mo.space import Candidate
from mergekit_mo.trial import Goal, Measurement

Rows = Sequence[Sequence[float]]

TWO = (Goal("task", True), Goal("other", True))
CORNERS = ((0.0, 1.0), (1.0, 0.0))
CONVEX = ((0.0, 1.0), (0.4, 0.95), (0.8, 0.8), (0.95, 0.4), (1.0, 0.0))
CONCAVE = ((0.0, 1.0), (0.05, 0.6), (0.3, 0.31), (0.6, 0.05), (1.0, 0.0))


@contextmanager
def run(
    rows: Rows, goals: Sequence[Goal] = TWO, parents: Rows = CORNERS, stderr: float | None = None
) -> Iterator[Archive]:
    """An archive of parents and candidates with these scores, the parents numbered first."""

    def outcome(row: Sequence[float]) -> Outcome:
        scores = {g.name: Measurement(v, stderr) for g, v in zip(goals, row, strict=True)}
        return Outcome(scores, {}, "abc", None, 1.0)

    with Archive.memory(goals) as archive:
        for i, row in enumerate(parents):
            (trial,) = archive.propose("reference", [(f"org/parent{i}", {})])
            archive.finish(trial.number, outcome(row), 0.0)
        for i, row in enumerate(rows):
            candidate = Candidate((i / 64, 0.5), "sobol")
            (trial,) = archive.propose("candidate", [(candidate, {"i": i})], 0)
            archive.finish(trial.number, outcome(row), 0.0)
        yield archive


def row_of(archive: Archive, number: int) -> int:
    return number - len(archive.references)


# The knee.


def test_the_knee_of_a_convex_front_is_where_it_bends_outwards() -> None:
    with run(CONVEX) as archive:
        choice = knee(archive)
        assert row_of(archive, choice.trial.number) == 2
        assert "farthest beyond the plane" in choice.why


def test_a_concave_front_has_no_knee_and_gives_the_most_even_trade_off() -> None:
    with run(CONCAVE) as archive:
        choice = knee(archive)
        assert row_of(archive, choice.trial.number) == 2
        assert "there is no knee" in choice.why


def test_a_straight_front_gives_its_middle() -> None:
    with run([(i / 4, 1 - i / 4) for i in range(5)]) as archive:
        choice = knee(archive)
        assert row_of(archive, choice.trial.number) == 2
        assert "there is no knee" in choice.why


def test_the_knee_of_a_disconnected_front_is_on_its_more_bulging_piece() -> None:
    front = [(0.0, 1.0), (0.1, 0.99), (0.2, 0.97), (0.8, 0.7), (0.85, 0.6), (0.9, 0.2), (1.0, 0.0)]
    with run(front) as archive:
        assert row_of(archive, knee(archive).trial.number) == 3


def test_of_trials_with_equal_scores_the_first_is_taken() -> None:
    with run([*CONVEX, CONVEX[2], CONVEX[2], CONVEX[0]]) as archive:
        assert row_of(archive, knee(archive).trial.number) == 2
    assert knee_row(np.array([CONVEX[0], CONVEX[2], CONVEX[2], CONVEX[4], CONVEX[4]])) == 1


@pytest.mark.parametrize("rule", [knee, lambda a: prefer(a, {"task": 1})])
def test_a_front_of_one_trial_gives_that_trial(rule: object) -> None:
    assert callable(rule)
    with run([(0.2, 0.1), (0.5, 0.5)]) as archive:
        choice = rule(archive)
        assert row_of(archive, choice.trial.number) == 1
        assert [t.place for t in choice.goals] == [None, None]


def test_two_trials_are_both_extremes_and_the_first_is_taken() -> None:
    with run([(0.0, 1.0), (1.0, 0.0)]) as archive:
        assert row_of(archive, knee(archive).trial.number) == 0


def test_the_knee_does_not_change_with_a_goals_direction_units_or_anchors() -> None:
    goals = (Goal("task", True), Goal("bytes", False))
    rows = [(a, 1e6 - 1e4 * b) for a, b in CONVEX]
    for parents in ([(0.0, 1e6), (1.0, 0.9e6)], [(0.5, 7.0), (0.5, 7.0)], []):
        with run(rows, goals, parents) as archive:
            assert row_of(archive, knee(archive).trial.number) == 2


def test_a_goal_on_which_the_front_does_not_differ_is_left_out() -> None:
    goals = (*TWO, Goal("flat", False))
    with run([(*row, 3.0) for row in CONVEX], goals, [(*c, 3.0) for c in CORNERS]) as archive:
        assert row_of(archive, knee(archive).trial.number) == 2


@pytest.mark.parametrize("m", [3, 4, 5])
def test_the_knee_of_several_goals_is_found(m: int) -> None:
    rows = [tuple(row) for row in np.eye(m)]
    rows += [tuple(0.3 + 0.5 * row) for row in np.eye(m)]
    rows.insert(2, (0.7,) * m)
    goals = [Goal(f"goal{i}", True) for i in range(m)]
    with run(rows, goals, parents=[(0.0,) * m, (1.0,) * m]) as archive:
        assert row_of(archive, knee(archive).trial.number) == 2


def test_extremes_that_give_no_falling_plane_do_not_mislead() -> None:
    # Best in the third goal is nearly best in the others too: the plane through the extremes
    # would make that goal worth less than nothing.
    Y = np.array([(1, 0, 0), (0, 1, 0), (0.9, 0.9, 0.05), (0.95, 0.95, 0.04), (0.5, 0.5, 0.045)])
    row = knee_row(Y)
    assert row is not None
    assert row in (2, 3)
    # One trial is best in two goals: three extremes, two of them the same.
    assert knee_row(np.array([(1, 1, 0), (0, 0, 1), (0.8, 0.8, 0.8)])) == 2


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    Y=st.tuples(st.integers(1, 12), st.integers(1, 5)).flatmap(
        lambda shape: arrays(float, shape, elements=st.integers(0, 4).map(float))
    )
)
def test_any_front_has_a_knee_or_none_whatever_its_scales(Y: np.ndarray) -> None:
    front = Y[nondominated(Y)]
    row = knee_row(front)
    assert row is None or 0 <= row < len(front)
    stretch = 10.0 ** np.arange(front.shape[1])
    assert knee_row(front * stretch + 5) == row


def test_what_is_beyond_a_threshold_is_never_chosen_by_a_rule() -> None:
    goals = (Goal("task", True, 0.5), Goal("other", True, 0.3))
    rows = [(0.0, 1.0), (0.45, 0.99), (0.6, 0.6), (0.8, 0.5), (0.99, 0.29), (1.0, 0.0)]
    with run(rows, goals) as archive:
        able = {2, 3}
        choices = [knee(archive), prefer(archive, {"task": 1}), prefer(archive, {"other": 1})]
        choices += [at_least(archive, {"task": 0.2}), at_least(archive, {"other": 0.1})]
        assert {row_of(archive, c.trial.number) for c in choices} <= able


@pytest.mark.parametrize("rows", [[], [(0.1, 0.1)]])
def test_an_empty_front_is_an_error_that_says_why(rows: Rows) -> None:
    goals = (Goal("task", True, 0.5), Goal("other", True))
    with run(rows, goals) as archive, pytest.raises(UserError, match="front is empty") as told:
        knee(archive)
    assert ("beyond a threshold" in str(told.value)) == bool(rows)


# A preference.


@pytest.mark.parametrize("front", [CONVEX, CONCAVE])
def test_a_preference_moves_along_any_front(front: Rows) -> None:
    with run(front) as archive:
        chosen = [
            row_of(archive, prefer(archive, {"task": w, "other": 1 - w}).trial.number)
            for w in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
        ]
    assert chosen == sorted(chosen)
    assert chosen[0] == 0
    assert chosen[3] == 2
    assert chosen[-1] == 4


def test_every_trial_of_a_concave_front_is_somebodys_preference() -> None:
    # A weighted sum would never choose any but the extremes.
    with run(CONCAVE) as archive:
        weights = np.linspace(0.001, 0.999, 200)
        found = {prefer(archive, {"task": w, "other": 1 - w}).trial.number for w in weights}
        assert {row_of(archive, n) for n in found} == {0, 1, 2, 3, 4}


def test_weights_are_shares() -> None:
    with run(CONVEX) as archive:
        one, two = (
            prefer(archive, {"task": 7, "other": 3}),
            prefer(archive, {"task": 0.7, "other": 0.3}),
        )
        assert one == two
        assert "task 70%, other 30%" in one.why


def test_goals_without_a_weight_break_ties() -> None:
    goals = (*TWO, Goal("third", False))
    rows = [(1.0, 0.2, 3.0), (1.0, 0.3, 1.0), (0.5, 1.0, 0.0)]
    with run(rows, goals, [(0, 0, 4.0), (1, 1, 0)]) as archive:
        assert row_of(archive, prefer(archive, {"task": 1}).trial.number) == 1


def test_a_goal_without_anchors_is_scaled_by_the_front() -> None:
    # In its own units a million would drown the other goal.
    goals = (Goal("task", True), Goal("size", False))
    rows = [(a, -1e6 * b) for a, b in CONVEX]
    with run(rows, goals, [(0.0, 5.0), (1.0, 5.0)]) as archive:
        assert row_of(archive, prefer(archive, {"task": 1, "size": 1}).trial.number) == 2


def test_the_ideal_is_that_of_front_and_parents() -> None:
    # By the front's own ideal, (0.9, 0.3), the first would be nearer.
    with run([(0.9, 0.2), (0.5, 0.3)]) as archive:
        assert row_of(archive, prefer(archive, {"task": 1, "other": 1}).trial.number) == 1


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"tsk": 1.0}, "did you mean 'task'"),
        ({"task": -1.0, "other": 2.0}, "0 or more"),
        ({"task": 0.0}, "above 0"),
        ({}, "above 0"),
        ({"task": float("nan")}, "finite"),
        ({"task": float("inf")}, "finite"),
    ],
)
def test_weights_that_make_no_sense_are_told(weights: dict[str, float], told: str) -> None:
    with run(CONVEX) as archive, pytest.raises(UserError, match=told) as error:
        prefer(archive, weights)
    assert error.value.status == 2


def test_an_unknown_goal_names_the_one_that_was_meant() -> None:
    with run(CONVEX) as archive, pytest.raises(UnknownGoalError) as error:
        at_least(archive, {"othr": 0.4})
    assert (error.value.name, error.value.meant) == ("othr", "other")


# Bounds.


def test_bounds_are_kept_and_the_rest_is_as_good_as_can_be() -> None:
    with run(CONVEX) as archive:
        assert row_of(archive, at_least(archive, {"task": 0.5}).trial.number) == 2
        assert row_of(archive, at_least(archive, {"task": 0.81}).trial.number) == 3
        assert row_of(archive, at_least(archive, {"task": 0.8, "other": 0.1}).trial.number) == 2


def test_a_bound_on_what_is_minimised_is_a_most() -> None:
    goals = (Goal("task", True), Goal("loss", False))
    rows = [(a, 1 - b) for a, b in CONVEX]
    with run(rows, goals, [(0.0, 1.0), (1.0, 0.0)]) as archive:
        choice = at_least(archive, {"loss": 0.1})
        assert row_of(archive, choice.trial.number) == 1
        assert "loss ≤ 0.1" in choice.why


def test_a_bound_counts_the_very_value_as_kept() -> None:
    with run(CONVEX) as archive:
        assert row_of(archive, at_least(archive, {"other": 0.95}).trial.number) == 1


def test_bounds_that_nothing_keeps_name_the_nearest_and_what_it_misses() -> None:
    with run(CONVEX) as archive, pytest.raises(UnmetError) as error:
        at_least(archive, {"task": 0.9, "other": 0.85})
    assert error.value.nearest == 4
    assert "task 0.8 misses 0.9 by 0.1" in str(error.value)
    assert "other 0.8 misses 0.85 by 0.05" in str(error.value)


def test_a_bound_that_is_kept_within_the_error_is_noted() -> None:
    with run(CONVEX, stderr=0.05) as archive:
        (note,) = at_least(archive, {"task": 0.78}).notes
        assert "less than the standard error" in note
        assert not at_least(archive, {"task": 0.7}).notes


# A number.


def test_a_number_takes_any_scored_trial_and_says_what_speaks_against_it() -> None:
    goals = (Goal("task", True, 0.2), Goal("other", True))
    with run([(0.8, 0.8), (0.7, 0.7), (0.1, 0.99), (0.8, 0.8)], goals) as archive:
        assert numbered(archive, 2).notes == ()
        assert "dominated: as good or better on every goal is 2" in numbered(archive, 3).notes[0]
        assert "beyond a threshold: task 0.1, not task ≥ 0.2" in numbered(archive, 4).notes[0]
        assert "same scores as trial 2" in numbered(archive, 5).notes[0]
        assert "is a parent as it is" in numbered(archive, 0).notes[0]


def test_a_number_that_was_not_scored_is_an_error_that_names_the_front() -> None:
    with run(CONVEX) as archive:
        candidates: list[tuple[Candidate | str, dict[str, float]]] = [
            (Candidate((x, 0.1), "sobol"), {}) for x in (0.1, 0.2)
        ]
        failed, waiting = archive.propose("candidate", candidates, 1)
        archive.finish(failed.number, Outcome({}, {}, None, "out of memory\nat …", 1.0), 0.0)
        told = {
            failed.number: "failed: out of memory;",
            waiting.number: "not been run",
            99: "no trial",
        }
        for number, words in told.items():
            with pytest.raises(UserError, match=words) as error:
                numbered(archive, number)
            assert "on the front: 2, 3, 4, 5, 6" in str(error.value)


# What it costs.


def test_what_was_traded_is_told_for_each_goal() -> None:
    goals = (Goal("task", True), Goal("loss", False))
    rows = [(a, 1 - b) for a, b in CONVEX]
    with run(rows, goals, [(0.0, 1.0), (0.9, 0.5)], stderr=0.01) as archive:
        choice = knee(archive)
    task, loss = choice.goals
    assert (task.worst, task.best, task.parent) == (0.0, 1.0, "parent1")
    assert (loss.worst, loss.best) == (1.0, 0.0)
    assert task.place == loss.place == pytest.approx(0.8)
    assert task.over_parent == pytest.approx(-0.1)
    assert loss.over_parent == pytest.approx(0.3)
    assert loss.to_best == pytest.approx(0.2)
    first, second = choice.traded()
    assert first.startswith("task ↑  0.8 [0.780, 0.820]")
    assert "front 0 to 1; 80% of the way, 0.2 short of the best" in first
    assert first.endswith("0.1 worse than the best parent, parent1")
    assert second.endswith("0.3 better than the best parent, parent1")


def test_a_run_whose_parents_were_not_scored_still_gives_choices() -> None:
    with run(CONVEX, parents=[]) as archive:
        choice = knee(archive)
        assert choice.trial.number == 2
        assert choice.goals[0].parent is None
        assert "parent" not in " ".join(choice.traded())


def test_the_holdout_chooses_nothing() -> None:
    with run(CONVEX) as archive:
        before = knee(archive).trial.number
        for trial in archive.front():
            value = 9.0 if trial.number == 2 else -9.0
            scores = {g.name: Measurement(value) for g in TWO}
            archive.finish(trial.number, Outcome(scores, {}, None, None, 1.0), 0.0, "holdout")
        assert knee(archive).trial.number == before


# The command line's amounts.


@pytest.mark.parametrize(
    ("texts", "amounts"),
    [
        (["task=0.7,other=0.3"], {"task": 0.7, "other": 0.3}),
        (["task=1", " other = 1e-3 "], {"task": 1.0, "other": 1e-3}),
        (
            ["gsm8k:exact_match,strict-match=0.5,b=-2"],
            {"gsm8k:exact_match,strict-match": 0.5, "b": -2},
        ),
    ],
)
def test_amounts_are_read(texts: list[str], amounts: dict[str, float]) -> None:
    assert read_amounts(texts, "--prefer") == amounts


@pytest.mark.parametrize(
    "text", ["", "task", "task=", "=1", "task=high", "task=1,other", "task=1e"]
)
def test_amounts_of_another_form_are_told(text: str) -> None:
    with pytest.raises(UserError, match="--prefer takes GOAL=NUMBER"):
        read_amounts([text], "--prefer")


def test_a_goal_that_is_named_twice_is_told() -> None:
    with pytest.raises(UserError, match="names task twice"):
        read_amounts(["task=1", "task=2"], "--prefer")

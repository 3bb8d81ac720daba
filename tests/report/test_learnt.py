from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mergekit_mo.report.learnt import (
    LEAST,
    Lesson,
    chosen_rows,
    learnt_facts,
    lesson_of,
    process_of,
    total_indices,
)
from mergekit_mo.testing.planted import (
    MIXED,
    constant,
    make_goals,
    plain_space,
    planted,
    ridge,
    small_space,
)
from mergekit_mo.trial import Goal


def lesson(function: object, n: int, goals: int = 1, dim: int = 4) -> Lesson:
    with planted(plain_space(dim), make_goals(goals), function, n) as archive:  # type: ignore[arg-type]
        return lesson_of(archive)


def test_total_indices_are_those_of_ishigamis_function() -> None:
    """Ishigami and Homma 1990, a=7, b=0.1: 0.5576, 0.4424, 0.2437 (Saltelli et al. 2008)."""

    def ishigami(X: np.ndarray) -> np.ndarray:
        x, y, z = (2 * np.pi * X - np.pi).T
        return np.asarray(np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x))

    found = total_indices(ishigami, [[0], [1], [2], [0, 2]], [0, 0, 0], samples=4096)
    assert found is not None
    assert found == pytest.approx([0.5576, 0.4424, 0.2437, 0.5576], abs=0.02)


def test_a_choice_is_asked_in_the_middle_of_its_stretches() -> None:
    seen: list[np.ndarray] = []

    def function(X: np.ndarray) -> np.ndarray:
        seen.append(X)
        return np.asarray(X[:, 0])

    total_indices(function, [[0], [1]], [3, 0], samples=64)
    assert {round(float(v), 6) for v in np.concatenate(seen)[:, 0]} == {0.166667, 0.5, 0.833333}


def test_a_function_that_does_not_vary_has_no_importance() -> None:
    assert total_indices(lambda X: np.ones(len(X)), [[0]], [0]) is None


def test_the_hole_that_acts_is_found_and_the_idle_ones_are_not() -> None:
    def steep(unit: Sequence[float]) -> list[float]:
        return [unit[1] ** 2 + 0.2 * unit[3]]

    (goal,) = learnt_facts(lesson(steep, 24))["goals"]
    holes = goal["importance"]["holes"]
    assert np.argmax(holes) == 1
    assert holes[1] > 0.8
    assert max(holes[0], holes[2]) < 0.02
    assert goal["check"]["explained"] > 0.95


def test_a_goal_of_pure_noise_is_not_explained() -> None:
    rng = np.random.default_rng(0)
    (goal,) = learnt_facts(lesson(lambda _: [rng.normal()], 40))["goals"]
    assert goal["check"]["explained"] < 0.3


def test_leaving_one_out_is_what_the_process_says_without_the_trial() -> None:
    from mergekit_mo.optimizers import _surrogate as surrogates

    own = lesson(ridge(1), 12)
    with surrogates.private_randomness(0):
        surrogate = surrogates.learn(own.data, own.scales, surrogates.Learning(50))
    assert surrogate is not None
    process = process_of(surrogate)
    mean, sd = process.leave_one_out()
    K = np.linalg.inv(process.inverse)
    for i in range(12):
        rest = np.delete(np.arange(12), i)
        gain = K[i, rest] @ np.linalg.inv(K[np.ix_(rest, rest)])
        expected = process.constant[i] + gain @ (process.y - process.constant)[rest]
        assert mean[i] == pytest.approx(expected, abs=1e-6)
        assert sd[i] ** 2 == pytest.approx(K[i, i] - gain @ K[rest, i], rel=1e-5, abs=1e-8)
    X = np.random.default_rng(1).random((7, 4))
    import torch

    expected_mean, _ = surrogate.predict(torch.tensor(X))
    assert process.predict(X) == pytest.approx(expected_mean[:, 0].numpy(), abs=1e-6)


@pytest.mark.parametrize("maximize", [True, False])
def test_the_check_is_in_the_goals_own_units(maximize: bool) -> None:
    goals = [Goal("g", maximize)]

    def function(unit: Sequence[float]) -> list[float]:
        return [100 + 50 * float(np.mean(unit))]

    with planted(plain_space(3), goals, function, 20, references=[[90], [130]]) as archive:
        own = lesson_of(archive)
        seen = [t.scores["g"].value for t in archive.candidates]
    (goal,) = learnt_facts(own)["goals"]
    assert [row[2] for row in goal["check"]["rows"]] == pytest.approx(seen, rel=1e-4)
    assert [row[0] for row in goal["check"]["rows"]] == pytest.approx(seen, abs=2.5)
    assert all(row[1] > 0 for row in goal["check"]["rows"])


def test_groups_hold_the_importance_of_their_holes_together() -> None:
    from tests.reported import DEEP

    with planted(small_space(DEEP), make_goals(1), ridge(1), 30) as archive:
        space = small_space(DEEP)
        tree = space.configuration.tree
        archive.remember("search", {"configuration": dict(tree), "methods": ["ties"]})
        (goal,) = learnt_facts(lesson_of(archive))["goals"]
    groups = goal["importance"]["groups"]
    assert set(groups["model"]) == {"code", "prose", "all"}
    assert set(groups["layers"]) == {"first third", "middle", "last third", "all"}
    assert groups["parameter"]["weight"] >= max(goal["importance"]["holes"])


@pytest.mark.parametrize(("n", "why"), [(0, "too few"), (LEAST - 1, "too few")])
def test_too_few_trials_are_said_to_be_too_few(n: int, why: str) -> None:
    facts = learnt_facts(lesson(ridge(2), n, goals=2))
    assert len(facts["goals"]) == 2
    assert all(why in goal["why"] for goal in facts["goals"])


def test_a_goal_that_never_varied_says_so_beside_one_that_did() -> None:
    facts = learnt_facts(lesson(lambda u: [0.5, u[0]], 12, goals=2))
    assert facts["goals"][0] == {"why": "every trial has the same score"}
    assert "check" in facts["goals"][1]
    assert learnt_facts(lesson(constant(1), 12))["goals"][0]["why"]


def test_of_many_trials_the_front_and_an_even_choice_are_learnt_from() -> None:
    Y = np.random.default_rng(0).random((500, 2))
    Y[37] = 2.0
    rows = chosen_rows(Y, most=50)
    assert 37 in rows
    assert len(rows) == len(set(rows.tolist())) <= 50
    assert rows.min() < 20
    assert rows.max() > 480
    assert chosen_rows(Y[:50], most=50).tolist() == list(range(50))


def test_a_space_with_choices_and_idle_holes_is_learnt_from() -> None:
    with planted(small_space(MIXED), make_goals(2), ridge(2), 20, failed=[4]) as archive:
        facts = learnt_facts(lesson_of(archive))
    assert facts["finished"] == 19
    assert len(facts["numbers"]) == 19
    assert all(len(goal["importance"]["holes"]) == 6 for goal in facts["goals"])

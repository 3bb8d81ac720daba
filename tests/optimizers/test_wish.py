"""A preference says where a search over paths spends its budget."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks._planted import Planted
from benchmarks._walks import archive_of, rows_of, walk
from mergekit_mo.layers import MERGE, Layers, Path
from mergekit_mo.optimizers import _hm3_paper as paper
from mergekit_mo.optimizers._straight import straight_trials
from mergekit_mo.optimizers.hm3 import HM3
from mergekit_mo.pareto import Matrix
from mergekit_mo.preference import Preference
from mergekit_mo.testing.paths import RULES, path_space, walked

DEPTH, INITIAL, BUDGET = 6, 8, 40
LAYERS = Layers((MERGE, "a/one", "a/two"), (DEPTH,) * 3, DEPTH, DEPTH)


def score(path: Path) -> tuple[float, float]:
    """Each source brings a skill of its own, the more layers the less another one adds."""
    counts = np.bincount([member for member, _ in path], minlength=3) / DEPTH
    return float(np.sqrt(counts[1])), float(np.sqrt(counts[2]))


TRUTH = Planted("skills", LAYERS, score, ((1, 0),) * DEPTH)


@cache
def searched(weight: float = 0.0, least: float = 0.0) -> Matrix:
    """The scores of what a search chose once it had learnt something."""
    wish = Preference(
        {"skill": weight, "manners": 1 - weight} if weight else {},
        {"manners": least} if least else {},
    )
    optimizer = HM3(initial=INITIAL)
    with archive_of(TRUTH, wish) as archive:
        paths = walk(TRUTH, optimizer, 0, BUDGET, archive).paths
    return rows_of(TRUTH, paths[INITIAL:])


SEARCHES: dict[str, tuple[dict[str, float], Callable[[Matrix], NDArray[np.bool_]]]] = {
    "one goal": ({"weight": 0.95}, lambda Y: Y[:, 0] > Y[:, 1] + 0.3),
    "the other": ({"weight": 0.05}, lambda Y: Y[:, 1] > Y[:, 0] + 0.3),
    "a bound": ({"least": 0.8}, lambda Y: Y[:, 1] >= 0.8),
}


@pytest.mark.parametrize("what", SEARCHES)
def test_the_budget_goes_where_it_is_wished_for(what: str) -> None:
    wish, near = SEARCHES[what]
    share, without = float(np.mean(near(searched(**wish)))), float(np.mean(near(searched())))
    assert share > max(0.4, 1.5 * without)


def test_some_of_the_budget_goes_to_the_front_at_large() -> None:
    Y = searched(weight=0.95)
    assert (Y[:, 1] > Y[:, 0]).any()


def test_holes_are_searched_by_the_same_wish() -> None:
    space = path_space(RULES["swaps"], 2)
    with walked(space, 4) as archive:
        archive.remember("preference", {"weights": {"g0": 1.0}, "at_least": {}})
        with straight_trials(space, archive) as view:
            assert view.preference == Preference({"g0": 1.0})


def test_most_of_the_published_preferences_lie_near_the_wish() -> None:
    with archive_of(TRUTH, Preference({"skill": 1.0})) as wished, archive_of(TRUTH) as plain:
        near, spread = (paper._vectors(20, archive, 0) for archive in (wished, plain))
    assert near.sum(axis=1) == pytest.approx(1)
    assert (near[:, 0] > 0.85).sum() >= 15
    assert (spread[:, 0] > 0.85).sum() < 8

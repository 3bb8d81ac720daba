"""What searches over paths are measured on: tables, planted truths, live merges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import _levels, _merges, _paths, families, stacking
from benchmarks._paths import every_path, key, table
from benchmarks._planted import LENGTH_PENALTY, PLANTED, Planted
from benchmarks._published import full_length
from benchmarks._walks import archive_of, rows_of, walk
from mergekit_mo.layers import Path as Layered
from mergekit_mo.optimizers.evolution import Evolution
from mergekit_mo.optimizers.hm3 import HM3
from mergekit_mo.optimizers.mutation import Mutation
from mergekit_mo.pareto import nondominated
from mergekit_mo.testing import untrained

FAMILY = families.Family("toys", ("one", "two", "three"), ("one", "two"), 1, 32, 64, 300)


@pytest.fixture
def family(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A family that passes for a trained one, wherever the benchmarks look for it."""
    root = tmp_path_factory.getbasetemp() / "families"
    folder = root / FAMILY.name
    if not folder.exists():
        for seed, name in enumerate(("base", *FAMILY.domains)):
            untrained(folder / name, layers=families.LAYERS, hidden=32, seed=seed)
        for goal in FAMILY.goals:
            texts = [f"the {goal} fox jumps {i} times over a dog" for i in range(8)]
            families._write_task(folder / "tasks", goal, texts)
        mark = {"digest": FAMILY.digest, "weights": "untrained"}
        (folder / "family.json").write_text(json.dumps(mark))
    monkeypatch.setattr(families, "FAMILIES_FOLDER", root)
    monkeypatch.setitem(families.FAMILIES, FAMILY.name, FAMILY)
    for module in (_paths, _merges, _levels):
        for name in ("DATA", "CACHE"):
            monkeypatch.setattr(module, name, root / name.lower())
    return folder


@pytest.mark.parametrize("name", ["wren", "heron"])
def test_a_shipped_table_has_every_path(name: str) -> None:
    truth = table(name)
    assert len(truth.scores) == 3**6 == truth.layers.count
    assert len({key(path) for path in truth.scores}) == 3**6
    assert all(truth.layers.allowed(path) for path in truth.scores)
    assert truth.parents.min(axis=0).tolist() == [0, 0]
    assert truth.parents.max(axis=0).tolist() == [1, 1]
    Y = rows_of(truth, list(truth.scores))
    assert nondominated(Y).sum() == len(truth.front)
    assert truth.volume(Y) == pytest.approx(truth.most)
    assert truth.volume(Y[:200]) < truth.most


def test_a_stacked_path_answers_as_the_engines_own_model(family: Path) -> None:
    stacks, live = _paths.Stacks(FAMILY), _merges.Live(FAMILY)
    layers = _paths.layers_of(FAMILY)
    config = {
        "merge_method": "task_arithmetic",
        "base_model": "toys/base",
        "dtype": "float32",
        "parameters": {"normalize": False},
        "models": [
            {"model": model, "parameters": {"weight": 1 / 3}} for model in FAMILY.models[1:]
        ],
    }
    for path in list(every_path(FAMILY))[5:700:231]:
        own, other = stacks.row(path), live.row(config, layers.walk(path))
        assert np.abs(own[:-2].astype(int) - other[:-2].astype(int)).max() <= 1  # of rounding
    assert stacks.parent(2)[:-2].tolist() != own[:-2].tolist()


def test_a_walk_goes_on_where_it_was_and_is_the_same_again() -> None:
    truth = PLANTED["halves"]()
    whole = walk(truth, Evolution(), 3, 14).paths
    with archive_of(truth) as archive:
        first = walk(truth, Evolution(), 3, 6, archive).paths
        assert walk(truth, Evolution(), 3, 14, archive).paths == whole
    assert whole[:6] == first
    assert len(set(whole)) == 14
    assert whole[0] == truth.layers.straight
    assert walk(truth, Evolution(), 4, 14).paths != whole


@pytest.mark.parametrize("name", PLANTED)
def test_the_planted_path_is_the_best_and_the_straight_one_is_not(name: str) -> None:
    truth = PLANTED[name]()

    def worth(path: Layered) -> float:
        cost = LENGTH_PENALTY * len(path) / len(truth.layers.straight)
        return truth.scores[path][0] - (cost if name == "redundant" else 0)

    best = max(truth.scores, key=worth)
    assert best == truth.best
    assert worth(truth.layers.straight) < worth(best)


def test_either_repair_alone_does_not_help() -> None:
    truth = PLANTED["ruined"]()
    straight = truth.layers.straight
    for layer in (2, 5):
        alone = tuple((int(i == layer), i) for _, i in straight)
        assert truth.scores[alone][0] <= truth.scores[straight][0]
    assert truth.scores[truth.best][0] > truth.scores[straight][0]


def test_the_published_length_counts_different_paths() -> None:
    halves = PLANTED["halves"]()
    truth = Planted("short", _paths.layers_of(FAMILY), halves.score, halves.best[:6])
    settings = HM3(variant="paper", preferences=2, episodes=6)
    paths, facts = full_length(truth, settings, 0)
    assert len(set(paths)) == len(paths) <= 12
    assert len(facts["rewards"]) == 2
    assert all(walked <= best for _, _, walked, best in facts["rewards"])


def test_levels_are_searched_live_and_no_merge_is_made_twice(
    family: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = _levels.stacks("toys")
    found = _levels.climb(problem, Mutation(), 0, 4)
    assert len(found["trace"]) == 4
    assert found["trace"] == sorted(found["trace"])
    assert len(problem.memo) == 4 + 4  # base and sources, one of the starts being another's
    monkeypatch.setattr(_levels, "Live", None)  # whatever is merged now fails
    monkeypatch.setattr(_merges, "Live", None)
    assert _levels.climb(_levels.stacks("toys"), Mutation(), 0, 4) == found


def test_a_new_path_over_merged_layers_merges_nothing(family: Path) -> None:
    found, merges = stacking.shares("toys", 2)
    assert merges == 0
    assert all(0 < share < 1 for share in found)

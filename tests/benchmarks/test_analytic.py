from __future__ import annotations

import numpy as np
import pytest

from benchmarks._analytic import SLACK, TASKS, Analytic
from benchmarks._problem import record, value
from mergekit_mo.archive import Archive
from mergekit_mo.pareto import hypervolume
from mergekit_mo.space import Candidate


def scored(problem: Analytic, units: list[list[float]], seed: int = 0) -> Archive:
    archive = problem.archive(seed)
    for unit in units:
        candidate = problem.space.candidate(unit, "test")
        config = problem.space.config(candidate.unit)
        (trial,) = archive.propose("candidate", [(candidate, config)])
        record(archive, trial.number, problem.score(candidate, config, seed))
    return archive


@pytest.mark.parametrize("name", TASKS)
def test_shares_are_those_of_the_raw_hypervolume_above_the_problems_reference_point(
    name: str,
) -> None:
    problem = Analytic(name)
    rng = np.random.default_rng(1)
    units = (0.5 + 0.1 * rng.standard_normal((12, problem.space.dim))).clip(0, 1).tolist()
    units += rng.random((12, problem.space.dim)).tolist()
    with scored(problem, units) as archive:
        front = [t for t in archive.candidates if t in archive.front()]
        raw = np.array([problem.values(t.unit or ()) for t in front])
        m = len(problem.corner)
        wanted = hypervolume(-raw[:, :m], -np.array(problem.corner)) / problem.function.max_hv
        assert value(archive) / problem.most(0) == pytest.approx(wanted)
        assert 0 < wanted <= 1


def test_the_whole_front_of_dtlz2_is_all_of_it() -> None:
    problem = Analytic("dtlz2-6-2")
    units = [[t, 0.5, 0.5, 0.5, 0.5, 0.5] for t in np.linspace(0, 1, 200)]
    with scored(problem, units) as archive:
        assert value(archive) / problem.most(0) == pytest.approx(1, abs=0.01)


def test_a_constraint_keeps_what_breaks_it_off_the_front_and_out_of_the_hypervolume() -> None:
    problem = Analytic("c2-dtlz2")
    assert [goal.name for goal in problem.goals] == ["f1", "f2", SLACK]
    units = [[t, 0.5, 0.5, 0.5, 0.5, 0.5] for t in np.linspace(0, 1, 200)]
    with scored(problem, units) as archive:
        assert any(t.scores[SLACK].value < 0 for t in archive.candidates)
        assert all(t.scores[SLACK].value >= 0 for t in archive.front())
        assert value(archive) / problem.most(0) == pytest.approx(1, abs=0.01)


def test_noise_is_seen_by_the_search_and_not_by_the_judge() -> None:
    problem = Analytic("noisy-dtlz2")
    candidate = Candidate((0.5,) * 6, "test")
    first, again, other = (problem.score(candidate, {}, seed) for seed in (0, 0, 1))
    assert first == again
    assert first.true == other.true
    assert first.search["f1"].value != other.search["f1"].value
    assert first.search["f1"].value != first.true["f1"].value
    values = [problem.score(candidate, {}, seed).search["f1"].value for seed in range(400)]
    assert np.std(values) == pytest.approx(first.search["f1"].stderr or 0, rel=0.1)
    assert np.mean(values) == pytest.approx(first.true["f1"].value, abs=0.01)

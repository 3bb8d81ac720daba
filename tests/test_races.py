"""Races: who is stopped, who never is, and what is believed of those who were."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mergekit_mo.races import Measure, Plan, Race, Rival, make_plan
from mergekit_mo.strata import columns

RNG = np.random.default_rng(0)
N = 400
HARD = RNG.uniform(size=N)


def answers(level: float, rng: np.random.Generator = RNG) -> np.ndarray:
    """Right or wrong, easy items more often right."""
    return (HARD + 0.3 * rng.normal(size=N) < level).astype(float)


PARENTS = np.array([answers(0.4), answers(0.6)])


def planned(seed: int = 0, rungs: tuple[int, ...] = (32, 96, 192)) -> Plan:
    return make_plan(rungs, {"quiz": range(N)}, {"quiz": [PARENTS]}, seed)


def race(plan: Plan, *rivals: tuple[np.ndarray, float], link: str = "mean") -> Race:
    """Rivals by their answers and a size that is known, of which less is better."""
    order = np.array(plan.orders["quiz"].ids)
    measures = {
        "quiz": Measure("quiz", "acc,none", link, parents=columns(PARENTS[:, order])),  # type: ignore[arg-type]
        "size": Measure(sign=-1.0),
    }
    return Race(
        plan,
        measures,
        ("quiz", "size"),
        tuple(Rival(i, {"quiz": v[order]}, {"size": -s}) for i, (v, s) in enumerate(rivals)),
    )


def run(found: Race, own: np.ndarray, size: float) -> tuple[int, int] | None:
    """After how many items a candidate is stopped, and by whom."""
    order = np.array(found.plan.orders["quiz"].ids)
    for rung in found.plan.rungs:
        by = found.beaten_by({"quiz": own[order[:rung]]}, {"size": -size})
        if by is not None:
            return rung, by
    return None


def test_a_hopeless_candidate_is_stopped_at_the_first_rung() -> None:
    found = race(planned(), (answers(0.5), 5.0), (answers(1.0), 1.0))
    assert run(found, answers(0.1), 2.0) == (32, 1)


def test_one_rival_must_win_on_everything() -> None:
    good, small = (answers(1.0), 9.0), (answers(0.0), 1.0)
    found = race(planned(), good, small)
    assert run(found, answers(0.1), 5.0) is None  # worse than each, on another goal each
    assert run(found, answers(0.1), 9.0) == (32, 0)  # as large: not better in size either


@pytest.mark.parametrize("link", ["mean", "bits"])
def test_the_equal_of_a_rival_is_hardly_ever_stopped(link: str) -> None:
    """By bets and by Student's quantile, over orders: both hold their error with equal means."""
    rng = np.random.default_rng(1)
    own = answers(0.5, rng)
    rival = rng.permuted(own)  # the same mean
    stopped = sum(run(race(planned(s), (rival, 1.0), link=link), own, 1.0) is not None
                  for s in range(100))  # fmt: skip
    assert stopped <= 100 * 0.05 + 2


def test_rungs_ask_every_item_once() -> None:
    plan = planned(rungs=(32, 96))
    parts = plan.parts()
    assert [len(part["quiz"]) for part in parts] == [32, 64, N - 96]
    assert sorted(i for part in parts for i in part["quiz"]) == list(range(N))
    assert Plan.read(plan.facts()) == plan


def test_a_task_with_fewer_items_is_through_before_the_others() -> None:
    parents = {"quiz": [PARENTS], "small": [PARENTS[:, :40]]}
    plan = make_plan((32, 96, 1000), {"quiz": range(N), "small": range(40)}, parents, 0)
    assert plan.rungs == (32, 96)
    assert [sorted(part) for part in plan.parts()] == [
        ["quiz", "small"],
        ["quiz", "small"],
        ["quiz"],
    ]


def test_a_partial_score_is_unbiased_and_knows_its_error() -> None:
    own = answers(0.55, np.random.default_rng(5))
    found = []
    for seed in range(150):
        plan = planned(seed)
        order = np.array(plan.orders["quiz"].ids)
        measure = race(plan).measures["quiz"]
        found.append(measure.score(measure.values(own[order[:96]].tolist()), plan.orders["quiz"]))
    values = np.array([m.value for m in found])
    assert abs(values.mean() - own.mean()) < 4 * values.std() / np.sqrt(len(values))
    errors = np.array([m.stderr for m in found], dtype=float)
    assert errors.mean() == pytest.approx(values.std(), rel=0.25)
    assert {m.n for m in found} == {96}


def test_ratios_and_exponentials_come_from_their_items() -> None:
    pairs = np.column_stack([-RNG.uniform(1, 9, N), RNG.integers(5, 50, N)])
    bits = Measure("t", "bits_per_byte,none", "bits", -1.0, float(pairs[:, 1].mean()))
    wanted = -pairs[:, 0].sum() / pairs[:, 1].sum() / np.log(2)
    assert -bits.values(pairs.tolist()).mean() == pytest.approx(wanted)
    word = Measure("t", "word_perplexity,none", "exp", -1.0, float(pairs[:, 1].mean()))
    wanted = np.exp(-pairs[:, 0].sum() / pairs[:, 1].sum())
    assert np.exp(-word.values(pairs.tolist()).mean()) == pytest.approx(wanted)


def test_a_race_goes_to_another_process() -> None:
    found = race(planned(), (answers(1.0), 1.0))
    assert run(pickle.loads(pickle.dumps(found)), answers(0.1), 2.0) == (32, 0)
    assert len(pickle.dumps(found)) < 40_000


def test_rungs_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="ascend"):
        Plan((64, 64), {})

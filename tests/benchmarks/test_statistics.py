from __future__ import annotations

import pytest

from benchmarks._statistics import bootstrap, evaluations_to, paired, quantiles


def test_a_mean_of_problems_counts_each_problem_alike() -> None:
    found = bootstrap([[1.0, 1.0, 1.0, 1.0], [0.0]])
    assert (found.value, found.n) == (0.5, 5)
    assert (found.low, found.high) == (0.5, 0.5), "no group varies, so nothing is uncertain"


def test_an_interval_is_that_of_the_resampled_means() -> None:
    # Of two values 0 and 1 a resampled mean is 0, 1/2 or 1 with odds 1/4, 1/2 and 1/4.
    found = bootstrap([[0.0, 1.0]])
    assert (found.low, found.value, found.high) == (0.0, 0.5, 1.0)
    # Of nine zeros and a one it is k/10, k binomial(10, 1/10): the 2.5 and 97.5 % points are 0, 3.
    found = bootstrap([[0.0] * 9 + [1.0]])
    assert found.low == 0.0
    assert found.high == pytest.approx(0.3)


def test_the_same_values_give_the_same_interval() -> None:
    values = [[0.31, 0.7, 0.2, 0.93, 0.555, 0.1234, 0.87]]
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values, seed=1) != bootstrap(values)


@pytest.mark.parametrize("groups", [[], [[]], [[1.0], []]])
def test_there_is_no_mean_of_nothing(groups: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="nothing"):
        bootstrap(groups)


def test_a_target_never_reached_costs_the_whole_budget() -> None:
    trace = [0.1, 0.4, 0.4, 0.8]
    assert evaluations_to(trace, 0.4) == 2
    assert evaluations_to(trace, 0.0) == 1
    assert evaluations_to(trace, 0.81) == 4


def test_pairs_are_of_the_seeds_that_both_have() -> None:
    assert paired({0: 1.0, 2: 5.0, 1: 3.0}, {2: 1.0, 0: 0.5, 9: 7.0}) == [0.5, 4.0]


def test_a_trace_that_ended_early_stays_where_it_was() -> None:
    (middle,) = quantiles([[0.0, 1.0], [0.5]], [0.5])
    assert middle.tolist() == [0.25, 0.75]

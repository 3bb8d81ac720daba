"""Intervals: of one score, of several at once, and what they look like."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta, norm, ttest_1samp

from mergekit_mo.intervals import (
    Interval,
    critical,
    difference,
    interval,
    is_share,
    joint_critical,
    text,
    with_ends,
)
from mergekit_mo.trial import Measurement

RNG = np.random.default_rng(0)


def mean(values: np.ndarray) -> Measurement:
    n = len(values)
    return Measurement(float(values.mean()), float(values.std(ddof=1) / math.sqrt(n)), n)


@pytest.mark.parametrize("right", [0, 1, 32, 63, 64])
def test_a_share_of_right_answers_stays_between_0_and_1(right: int) -> None:
    measured = mean(np.repeat([1.0, 0.0], [right, 64 - right]))
    assert is_share(measured)
    found = interval(measured)
    assert found is not None
    assert 0 <= found.low <= measured.value <= found.high <= 1
    assert found.high - found.low > 0.03  # not certain, however right all are
    posterior = beta(right + 0.5, 64 - right + 0.5)
    if 0 < right < 64:
        assert (found.low, found.high) == pytest.approx(posterior.interval(0.95))


def test_any_other_mean_has_students_interval() -> None:
    values = RNG.uniform(size=20)
    measured = mean(values)
    assert not is_share(measured)
    wanted = ttest_1samp(values, 0).confidence_interval(0.95)
    found = interval(measured)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


def test_what_is_exact_or_unknown_has_none() -> None:
    assert interval(Measurement(3.0)) is None
    assert interval(Measurement(3.0, 0.0)) is None
    assert interval(Measurement(3.0, 1.0)) == Interval(3 - critical(), 3 + critical())


def test_paired_answers_that_never_differ_are_not_certain_to_be_equal() -> None:
    found = difference(np.zeros(50), critical())
    assert found.low < 0 < found.high
    few = difference(np.repeat([1.0, 0.0], [3, 61]), critical())
    assert few.low < 0  # three items are no proof
    many = difference(np.repeat([1.0, 0.0], [20, 44]), critical())
    assert many.low > 0


def test_the_same_errors_cost_nothing_and_others_as_much_as_sidak_says() -> None:
    row = RNG.normal(size=400)
    same = joint_critical([np.stack([row, 2 * row, row + 1])])
    assert same == pytest.approx(1.96, abs=0.12)
    apart = joint_critical([RNG.normal(size=(10, 400))])
    assert apart == pytest.approx(norm.ppf(0.5 + 0.5 * 0.95**0.1), abs=0.15)
    assert joint_critical([np.ones((3, 50))]) == pytest.approx(critical())  # nothing varies
    assert joint_critical([], alone=5) > critical()
    assert joint_critical([row[None]]) == joint_critical([row[None]])  # one table, one answer


@pytest.mark.parametrize(
    ("measurement", "shown"),
    [
        (None, "-"),
        (Measurement(0.5), "0.5000"),
        (Measurement(0.5, 0.0), "0.5000"),
        (Measurement(-0.12345, 0.01), "-0.1235 [-0.143, -0.104]"),
        (Measurement(0.5, 1e-12), "0.5000 [0.500000, 0.500000]"),
        (Measurement(123456789.0), "1.2346e+08"),
        (Measurement(51234.0, 2000.0), "51234 [47314, 55154]"),
    ],
)
def test_figures_are_short(measurement: Measurement | None, shown: str) -> None:
    assert text(measurement) == shown


def test_json_has_the_ends() -> None:
    facts = with_ends({"a": Measurement(0.5, 0.1, 9), "b": Measurement(2.0)})
    assert facts["b"] == {"value": 2.0, "stderr": None, "n": None, "low": None, "high": None}
    assert facts["a"]["low"] < 0.5 < facts["a"]["high"]

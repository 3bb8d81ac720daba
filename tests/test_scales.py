import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_mo.scales import (
    REFERENCE,
    Scale,
    anchored_columns,
    make_scales,
    reference_point,
)
from mergekit_mo.trial import Goal, Measurement, Status, Trial

ACCURACY, BITS = Goal("accuracy", True), Goal("bits", False)
STEADY = settings(deadline=None, max_examples=60)  # a busy machine is no failure
NUMBERS = st.floats(-1e3, 1e3)


def parent(number: int, accuracy: float, bits: float, status: Status = "done") -> Trial:
    scores = {"accuracy": Measurement(accuracy), "bits": Measurement(bits)}
    return Trial(number, "reference", "a/b", status, {}, scores=scores)


def scales(*parents: Trial) -> tuple[Scale, ...]:
    return make_scales([ACCURACY, BITS], parents)


def test_the_worst_reference_is_0_and_the_best_is_1_whatever_the_direction() -> None:
    accuracy, bits = scales(parent(0, 0.2, 3.0), parent(1, 0.6, 1.0), parent(2, 0.4, 2.0))
    assert [accuracy.up(v) for v in (0.2, 0.4, 0.6)] == pytest.approx([0, 0.5, 1])
    assert [bits.up(v) for v in (3.0, 2.0, 1.0)] == pytest.approx([0, 0.5, 1])


@STEADY
@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_better_is_always_higher(low: float, high: float, one: float, other: float) -> None:
    for scale in scales(parent(0, low, low), parent(1, high, high)):
        better = one > other if scale.goal.maximize else one < other
        assert not better or scale.up(one) >= scale.up(other)


def test_equal_references_keep_the_units_and_leave_the_objective_unanchored() -> None:
    accuracy, bits = scales(parent(0, 0.5, 3.0), parent(1, 0.5, 1.0))
    assert not accuracy.anchored
    assert accuracy.up(0.7) - accuracy.up(0.5) == pytest.approx(0.2)
    assert anchored_columns([accuracy, bits]) == [1]


def test_without_references_the_units_are_kept_and_more_is_still_better() -> None:
    accuracy, bits = scales()
    assert (accuracy.up(0.7), bits.up(2.0)) == (0.7, -2.0)
    assert anchored_columns([accuracy, bits]) == []


@pytest.mark.parametrize("status", ["waiting", "failed"])
def test_references_that_are_not_done_anchor_nothing(status: Status) -> None:
    unfinished = Trial(9, "reference", "a/b", status, {})
    (scale,) = make_scales([ACCURACY], [parent(0, 0.2, 1), parent(1, 0.6, 2), unfinished])
    assert (scale.worst, scale.width) == pytest.approx((0.2, 0.4))


def test_variances_are_in_units_of_the_scale() -> None:
    _, bits = scales(parent(0, 0.2, 3.0), parent(1, 0.6, 1.0))
    assert bits.variance(0.5) == pytest.approx(0.0625)
    assert bits.variance(0.0) == 0.0
    assert math.isnan(bits.variance(None))


def test_the_reference_point_lies_a_tenth_below_the_worst_reference() -> None:
    assert REFERENCE == -0.1
    assert reference_point(3).tolist() == [-0.1, -0.1, -0.1]


def test_a_threshold_bounds_the_worse_side() -> None:
    assert Goal("accuracy", True, 0.5).allows(0.5)
    assert not Goal("accuracy", True, 0.5).allows(0.4)
    assert Goal("bits", False, 0.5).allows(0.4)
    assert not Goal("bits", False, 0.5).allows(0.6)
    assert Goal("bits", False).allows(1e9)

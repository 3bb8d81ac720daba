import numpy as np
import pytest

from mergekit_mo.optimizers._reference import working_reference

BOTH, NEITHER = np.array([True, True]), np.array([False, False])
ALL = np.array([True, True, True])


def test_the_reference_point_is_the_reporting_one_once_a_trial_dominates_it() -> None:
    Y = np.array([[0.5, -3.0], [0.1, 0.2]])
    assert working_reference(Y, BOTH, BOTH).tolist() == [-0.1, -0.1]


def test_before_that_it_follows_the_trial_that_is_nearest_to_dominating_it() -> None:
    Y = np.array([[0.5, -3.0], [-3.0, 2.0], [-0.9, -0.8]])
    found = working_reference(Y, ALL, BOTH)
    assert (Y > found).all(axis=1).tolist() == [False, False, True]
    nearer = working_reference(np.array([*Y[:2], [-0.4, -0.3]]), ALL, BOTH)
    assert (nearer > found).all()
    assert (nearer < -0.1).all()


def test_trials_that_exceed_one_side_each_do_not_count_as_reaching_it() -> None:
    Y = np.array([[0.5, -3.0], [-0.2, 2.0]])
    found = working_reference(Y, BOTH, BOTH)
    assert (found < -0.1).all()
    assert (Y > found).all(axis=1).tolist() == [False, True]


def test_a_side_that_all_exceed_is_where_it_will_be() -> None:
    Y = np.array([[0.5, -3.0], [0.7, -4.0]])
    found = working_reference(Y, BOTH, BOTH)
    assert found[0] == -0.1
    assert -3.5 < found[1] < -3.0


def test_objectives_without_anchors_have_one_below_the_front() -> None:
    Y = np.array([[0.5, -3.0], [-0.2, -2.0]])
    assert working_reference(Y, BOTH, NEITHER).tolist() == pytest.approx([-0.27, -3.1])
    mixed = working_reference(Y, BOTH, np.array([True, False]))
    assert mixed.tolist() == pytest.approx([-0.1, -3.1])


def test_trials_that_may_not_be_on_the_front_do_not_set_it() -> None:
    Y = np.array([[1.0, 1.0], [2.0, -9.0], [0.0, 2.0]])
    found = working_reference(Y, np.array([True, False, True]), NEITHER)
    assert found.tolist() == pytest.approx([-0.2, -0.1])

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mergekit_mo.pareto import (
    Matrix,
    contributions,
    ever_nondominated,
    hypervolume,
    nondominated,
)

STEADY = settings(deadline=None, max_examples=60)  # a busy machine is no failure
GRID = st.integers(0, 4).map(float)


@st.composite
def matrices(draw: st.DrawFn, rows: int = 8) -> Matrix:
    shape = draw(st.tuples(st.integers(0, rows), st.integers(1, 4)))
    return draw(hnp.arrays(np.float64, shape, elements=GRID))


def dominates(a: Matrix, b: Matrix) -> bool:
    return bool((a >= b).all() and (a > b).any())


def cells(Y: Matrix, reference: Matrix) -> int:
    """The hypervolume of whole numbers: how many unit cells some row covers."""
    steps = [range(int(low), 4) for low in reference]
    return sum(any((y >= np.array(cell) + 1).all() for y in Y) for cell in product(*steps))


@STEADY
@given(matrices())
def test_a_row_is_marked_unless_one_dominates_it_or_an_equal_one_came_before(Y: Matrix) -> None:
    expected = [
        not any(dominates(other, y) for other in Y) and not any((y == e).all() for e in Y[:i])
        for i, y in enumerate(Y)
    ]
    assert nondominated(Y).tolist() == expected


@STEADY
@given(matrices(), st.integers(0, 2))
def test_hypervolume_counts_the_cells_that_rows_cover(Y: Matrix, corner: int) -> None:
    reference = np.full(Y.shape[1], float(corner))
    assert hypervolume(Y, reference) == pytest.approx(cells(Y, reference))


@STEADY
@given(matrices(), st.integers(0, 2))
def test_a_contribution_is_what_would_be_lost_without_the_row(Y: Matrix, corner: int) -> None:
    reference = np.full(Y.shape[1], float(corner))
    whole = hypervolume(Y, reference)
    expected = [whole - hypervolume(np.delete(Y, i, axis=0), reference) for i in range(len(Y))]
    assert contributions(Y, reference) == pytest.approx(np.array(expected), abs=1e-9)


@STEADY
@given(matrices())
def test_the_order_of_rows_changes_no_volume(Y: Matrix) -> None:
    reference = np.zeros(Y.shape[1])
    assert hypervolume(Y[::-1], reference) == pytest.approx(hypervolume(Y, reference))


@STEADY
@given(hnp.arrays(np.float64, (4, 6, 2), elements=GRID), st.integers(0, 2))
def test_a_trial_is_ever_on_the_front_if_it_is_in_one_draw(Y: Matrix, corner: int) -> None:
    reference = np.full(2, float(corner))
    expected = np.zeros(6, dtype=bool)
    for draw in Y:
        inside = np.flatnonzero((draw > reference).all(axis=1))
        expected[inside[nondominated(draw[inside])]] = True
    assert ever_nondominated(Y, reference).tolist() == expected.tolist()


def test_rows_on_the_reference_point_have_no_volume() -> None:
    assert hypervolume(np.array([[0.0, 5.0]]), np.zeros(2)) == 0.0


def test_nothing_has_no_volume_no_front_and_no_contributions() -> None:
    nothing = np.zeros((0, 2))
    assert hypervolume(nothing, np.zeros(2)) == 0.0
    assert nondominated(nothing).shape == (0,)
    assert contributions(nothing, np.zeros(2)).shape == (0,)


def test_no_argument_is_written_to() -> None:
    Y, reference = np.array([[1.0, 2.0], [2.0, 1.0], [-1.0, 0.5]]), np.zeros(2)
    before = Y.copy(), reference.copy()
    nondominated(Y)
    hypervolume(Y, reference)
    contributions(Y, reference)
    assert (Y == before[0]).all()
    assert (reference == before[1]).all()

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mergekit_mo.optimizers._children import bred, elite
from mergekit_mo.testing.planted import make_goals, plain_space, planted, ridge


@given(st.integers(0, 2**32), st.integers(1, 6), st.floats(0.1, 2), st.floats(0, 1))
def test_children_are_in_the_cube_and_differ_from_candidates_in_one_coordinate_at_least(
    seed: int, d: int, scale: float, crossover: float
) -> None:
    rng = np.random.default_rng(seed)
    candidates, elites = rng.random((5, d)), rng.random((4, d))
    children = bred(candidates, elites, rng, scale, crossover)
    assert children.shape == (5, d)
    assert ((children >= 0) & (children <= 1)).all()
    assert (children != candidates).any(axis=1).all()


def test_without_crossover_one_coordinate_comes_from_the_mutant() -> None:
    rng = np.random.default_rng(0)
    candidates, elites = rng.random((50, 6)), rng.random((4, 6))
    assert ((bred(candidates, elites, rng, 0.5, 0.0) != candidates).sum(axis=1) == 1).all()


def test_with_full_crossover_a_child_is_one_elite_plus_a_scaled_difference_of_two() -> None:
    rng = np.random.default_rng(0)
    elites = np.array([[0.4, 0.5], [0.5, 0.4], [0.6, 0.6]])
    mutants = {
        tuple(np.round(elites[a] + 0.5 * (elites[b] - elites[c]), 9))
        for a, b, c in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    }
    children = bred(np.zeros((40, 2)), elites, rng, 0.5, 1.0)
    assert {tuple(np.round(child, 9)) for child in children} == mutants


def test_the_strong_are_the_front_by_what_each_adds_then_the_next_front() -> None:
    rows = {0.1: (1.0, 0.0), 0.3: (0.7, 0.7), 0.5: (0.0, 1.0), 0.7: (0.6, 0.6), 0.9: (0.1, 0.1)}

    def function(unit):  # type: ignore[no-untyped-def]
        return min(rows.items(), key=lambda item: abs(item[0] - unit[0]))[1]

    with planted(plain_space(1), make_goals(2), function, 24) as archive:
        data = archive.data()
        strong = elite(data, 2, 5)
    assert tuple(data.Y[strong[0]]) == (0.7, 0.7)
    fronts = [tuple(row) for row in data.Y[strong]]
    assert set(fronts[:3]) == {(0.7, 0.7), (1.0, 0.0), (0.0, 1.0)}


def test_who_breaks_a_threshold_is_not_strong() -> None:
    with planted(plain_space(2), make_goals(2, [0.9]), ridge(2), 16) as archive:
        data = archive.data()
        strong = elite(data, 2, 16)
    assert len(strong) == data.feasible.sum() < 16
    assert data.feasible[strong].all()

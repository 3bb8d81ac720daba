from collections.abc import Iterable
from itertools import combinations

import pytest
from numpy.random import SeedSequence

from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers.soup import Soup, walk
from mergekit_mo.space import Space
from mergekit_mo.testing.optimizers import OptimizerSuite
from mergekit_mo.testing.planted import (
    WHOLE,
    make_goals,
    plain_space,
    planted,
    ridge,
    scored,
    small_space,
)

METHODS = """
merge_method: ties
base_model: a/base
models:
  - model: a/one
    parameters:
      weight: {value: 0.5, low: 0.0, high: 1.0}
      density: {value: 0.6, low: 0.1, high: 1.0}
  - model: a/two
    parameters:
      weight: {value: 0.5, low: 0.0, high: 1.0}
      density: {value: 0.6, low: 0.1, high: 1.0}
search: {merge_method: [ties, breadcrumbs, dare_ties]}
"""

FINE = """
merge_method: ties
base_model: a/base
models:
  - model: a/one
    parameters:
      weight:
        - {filter: self_attn, value: 0.5, low: 0.0, high: 1.0}
        - {value: [0.5, 0.5, 0.5], low: 0.0, high: 1.0}
      density: 0.5
  - model: a/two
    parameters:
      weight: {value: 0.7, low: 0.3, high: 0.8}
      density: {value: 0.6, choices: [0.1, 0.6, 0.9]}
"""

SLERP = """
merge_method: slerp
base_model: a/one
models: [{model: a/one}, {model: a/two}]
parameters:
  t:
    - {filter: mlp, value: [0.3, 0.7], low: 0.0, high: 1.0}
    - {value: 0.5, low: 0.0, high: 1.0}
"""

ALONE = """
merge_method: linear
models:
  - {model: a/one, parameters: {weight: {value: 0.5, low: 0.2, high: 1.0}}}
  - {model: a/two, parameters: {weight: 0.5}}
"""

SLICED = """
merge_method: linear
slices:
  - sources:
      - {model: a/one, layer_range: [0, 1], parameters: {weight: {value: 0.5, low: 0, high: 1}}}
      - {model: a/two, layer_range: [0, 1], parameters: {weight: {value: 0.5, low: 0, high: 1}}}
  - sources:
      - {model: a/two, layer_range: [1, 2], parameters: {weight: {value: 0.5, low: 0, high: 1}}}
      - {model: a/one, layer_range: [1, 2], parameters: {weight: {value: 0.5, low: 0, high: 1}}}
"""


class TestConformance(OptimizerSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return Soup()


def stops(space: Space, count: int, seed: int = 0) -> list[tuple[object, ...]]:
    """The values at the first different points of the grid."""
    units = list(dict.fromkeys(walk(space, seed)))
    return [space.values(unit) for unit in units[:count]]


def ordered(points: Iterable[Iterable[float]]) -> list[tuple[float, ...]]:
    return sorted(tuple(round(v, 4) for v in point) for point in points)


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_the_centre_comes_first_then_each_model_alone_then_every_pair(count: int) -> None:
    found = stops(plain_space(count), 1 + count + count * (count - 1) // 2)
    alone = [[float(i == j) for i in range(count)] for j in range(count)]
    pairs = [[0.5 * (i in pair) for i in range(count)] for pair in combinations(range(count), 2)]
    assert ordered(found[:1]) == ordered([[1 / count] * count])  # type: ignore[arg-type]
    assert ordered(found[1 : 1 + count]) == ordered(alone)  # type: ignore[arg-type]
    if count > 2:
        assert ordered(found[1 + count :]) == ordered(pairs)  # type: ignore[arg-type]


def test_weights_sum_to_one_everywhere_on_the_grid() -> None:
    for values in stops(plain_space(4), 500):
        assert sum(v for v in values if isinstance(v, float)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("count", [2, 8, 20])
def test_many_models_leave_a_grid_that_is_coarse_but_not_empty(count: int) -> None:
    found = stops(plain_space(count), 10_000)
    assert len(found) == len(set(found)) > 2 * count


def test_usual_methods_at_the_usual_density_come_before_others() -> None:
    first = stops(small_space(METHODS), 2)
    assert sorted(first) == [("dare_ties", 0.5, 0.5, 0.5, 0.5), ("ties", 0.5, 0.5, 0.5, 0.5)]
    second = stops(small_space(METHODS), 11)[2:]
    assert {(v[0], v[2]) for v in second} == {
        ("breadcrumbs", 0.5), *((m, d) for m in ("ties", "dare_ties") for d in (0.2, 0.5, 0.8))
    }  # fmt: skip
    assert {v[1] for v in second if v[2] == 0.5} == {0.0, 0.5, 1.0}


def test_densities_are_one_for_all_models_and_weights_their_shares() -> None:
    for _, one, density, other, same in stops(small_space(METHODS), 100):
        assert density == same
        assert density in (0.2, 0.5, 0.8, 1.0)
        assert one + other == pytest.approx(1, abs=1e-5)  # type: ignore[operator]


def test_a_models_share_is_the_weight_of_all_its_holes() -> None:
    for attention, first, middle, last, *_ in stops(small_space(FINE), 50):
        assert attention == first == middle == last


def test_what_a_hole_cannot_take_becomes_the_nearest_that_it_can() -> None:
    found = stops(small_space(FINE), 12)
    weights, densities = {v[4] for v in found}, {v[5] for v in found}
    assert {0.3, 0.5, 0.8} <= weights
    assert densities == {0.1, 0.6, 0.9}


def test_holes_of_one_model_in_several_slices_share_its_weight() -> None:
    for one, two, two_again, one_again in stops(small_space(SLICED), 30):
        assert (one, two) == (one_again, two_again)


def test_t_walks_a_grid_of_its_own() -> None:
    found = stops(small_space(SLERP), 7)
    assert all(len(set(values)) == 1 for values in found)
    grid = [v[0] for v in found]
    assert grid[0] == 0.5
    assert set(grid[1:3]) == {0.0, 1.0}
    assert set(grid[3:5]) == {0.333333, 0.666667}
    assert set(grid[5:7]) == {0.25, 0.75}


def test_the_weight_of_one_model_alone_walks_its_own_range() -> None:
    grid = [v[0] for v in stops(small_space(ALONE), 3)]
    assert grid[0] == 0.6
    assert set(grid[1:]) == {0.2, 1.0}


def test_what_the_grid_does_not_speak_of_stays_at_the_recipes_values() -> None:
    text = METHODS.replace(
        "search:", "parameters: {lambda: {value: 0.9, low: 0.5, high: 1}}\nsearch:"
    )
    space = small_space(text)
    at = next(i for i, axis in enumerate(space.axes) if axis.parameter == "lambda")
    assert {values[at] for values in stops(space, 200)} == {0.9}


def test_asks_of_any_size_walk_one_grid() -> None:
    space, goals = plain_space(3), make_goals(1)
    walked = []
    for sizes in ([12], [1] * 12, [5, 7]):
        with planted(space, goals, ridge(1), 0) as archive:
            for k, size in enumerate(sizes):
                found = Soup().ask(space, archive, size, SeedSequence((3, k)))
                for trial in archive.propose("candidate", [(c, {}) for c in found], k):
                    archive.finish(trial.number, scored(goals, ridge(1)(trial.unit or ())), 0.0)
            walked.append([t.unit for t in archive.candidates])
    assert walked[0] == walked[1] == walked[2]


def test_seeds_change_the_order_within_a_round_alone() -> None:
    one, other = (stops(plain_space(4), 11, seed) for seed in (1, 2))
    assert one != other
    assert set(one) == set(other)


def test_sobol_points_follow_the_grid() -> None:
    space = small_space(ALONE)
    with planted(space, make_goals(1), ridge(1), 0) as archive:
        origins = [c.origin for c in Soup().ask(space, archive, 80, SeedSequence(0))]
    assert origins == sorted(origins, key=["soup", "sobol"].index)
    assert set(origins) == {"soup", "sobol"}


def test_a_recipe_without_anything_to_walk_is_refused() -> None:
    assert "no weight" in Soup().refusal(30, small_space(WHOLE), 2)
    assert not Soup().refusal(30, small_space(SLERP), 2)

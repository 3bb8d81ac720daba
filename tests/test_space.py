import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_mo.layers import MERGE, Layers
from mergekit_mo.space import Axis, Candidate, Space, round_value
from mergekit_mo.testing.planted import MIXED, WHOLE, plain_space, small_space

GRADIENT = """
merge_method: ties
base_model: a/base
models:
  - model: a/one
    parameters:
      density: 0.5
      weight:
        - {filter: self_attn, value: 0.5, low: 0.0, high: 1.0}
        - {value: [0.1, 0.2, 0.3], low: 0.0, high: 2.0}
  - model: a/two@main
    parameters: {weight: 0.3, density: 0.5}
"""

SLICES = """
merge_method: slerp
base_model: a/one
slices:
  - sources:
      - {model: a/one, layer_range: [0, 4]}
      - {model: a/two, layer_range: [0, 4]}
    parameters:
      t: {value: 0.3, low: 0.0, high: 0.4}
"""

STEADY = settings(deadline=None, max_examples=60)  # a busy machine is no failure
SPACES = {text: small_space(text) for text in (MIXED, WHOLE, GRADIENT, SLICES)}
UNITS = st.floats(0, 1)


@st.composite
def points(draw: st.DrawFn) -> tuple[Space, tuple[float, ...]]:
    space = SPACES[draw(st.sampled_from(sorted(SPACES)))]
    return space, tuple(draw(UNITS) for _ in range(space.dim))


def axis(name: str, text: str = MIXED) -> Axis:
    return next(a for a in SPACES[text].axes if a.name == name)


def parameters(config: dict[str, Any], model: int) -> dict[str, Any]:
    found: dict[str, Any] = config["models"][model]["parameters"]
    return found


@STEADY
@given(points())
def test_snapping_twice_is_snapping_once(point: tuple[Space, tuple[float, ...]]) -> None:
    space, unit = point
    snapped = space.snap(unit)
    assert space.snap(snapped) == snapped
    assert all(0 <= u <= 1 for u in snapped)


@STEADY
@given(points())
def test_snapping_changes_no_configuration(point: tuple[Space, tuple[float, ...]]) -> None:
    space, unit = point
    assert space.config(space.snap(unit)) == space.config(unit)


@STEADY
@given(points())
def test_values_are_within_their_bounds_and_survive_encoding(
    point: tuple[Space, tuple[float, ...]],
) -> None:
    space, unit = point
    for a, value in zip(space.axes, space.values(unit), strict=True):
        assert value in a.choices if a.choices else a.low <= float(value) <= a.high
        assert a.decode(a.encode(value)) == value


@STEADY
@given(points())
def test_a_configuration_survives_its_file(point: tuple[Space, tuple[float, ...]]) -> None:
    space, unit = point
    config = space.config(unit)
    assert yaml.safe_load(yaml.safe_dump(config)) == config


@STEADY
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_six_significant_digits_are_kept(value: float) -> None:
    rounded = round_value(value)
    assert round_value(rounded) == rounded
    assert math.isclose(rounded, value, rel_tol=5.01e-6, abs_tol=1e-310)


def test_a_value_has_six_significant_digits() -> None:
    assert axis("one weight").decode(1 / 3) == 0.333333
    assert axis("one density").decode(1 / 3) == 0.01
    assert axis("one density").decode(0.1) == 0.00199526


def test_rounding_does_not_leave_the_bounds() -> None:
    third = Axis("x", ("x",), "x", None, 0.5, 1 / 3, 2 / 3)
    assert third.decode(0) == 1 / 3
    assert third.decode(1) == 2 / 3
    assert third.encode(third.decode(0)) == 0


def test_a_logarithm_is_uniform() -> None:
    density = axis("one density")
    assert [density.decode(u) for u in (0, 1 / 3, 2 / 3, 1)] == [0.001, 0.01, 0.1, 1]
    assert density.encode(0.1) == pytest.approx(2 / 3)


def test_whole_numbers_are_whole() -> None:
    number = axis("max_iter", WHOLE)
    values = [number.decode(u / 100) for u in range(101)]
    assert {type(v) for v in values} == {int}
    assert sorted(set(values)) == [1, 2, 3, 4]


def test_choices_have_equal_stretches() -> None:
    normalize = axis("normalize")
    assert [normalize.decode(u) for u in (0, 0.49, 0.5, 1)] == [True, True, False, False]
    assert [normalize.encode(v) for v in (True, False)] == [0.25, 0.75]


def test_true_and_1_are_different_choices() -> None:
    mixed = Axis("x", ("x",), "x", None, 1, 0, 2, choices=(True, 1))
    assert [mixed.encode(True), mixed.encode(1)] == [0.25, 0.75]
    assert type(mixed.decode(0.25)) is bool
    assert type(mixed.decode(0.75)) is int


def test_every_anchor_of_a_gradient_is_an_axis() -> None:
    names = [a.name for a in SPACES[GRADIENT].axes]
    assert names == ["one weight self_attn", *[f"one weight[{i}]" for i in range(3)]]


def test_filters_stay_beside_their_values() -> None:
    config = SPACES[GRADIENT].config([0.25, 0.0, 0.5, 1.0])
    expected = [{"filter": "self_attn", "value": 0.25}, {"value": [0.0, 1.0, 2.0]}]
    assert parameters(config, 0) == {"density": 0.5, "weight": expected}


def test_what_is_no_hole_stays_as_it_is() -> None:
    config = SPACES[GRADIENT].config([0.5] * 4)
    assert parameters(config, 1) == {"weight": 0.3, "density": 0.5}
    assert config["models"][1]["model"] == "a/two@main"
    assert "search" not in config


def test_holes_that_the_method_does_not_know_are_idle() -> None:
    space = SPACES[MIXED]
    at = {a.name: i for i, a in enumerate(space.axes)}
    unit = [0.9] * space.dim
    unit[at["method"]] = 0.75
    assert space.method(unit) == "multislerp"
    idle = [a.name for a, on in zip(space.axes, space.active(unit), strict=True) if not on]
    assert idle == ["one density", "normalize"]
    assert space.snap(unit)[at["one density"]] == axis("one density").encode(0.5)
    config = space.config(unit)
    assert config["merge_method"] == "multislerp"
    assert "density" not in parameters(config, 0)
    assert "density" not in parameters(config, 1)


def test_a_configuration_shares_nothing_with_the_recipe() -> None:
    space = SPACES[MIXED]
    before = space.config([0.5] * space.dim)
    parameters(space.config([0.5] * space.dim), 0)["weight"] = "changed"
    assert space.config([0.5] * space.dim) == before


@STEADY
@given(points())
def test_mergekit_reads_every_configuration(point: tuple[Space, tuple[float, ...]]) -> None:
    from mergekit.config import MergeConfiguration

    space, unit = point
    config = space.config(unit)
    read = MergeConfiguration.model_validate(config)
    assert read.merge_method == space.method(unit)
    assert [m.model.model.path for m in read.models or ()] == [
        str(m["model"]).partition("@")[0] for m in config.get("models", ())
    ]


def test_the_users_own_values_come_first_and_the_uniform_mix_follows() -> None:
    own, mix = SPACES[GRADIENT].starts()
    assert (own.origin, mix.origin) == ("recipe", "uniform")
    assert SPACES[GRADIENT].values(own.unit) == (0.5, 0.1, 0.2, 0.3)
    assert SPACES[GRADIENT].values(mix.unit) == (0.5, 0.5, 0.5, 0.5)


def test_a_uniform_mix_that_is_the_users_own_is_not_tried_twice() -> None:
    (own,) = small_space(SLICES.replace("0.3", "0.5").replace("0.4}", "1.0}")).starts()
    assert own.origin == "recipe"


def test_the_uniform_mix_keeps_to_the_bounds() -> None:
    _, mix = SPACES[SLICES].starts()
    assert SPACES[SLICES].values(mix.unit) == (0.4,)


def test_the_uniform_mix_counts_the_models_that_share_the_weight() -> None:
    _, mix = plain_space(3).starts()
    assert plain_space(3).values(mix.unit) == (0.25, 0.25, 0.25)


def test_start_values_are_written_as_the_user_wrote_them() -> None:
    config = SPACES[GRADIENT].config(SPACES[GRADIENT].starts()[0].unit)
    weights = [{"filter": "self_attn", "value": 0.5}, {"value": [0.1, 0.2, 0.3]}]
    assert parameters(config, 0)["weight"] == weights


def walked(text: str = MIXED) -> Space:
    layers = Layers((MERGE, "a/one"), (2, 2), 2, 3, repeat=1)
    return Space(SPACES[text].configuration, layers)


STRAIGHT = ((0, 0), (0, 1))


def test_a_candidate_without_a_path_is_on_the_straight_one() -> None:
    space = walked()
    assert {c.path for c in space.starts()} == {STRAIGHT}
    assert space.candidate([0.5] * space.dim, "x").path == STRAIGHT
    unit = space.starts()[0].unit
    assert space.settled(Candidate(unit, "x")) == space.settled(Candidate(unit, "x", STRAIGHT))


def test_a_path_is_kept_if_the_rules_allow_it() -> None:
    space = walked()
    swapped = ((1, 0), (0, 1), (0, 1))
    assert space.candidate([0.5] * space.dim, "x", swapped).path == swapped
    with pytest.raises(ValueError, match="no such path: merge 1, one 0"):
        space.candidate([0.5] * space.dim, "x", ((0, 1), (1, 0)))


def test_a_space_without_layers_has_no_paths() -> None:
    space = SPACES[MIXED]
    assert {c.path for c in space.starts()} == {None}
    with pytest.raises(ValueError, match="the layers are not searched"):
        space.candidate([0.5] * space.dim, "x", STRAIGHT)


def test_the_configuration_is_that_of_the_merge_whatever_the_path() -> None:
    unit = walked().starts()[0].unit
    assert walked().config(unit) == SPACES[MIXED].config(unit)

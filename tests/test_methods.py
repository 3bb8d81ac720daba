from __future__ import annotations

import pytest

from mergekit_mo.methods import ANY, RANGES, Range, methods, unknown_method

SLERP_LIKE = ("slerp", "nearswap", "arcee_fusion")


def test_every_registered_method_is_known() -> None:
    from mergekit.merge_methods import registered_methods

    assert set(methods()) == {method.spec.name for method in registered_methods()}
    assert {"linear", "ties", "dare_ties", "della", "slerp", "karcher"} <= set(methods())


def test_scopes_and_kinds_are_those_of_mergekit() -> None:
    ties = methods()["ties"].parameters
    assert ties["weight"].per_model
    assert ties["weight"].required
    assert not ties["weight"].for_base
    assert not ties["lambda"].per_model
    assert not ties["density"].required
    assert ties["normalize"].kind is bool
    assert methods()["karcher"].parameters["max_iter"].kind is int
    assert methods()["passthrough"].parameters["scale"].kind is float
    assert methods()["linear"].parameters["weight"].for_base


def test_the_ranges_name_only_parameters_that_exist() -> None:
    known = {name for method in methods().values() for name in method.parameters}
    assert set(RANGES) <= known


def test_the_same_name_may_have_another_range_elsewhere() -> None:
    assert not methods()["della"].parameters["epsilon"].range.holds(0.5)
    assert methods()["ram"].parameters["epsilon"].range.holds(0.5)
    assert methods()["slerp"].parameters["t"].range == ANY
    assert not methods()["nearswap"].parameters["t"].range.holds(0)


def test_a_method_knows_whether_it_draws_at_random_and_needs_a_base() -> None:
    random = {name for name, method in methods().items() if method.is_random}
    assert random == {"dare_linear", "dare_ties", "della", "della_linear", "arcee_fusion"}
    assert methods()["ties"].needs_base
    assert not methods()["nuslerp"].needs_base
    assert methods()["linear"].ignores_base


@pytest.mark.parametrize("name", SLERP_LIKE)
def test_methods_for_two_take_two(name: str) -> None:
    method = methods()[name]
    assert method.inputs_problem(["a", "b"], "a") == ""
    assert method.inputs_problem(["a", "b", "c"], "a") == f"{name} requires exactly 2 models; got 3"


@pytest.mark.parametrize(
    ("span", "text", "inside", "outside"),
    [
        (Range(0, 1), "from 0 to 1", [0, 0.5, 1], [-0.1, 1.1]),
        (Range(0, 1, open_low=True), "above 0 to 1", [0.1, 1], [0]),
        (Range(0, 0.5, open_high=True), "0 or more and below 0.5", [0, 0.4], [0.5]),
        (Range(low=0, open_low=True), "above 0", [1e9], [0]),
        (Range(low=1), "1 or more", [1], [0]),
        (Range(high=1), "1 or less", [1, -5], [2]),
        (ANY, "any number", [-1e300, 1e300], [float("nan")]),
    ],
)
def test_a_range_says_in_words_what_it_holds(
    span: Range, text: str, inside: list[float], outside: list[float]
) -> None:
    assert str(span) == text
    assert all(span.holds(value) for value in inside)
    assert not any(span.holds(value) for value in outside)


def test_a_misspelt_method_is_told_the_nearest() -> None:
    assert unknown_method("dare-ties").startswith("did you mean 'dare_ties'? mergekit has: ")

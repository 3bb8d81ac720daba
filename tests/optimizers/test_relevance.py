import pytest

from mergekit_mo.optimizers._relevance import stretches
from mergekit_mo.space import Space
from mergekit_mo.testing.planted import plain_space, small_space

NAMES = [
    "model.embed_tokens.weight",
    *(f"model.layers.{i}.{part}.weight" for i in range(5) for part in ("self_attn.q", "mlp.up")),
    "model.norm.weight",
    "lm_head.weight",
]


def norms(**changed: float) -> dict[str, dict[str, float]]:
    """Both sources differ by 1 in every tensor, the first by `changed` where a name contains it."""
    own = dict.fromkeys(NAMES, 1.0)
    for part, norm in changed.items():
        own |= {name: norm for name in NAMES if part.replace("__", ".") in name}
    return {"a/1": own, "a/2": dict.fromkeys(NAMES, 1.0)}


def space(first: str) -> Space:
    hole = "{value: 0.5, low: 0, high: 1}"
    return small_space(
        "merge_method: ties\nbase_model: a/b\nmodels:\n"
        f"  - {{model: a/1, parameters: {{{first}, density: 1}}}}\n"
        f"  - {{model: a/2, parameters: {{weight: {hole}, density: 1}}}}\n"
    )


WHOLE = "weight: {value: 0.5, low: 0, high: 1}"
GRADIENT = "weight: {value: [0.5, 0.5, 0.5], low: 0, high: 1}"
FILTERED = (
    "weight: [{filter: self_attn, value: 0.5, low: 0, high: 1}, {value: 0.5, low: 0, high: 1}]"
)


def test_what_differs_alike_is_expected_to_matter_alike() -> None:
    assert stretches(space(WHOLE), norms()) == pytest.approx((1.0, 1.0))


def test_a_model_that_hardly_changed_is_stretched_within_bounds() -> None:
    little, usual = stretches(space(WHOLE), norms(model=0.01, lm_head=0.01))
    assert little == 4.0
    assert 0.5 <= usual < 1


def test_a_model_that_did_not_change_at_all_is_stretched_most() -> None:
    assert stretches(space(WHOLE), norms(model=0.0, lm_head=0.0))[0] == 4.0


def test_an_anchor_stands_for_the_layers_near_it() -> None:
    first, middle, last, _ = stretches(space(GRADIENT), norms(layers__0=0.0, layers__1=0.0))
    assert first > middle
    assert first > last


def test_a_filter_takes_its_tensors_from_the_entry_after_it() -> None:
    attention, rest, _ = stretches(space(FILTERED), norms(self_attn=0.1))
    assert attention > 2 * rest
    attention, rest, _ = stretches(
        space(FILTERED), norms(mlp=0.1, embed=0.1, norm=0.1, lm_head=0.1)
    )
    assert rest > 2 * attention


def test_a_density_is_expected_to_matter_less_than_its_weight() -> None:
    hole = "{value: 0.5, low: 0, high: 1}"
    found = stretches(
        small_space(
            "merge_method: ties\nbase_model: a/b\nmodels:\n"
            f"  - {{model: a/1, parameters: {{weight: {hole}, density: {hole}}}}}\n"
            "  - {model: a/2, parameters: {weight: 1, density: 1}}\n"
        ),
        norms(),
    )
    assert found[1] > found[0]


def test_coordinates_of_which_nothing_is_known_are_as_they_were() -> None:
    assert stretches(plain_space(3), norms()) == (1.0, 1.0, 1.0)
    assert stretches(space(WHOLE), {}) == (1.0, 1.0)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mergekit_mo.configuration import Configuration
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.objectives.sparsity import Sparsity
from mergekit_mo.testing.objectives import ObjectiveSuite
from mergekit_mo.testing.planted import small_space

Make = Callable[..., Path]


class TestConformance(ObjectiveSuite):
    @pytest.fixture
    def objective(self) -> Objective:
        return Sparsity()


def test_it_is_the_distance_from_the_base_over_all_parameters(subject: Subject, base: Path) -> None:
    from transformers import AutoModelForCausalLM

    reference = dict(AutoModelForCausalLM.from_pretrained(base).named_parameters())
    expected = sum(
        (p.double() - reference[name].double()).abs().sum().item()
        for name, p in subject.model.named_parameters()
    )
    assert expected > 0
    assert Sparsity().score(subject).value == pytest.approx(expected, rel=1e-12)


def test_nearer_is_better_and_exact(subject: Subject) -> None:
    assert not Sparsity().maximize
    assert Sparsity().score(subject).stderr == 0


def configuration(**rest: object) -> Configuration:
    hole = {"value": 1.0, "low": 0, "high": 2}
    tree = {"merge_method": "passthrough", "parameters": {"scale": hole}, **rest}
    return small_space(yaml.safe_dump(tree)).configuration


def stacked(*ranges: list[int]) -> list[dict[str, object]]:
    return [{"sources": [{"model": "a/b", "layer_range": r}]} for r in ranges]


def test_it_needs_a_base() -> None:
    found = configuration(models=[{"model": "a/b"}])
    assert "needs a base_model" in Sparsity().refusal(found)
    assert Sparsity().refusal(configuration(models=[{"model": "a/b"}], base_model="a/b")) == ""


@pytest.mark.parametrize(
    ("ranges", "refused"),
    [
        (([0, 2], [2, 4]), False),
        (([0, 2], [1, 4]), True),
        (([0, 2], [3, 4]), True),
        (([1, 4],), True),
        (([2, 4], [0, 2]), True),
    ],
)
def test_it_has_no_meaning_where_layers_lose_their_place(
    ranges: tuple[list[int], ...], refused: bool
) -> None:
    found = Sparsity().refusal(configuration(slices=stacked(*ranges), base_model="a/b"))
    assert ("no meaning" in found) is refused

"""A conformance suite for objectives."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.trial import Measurement


class ObjectiveSuite:
    """What every objective owes a search. Inherit it, and give the two fixtures.

    Fixtures:
        objective: bound to its task, if it has one.
        subject: a model that it can score.
    """

    def test_the_score_is_a_number(self, objective: Objective, subject: Subject) -> None:
        """Finite, with an error that is none, or nothing, or more."""
        found = objective.score(subject)
        assert isinstance(found, Measurement)
        assert type(found.value) is float
        assert math.isfinite(found.value)
        assert found.stderr is None or (math.isfinite(found.stderr) and found.stderr >= 0)
        assert found.n is None or found.n >= 1

    def test_the_same_model_has_the_same_score(
        self, objective: Objective, subject: Subject
    ) -> None:
        """Whatever the global generators are doing; one that measures time is near it."""
        first = objective.score(replace(subject, memo={}))
        with torch.random.fork_rng():
            torch.manual_seed(12345)
            again = objective.score(replace(subject, memo={}))
        if objective.repeatable:
            assert again == first
        else:
            assert again.value > 0
            assert first.value > 0

    def test_the_global_generator_is_left_alone(
        self, objective: Objective, subject: Subject
    ) -> None:
        """An objective that draws has a generator of its own."""
        before = torch.get_rng_state()
        objective.score(replace(subject, memo={}))
        assert torch.equal(torch.get_rng_state(), before)

    def test_the_model_is_left_as_it_was(self, objective: Objective, subject: Subject) -> None:
        """Its weights, its mode and its gradients."""
        before = _facts(subject.model)
        objective.score(replace(subject, memo={}))
        after = _facts(subject.model)
        assert before.keys() == after.keys()
        assert all(_equal(before[name], after[name]) for name in before)

    def test_it_is_called_something_and_has_a_direction(self, objective: Objective) -> None:
        """Both are shown in every table."""
        assert objective.title
        assert isinstance(objective.title, str)
        assert isinstance(objective.maximize, bool)


def _facts(model: Any) -> dict[str, Any]:
    """All of a model that an objective could change."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [
        name for name, p in model.named_parameters() if p.requires_grad or p.grad is not None
    ]
    return {**state, "training": model.training, "gradients": gradients}


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


__all__ = ["ObjectiveSuite"]

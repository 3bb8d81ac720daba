from __future__ import annotations

import pytest

from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.objectives.parameters import Parameters
from mergekit_mo.testing.objectives import ObjectiveSuite


class TestConformance(ObjectiveSuite):
    @pytest.fixture
    def objective(self) -> Objective:
        return Parameters()


def test_tied_weights_count_once(subject: Subject) -> None:
    state = subject.model.state_dict()
    assert "lm_head.weight" in state
    once = sum(tensor.numel() for name, tensor in state.items() if name != "lm_head.weight")
    assert Parameters().score(subject).value == once


def test_fewer_are_better_and_exact(subject: Subject) -> None:
    assert not Parameters().maximize
    assert Parameters().score(subject).stderr == 0

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from mergekit_mo.differences import differences
from mergekit_mo.options import MergeFlags
from mergekit_mo.planning import merge_options
from tests.conftest import Make


def test_norms_are_those_of_the_loaded_models_differences(model: Make) -> None:
    base, other = str(model(seed=0)), str(model(seed=1, shards=2))
    found = differences(base, [other], merge_options(MergeFlags(), "cpu"))
    first, second = (AutoModelForCausalLM.from_pretrained(p).state_dict() for p in (base, other))
    assert found.keys() == {other}
    assert len(found[other]) >= 19
    for name, norm in found[other].items():
        assert norm == pytest.approx(float(torch.linalg.vector_norm(second[name] - first[name])))


def test_tensors_of_another_shape_are_left_out(model: Make) -> None:
    base, other = str(model(seed=0)), str(model(seed=0, hidden=64))
    found = differences(base, [other], merge_options(MergeFlags(), "cpu"))
    assert not any("layers" in name for name in found[other])


def test_a_model_does_not_differ_from_itself(model: Make) -> None:
    base = str(model(seed=0))
    found = differences(base, [base], merge_options(MergeFlags(), "cpu"))
    assert set(found[base].values()) == {0.0}

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mergekit.io import lazy_tensor_loader
from mergekit.io.lazy_tensor_loader import LazyTensorLoader
from safetensors.torch import load_file

from mergekit_mo.reading import names_kept


def test_tensors_are_those_of_mergekits_own_loader(model: Callable[..., Path]) -> None:
    folder, plain = model(seed=0, shards=3), lazy_tensor_loader.TensorLoader
    truth = load_file(model(seed=0) / "model.safetensors")
    loader = LazyTensorLoader.from_disk(str(folder))
    with names_kept():
        for name in [*truth, *reversed(truth)]:
            assert torch.equal(loader.get_tensor(name), truth[name])
        assert loader.get_tensor("nothing", raise_on_missing=False) is None
        with pytest.raises(KeyError):
            loader.get_tensor("nothing")
    assert lazy_tensor_loader.TensorLoader is plain

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mergekit.common import ModelReference
from mergekit.io import lazy_tensor_loader
from mergekit.io.lazy_tensor_loader import LazyTensorLoader
from mergekit.io.tasks import LoaderCache
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


def test_tensors_of_a_source_are_not_kept(model: Callable[..., Path]) -> None:
    """Kept, they would take memory that no forecast has."""
    loader = LazyTensorLoader.from_disk(str(model(seed=0)))
    with names_kept():
        (name, *_) = loader.index.tensor_paths
        tensor = weakref.ref(loader.get_tensor(name))
        assert tensor() is None


def test_loaders_are_mergekits_own_and_are_left_to_it(model: Callable[..., Path]) -> None:
    first, same = (ModelReference.parse(str(model(seed=0))) for _ in range(2))
    cache, plain = LoaderCache(), LoaderCache.loaders
    plain.clear()
    with names_kept():
        found = cache.get(first)
        assert cache.get(first) is cache.get(same) is found
        assert cache.get(ModelReference.parse(str(model(seed=1)))) is not found
    assert LoaderCache.loaders is plain
    assert plain[same] is found
    assert len(plain) == 2
    plain.clear()

"""mergekit's loaders, told once what is in a file of weights.

Rule: which tensor is read, and from where, is mergekit's affair. What is kept: the list of a file's
names, which its loader makes anew for every tensor (seen: a tenth of a `linear` merge); and which
loader is a model's, which mergekit's cache finds by comparing models field by field. Not tensors:
kept, those of three sources at 135M took 500 MB that the forecast of memory does not have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mergekit.common import ModelReference
from mergekit.io import lazy_tensor_loader
from mergekit.io.lazy_tensor_loader import LazyTensorLoader
from mergekit.io.loader import TensorLoader
from mergekit.io.tasks import LoaderCache


class _File:
    """An open file of tensors."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened
        self._names = frozenset(opened.keys())

    def keys(self) -> Collection[str]:
        """The names of its tensors."""
        return self._names

    def get_tensor(self, name: str) -> torch.Tensor:
        """One of them."""
        tensor: torch.Tensor = self._opened.get_tensor(name)
        return tensor


class _Loader:
    """Opens files as mergekit does."""

    @staticmethod
    def get(*args: Any, **kwargs: Any) -> _File:
        """An open file."""
        return _File(TensorLoader.get(*args, **kwargs))


class _Loaders(dict[ModelReference, LazyTensorLoader]):
    """mergekit's loaders by model, where one that was looked up before is known by identity."""

    def __init__(self, known: dict[ModelReference, LazyTensorLoader]) -> None:
        super().__init__(known)
        # The model is kept, so that its identity stays its own.
        self._seen: dict[int, tuple[ModelReference, LazyTensorLoader]] = {}

    def __contains__(self, model: object) -> bool:
        return id(model) in self._seen or super().__contains__(model)

    def __getitem__(self, model: ModelReference) -> LazyTensorLoader:
        if id(model) not in self._seen:
            self._seen[id(model)] = model, super().__getitem__(model)
        return self._seen[id(model)][1]


@contextmanager
def names_kept() -> Iterator[None]:
    """What is known of models is kept for a block; of files, as long as they are open."""
    known = LoaderCache.loaders
    lazy_tensor_loader.TensorLoader = _Loader
    LoaderCache.loaders = found = _Loaders(known)
    try:
        yield
    finally:
        known.update(found)
        LoaderCache.loaders = known
        lazy_tensor_loader.TensorLoader = TensorLoader

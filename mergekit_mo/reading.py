"""mergekit's loaders, told once what is in a file of weights.

Rule: which tensor is read, and from where, is mergekit's affair; only the list of a file's names,
which its loader makes anew for every tensor, is kept (seen: a tenth of a `linear` merge).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mergekit.io import lazy_tensor_loader
from mergekit.io.loader import TensorLoader


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


@contextmanager
def names_kept() -> Iterator[None]:
    """Files that mergekit opens meanwhile know their names."""
    lazy_tensor_loader.TensorLoader = _Loader
    try:
        yield
    finally:
        lazy_tensor_loader.TensorLoader = TensorLoader

"""The order of a delta's magnitudes, which ties and its kin sort by, is kept from merge to merge.

Rule: mergekit's kernels run as they are; only their sort is answered from memory, and only for the
very bytes that were sorted before. A candidate changes weights and densities, never the deltas, so
from the second merge on nothing is sorted (seen: sorting is two thirds of a ties merge).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import mergekit.sparsify
import torch

SORTING_METHODS = frozenset({"ties", "breadcrumbs", "breadcrumbs_ties", "della", "della_linear"})
"""Methods of mergekit that sort the deltas of their sources."""

_BYTES = 4  # of a kept position


def orders_bytes(method: str, parameters: int, deltas: int) -> int:
    """What the kept orders of a merge take at most.

    Args:
        method: the merge method.
        parameters: of the merged model.
        deltas: sources besides the base.
    """
    return _BYTES * parameters * deltas if method in SORTING_METHODS else 0


class Orders:
    """Orders of tensors that were sorted.

    Args:
        room: bytes that may be kept; what comes when it is full is sorted each time.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.kept = 0
        self._known: dict[tuple[Any, ...], torch.Tensor] = {}

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        """Has mergekit's kernels ask here when they sort."""
        if not self.room:
            yield
            return
        mergekit.sparsify.torch = _Torch(self)
        try:
            yield
        finally:
            mergekit.sparsify.torch = torch

    def order(self, tensor: torch.Tensor, dim: int, descending: bool) -> torch.Tensor:
        """What `torch.argsort` gives."""
        size = _BYTES * tensor.numel()
        if tensor.device.type != "cpu" or tensor.numel() >= 2**31:
            return torch.argsort(tensor, dim=dim, descending=descending)
        plain = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
        digest = hashlib.sha256(plain).digest()
        key = (digest, tensor.dtype, tuple(tensor.shape), dim, descending)
        if key in self._known:
            return self._known[key].long()
        found = torch.argsort(tensor, dim=dim, descending=descending)
        if self.kept + size <= self.room:
            self._known[key] = found.int()
            self.kept += size
        return found


class _Torch:
    """torch as mergekit's kernels see it, but for its sorts."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def argsort(
        self, tensor: torch.Tensor, dim: int = -1, descending: bool = False
    ) -> torch.Tensor:
        """The order from memory, or sorted."""
        return self._orders.order(tensor, dim, descending)

    def sort(self, tensor: torch.Tensor, dim: int = -1, descending: bool = False) -> Any:
        """Of a sort, mergekit uses the order alone."""
        return SimpleNamespace(indices=self._orders.order(tensor, dim, descending))

"""The order of a delta's magnitudes, which ties and its kin sort by, is kept from merge to merge.

Rule: mergekit's kernels run as they are; only their sort is answered from memory, and only for the
very bytes that were sorted before. A candidate changes weights and densities, never the deltas, so
from the second merge on nothing is sorted (seen: sorting is two thirds of a ties merge).

What is kept is the rank of each element, not the sequence of elements: whether an element is among
the first k is then one comparison in the order of memory, where a list of positions is written to
all over it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import mergekit.sparsify
import torch
import xxhash

SORTING_METHODS = frozenset({"ties", "breadcrumbs", "breadcrumbs_ties", "della", "della_linear"})
"""Methods of mergekit that sort the deltas of their sources."""

_BYTES = 4  # of a kept rank


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

    def order(self, tensor: torch.Tensor, dim: int, descending: bool) -> torch.Tensor | Ranked:
        """What `torch.argsort` gives, or what stands for it."""
        size = _BYTES * tensor.numel()
        if tensor.device.type != "cpu" or tensor.numel() >= 2**31:
            return torch.argsort(tensor, dim=dim, descending=descending)
        plain = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
        key = (xxhash.xxh3_128_digest(plain), tensor.dtype, tuple(tensor.shape), dim, descending)
        if key in self._known:
            return Ranked(self._known[key])
        found = torch.argsort(tensor, dim=dim, descending=descending)
        if self.kept + size > self.room:
            return found
        self._known[key] = _ranks(found, dim)
        self.kept += size
        return Ranked(self._known[key])


class Ranked:
    """Stands for an order of elements, in the ways in which mergekit's kernels use one.

    Args:
        ranks: of each element, its place in the order.
    """

    def __init__(self, ranks: torch.Tensor) -> None:
        self.ranks = ranks

    def __getitem__(self, part: slice) -> torch.Tensor:
        """The elements in some places of the order, as a mask, which indexes what they would."""
        if self.ranks.ndim != 1:
            raise TypeError("a part of an order is taken of one row only")
        first, end, _ = part.indices(len(self.ranks))
        return self.ranks < end if not first else (self.ranks >= first) & (self.ranks < end)

    def argsort(self, dim: int = -1) -> torch.Tensor:
        """The place of each element: the order of an order, in the dimension that was sorted."""
        del dim
        return self.ranks.long()


def _ranks(order: torch.Tensor, dim: int) -> torch.Tensor:
    """The place of each element in an order."""
    shape = [1] * order.ndim
    shape[dim] = order.shape[dim]
    places = torch.arange(order.shape[dim], dtype=torch.int32).reshape(shape)
    return torch.empty(order.shape, dtype=torch.int32).scatter_(dim, order, places.expand_as(order))


class _Torch:
    """torch as mergekit's kernels see it, but for its sorts."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def argsort(
        self, tensor: torch.Tensor, dim: int = -1, descending: bool = False
    ) -> torch.Tensor | Ranked:
        """The order from memory, or sorted."""
        return self._orders.order(tensor, dim, descending)

    def sort(self, tensor: torch.Tensor, dim: int = -1, descending: bool = False) -> Any:
        """Of a sort, mergekit uses the order alone."""
        return SimpleNamespace(indices=self._orders.order(tensor, dim, descending))

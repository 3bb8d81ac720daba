"""The keys and values of a beginning, lent to all the rows that extend it.

Rule: what is lent is never changed: each call gets copies, the rows' own keys after the root's.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin


class _Layer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer for a root, lent to the rows that extend it."""

    is_sliding = False

    def __init__(self, before: _Layer | None, keep: bool) -> None:
        super().__init__()
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None
        self.keep = keep
        if before is not None:
            self.keys, self.values = before.keys, before.values
            self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """There is nothing to allocate."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_more: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The root's keys and values with those of the rows; kept for the next root if wanted."""
        if self.keys is not None and self.values is not None:
            rows = len(key_states)
            key_states = torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2)
            value_states = torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2)
        if self.keep:
            self.keys, self.values, self.is_initialized = key_states, value_states, True
        return key_states, value_states

    def get_seq_length(self) -> int:
        """Tokens of the root."""
        return 0 if self.keys is None else int(self.keys.shape[-2])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys there will be, and the first one's number."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """No limit."""
        return -1


class PrefixCache(Cache):  # type: ignore[misc]
    """A root's keys and values in all layers.

    Args:
        model: whose layers they are.
        before: the root that is extended; None for none.
        keep: whether what the call computes becomes a root in its turn.
    """

    def __init__(self, model: PreTrainedModel, before: PrefixCache | None, *, keep: bool) -> None:
        depth = model.config.get_text_config().num_hidden_layers
        layers = [_Layer(None if before is None else before.layers[i], keep) for i in range(depth)]
        super().__init__(layers=layers)

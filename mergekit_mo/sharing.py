"""Whether a model can compute a shared beginning once.

Rule: it is tried, on the model itself: a cache that cannot be extended, or a layer that takes no
mask, shows in its answers. What a short trial cannot show (windows, positions that depend on the
length) is told from the configuration.
"""

from __future__ import annotations

import inspect
from itertools import product
from typing import Any

import torch
from transformers import PreTrainedModel

from mergekit_mo.calls import Part, plan_parts
from mergekit_mo.likelihood import score_tokens
from mergekit_mo.prefixes import Limits

_TRIAL = Limits(row=12, stretch=1.0, gain=1.0, root=4)
_TAKEN = {"attention_mask", "position_ids", "past_key_values"}
_MISS = {torch.float32: 1e-3, torch.float64: 1e-3}
_COARSE_MISS = 0.3
"""How far off answers may be, as a share of what another context does to them."""


def shares(model: PreTrainedModel) -> bool:
    """Whether answers are the same when what they share is computed once."""
    if getattr(model.config, "_attn_implementation", "eager") not in ("sdpa", "eager"):
        return False
    if getattr(model, "_is_stateful", False) or getattr(model.config, "alibi", False):
        return False
    if not inspect.signature(model.forward).parameters.keys() >= _TAKEN:
        return False  # positions that follow from the column are wrong in a tree
    try:
        return _tried(model)
    except Exception:  # whatever a model's own code says to a cache or a mask that it does not know
        return False


def longest_shared(config: Any) -> float:
    """How long sequences may be, in tokens, for sharing to leave the answers as they are."""
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    kinds = {rope.get("rope_type"), *(v.get("rope_type") for v in _mappings(rope))}
    if kinds & {"dynamic", "longrope"}:
        return 0
    windows = [getattr(text, "attention_chunk_size", None)]
    if getattr(text, "use_sliding_window", True):
        windows.append(getattr(text, "sliding_window", None))
    return min((w for w in windows if w), default=float("inf"))


def _mappings(rope: Any) -> list[Any]:
    """The settings of each kind of layer, where they differ."""
    return [value for value in rope.values() if isinstance(value, dict)]


def _tried(model: PreTrainedModel) -> bool:
    """Compares answers with and without sharing, against those to other contexts."""
    vocabulary = model.config.get_text_config().vocab_size
    draw = torch.Generator().manual_seed(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(vocabulary, (count,), generator=draw).tolist())

    block, other = tokens(9), tokens(9)
    questions = [tokens(5), tokens(7), tokens(3)]
    answers = [tokens(1), tokens(3), tokens(2)]

    def parts(beginning: tuple[int, ...]) -> list[Part]:
        return [Part(beginning + q, a) for q, a in product(questions, answers)]

    def values(beginning: tuple[int, ...], limits: Limits | None) -> torch.Tensor:
        plan = plan_parts(
            parts(beginning),
            max_length=64,
            batch_size=4,
            vocabulary=vocabulary,
            device=model.device,
            limits=limits,
        )
        return score_tokens(model, plan)[0].double()

    plain = values(block, None)
    miss = (values(block, _TRIAL) - plain).norm()
    effect = (values(other, None) - plain).norm()
    return bool(miss <= _MISS.get(model.dtype, _COARSE_MISS) * effect)

"""Log-likelihoods of continuations on a live model, by calls that are planned.

Rule: the arithmetic is lm-eval's: a token is scored by `log_softmax` of the logits before it, in
the logits' own number format, and tokens are summed. Logits that nobody asks for are not computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from mergekit_mo.calls import Call, Plan
from mergekit_mo.prefix_cache import PrefixCache


def score(model: PreTrainedModel, plan: Plan) -> list[tuple[float, bool]]:
    """The log-likelihood of every part, and whether the model would write it greedily.

    Args:
        model: on the plan's device.
        plan: its calls.
    """
    return _summed(*score_tokens(model, plan), plan.lengths)


@torch.no_grad()
def score_tokens(model: PreTrainedModel, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
    """The logarithm of every scored token's probability, and whether it is the likeliest.

    Returns:
        Both of the length that all parts have together; the second says yes where nobody asks.
    """
    count = int(plan.lengths.sum())
    values = torch.zeros(count, device=model.device)
    equal = torch.ones(count, dtype=torch.bool, device=model.device)
    roots: dict[int, PrefixCache] = {}
    for i, call in enumerate(plan.calls):
        logits = _logits(model, call, roots)
        if plan.last.get(call.root) == i:
            roots.pop(call.root, None)
        if logits is None:
            continue
        likely = torch.log_softmax(logits, dim=-1)
        values = values.to(likely.dtype)
        # The head of a model that is divided among devices stands on the last of them.
        rows, targets = call.rows.to(likely.device), call.targets.to(likely.device)
        values[call.slots] = likely[rows, targets].to(values.device)
        if call.greedy:
            equal[call.slots] = (likely.argmax(dim=-1)[rows] == targets).to(equal.device)
    return values, equal


def _summed(
    values: torch.Tensor, equal: torch.Tensor, lengths: torch.Tensor
) -> list[tuple[float, bool]]:
    """Sums of consecutive values, rounded to their own number format as lm-eval's are."""
    part = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    sums = torch.zeros(len(lengths), dtype=torch.float64)
    sums.index_add_(0, part, values.cpu().double())
    wrong = torch.zeros(len(lengths), dtype=torch.long)
    wrong.index_add_(0, part, (~equal).cpu().long())
    rounded = sums.to(values.dtype).tolist()
    return list(zip(rounded, (wrong == 0).tolist(), strict=True))


def _logits(
    model: PreTrainedModel, call: Call, roots: dict[int, PrefixCache]
) -> torch.Tensor | None:
    """The logits that a call asks for, n by the vocabulary; None where it asks for none."""
    known: dict[str, Any] = {"use_cache": False}
    cache: PrefixCache | None = None
    if call.root >= 0 or call.keeps >= 0:
        cache = PrefixCache(model, roots.get(call.root), keep=call.keeps >= 0)
        known = {"past_key_values": cache, "use_cache": True}
    if call.ends is not None:
        past = 0 if cache is None else cache.get_seq_length()
        known["position_ids"] = call.positions
        known["attention_mask"] = _mask(call.ends, past, model.dtype)
    # A root that nothing is asked of still has to run.
    wanted = call.wanted if len(call.wanted) else call.wanted.new_zeros(1)
    with _only(model, wanted) as reduced:
        logits: torch.Tensor = model(input_ids=call.tokens, **known).logits
    if cache is not None and call.keeps >= 0:
        roots[call.keeps] = cache
    if not reduced:
        logits = logits.reshape(-1, logits.shape[-1])[wanted.to(logits.device)]
    return logits.reshape(len(wanted), -1) if len(call.wanted) else None


@contextmanager
def _only(model: PreTrainedModel, wanted: torch.Tensor) -> Iterator[list[bool]]:
    """Has a model compute the logits of some tokens only; the list is filled once it has."""
    done: list[bool] = []
    head = model.get_output_embeddings()
    if head is None:
        yield done
        return

    def select(_module: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden, *rest = given
        done.append(True)
        chosen = hidden.reshape(-1, hidden.shape[-1])[wanted.to(hidden.device)]
        return chosen.unsqueeze(0), *rest

    handle = head.register_forward_pre_hook(select)
    try:
        yield done
    finally:
        handle.remove()


def _mask(ends: torch.Tensor, past: int, dtype: torch.dtype) -> torch.Tensor:
    """What is added to attention: 0 where a token sees another one, else the lowest number.

    Args:
        ends: rows by columns, see `Row.ends`.
        past: tokens of the root before them, which all of them see.
        dtype: of the model.

    Returns:
        Rows by 1 by columns by past and columns.
    """
    width = ends.shape[1]
    columns = torch.arange(width, device=ends.device)
    seen = (columns[:, None] >= columns[None, :]) & (columns[None, :, None] < ends[:, None, :])
    mask = torch.zeros(len(ends), 1, width, past + width, dtype=dtype, device=ends.device)
    mask[:, 0, :, past:].masked_fill_(~seen, torch.finfo(dtype).min)
    return mask

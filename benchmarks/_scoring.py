"""Log-likelihoods of whole passages: lm-eval's `loglikelihood_rolling`, without its cost.

Rule: the figures are lm-eval's own (a test holds them against it); what is left out is to render
and tokenize the same passages again for each merge, which takes longer than the model does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional


class Passages:
    """Passages that are tokenized once and asked often.

    Args:
        texts: each short enough for the model's context.
        tokenizer: whose end token stands before each passage, as in lm-eval where there is no
            begin token.
        batch: how many are asked at once.

    Raises:
        ValueError: a passage is longer than `context` tokens.
    """

    def __init__(self, texts: Sequence[str], tokenizer: Any, context: int, batch: int = 64) -> None:
        ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        if max(map(len, ids)) > context:
            raise ValueError(f"a passage is longer than {context} tokens")
        self.count = len(texts)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # little padding in a batch
        self._batches = [
            _batch([ids[i] for i in order[at : at + batch]], tokenizer.eos_token_id)
            for at in range(0, len(order), batch)
        ]
        self._order = np.array(order)

    def nats(self, model: Any) -> NDArray[np.float64]:
        """The negative log-likelihood of each passage under a causal model."""
        found = []
        with torch.inference_mode():
            for given, wanted in self._batches:
                # Padding stands behind the passages, where causal attention never looks from.
                logits = model(given, use_cache=False).logits.float()  # b x t x v
                losses = functional.cross_entropy(
                    logits.flatten(0, 1), wanted.flatten(), ignore_index=-100, reduction="none"
                ).view(wanted.shape)  # b x t
                found.append(losses.double().sum(dim=1))
        nats = np.empty(self.count)
        nats[self._order] = torch.cat(found).numpy()
        return nats


def _batch(rows: Sequence[Sequence[int]], first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What is given and what is wanted at each place, padded on the right: `b x t` each."""
    longest = max(map(len, rows))
    given = torch.full((len(rows), longest), first)
    wanted = torch.full((len(rows), longest), -100)
    for i, row in enumerate(rows):
        given[i, 1 : len(row)] = torch.tensor(row[:-1])
        wanted[i, : len(row)] = torch.tensor(row)
    return given, wanted

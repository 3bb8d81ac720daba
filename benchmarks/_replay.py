"""lm-eval's own calls of a model, recorded once and made again: the price of the calls alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from mergekit_mo.backends.hf import no_bars


class Replay:
    """The batches that lm-eval makes of requests, as tensors.

    Args:
        model: on its device.
        tokenizer: its tokenizer.
        requests: for log-likelihoods.
        batch_size: lm-eval's.
    """

    def __init__(
        self, model: Any, tokenizer: Any, requests: Sequence[Instance], batch_size: int
    ) -> None:
        self.model = model
        self.batches: list[torch.Tensor] = []
        with no_bars():
            lm = _Recorder(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
            lm.batches = self.batches
            self.answers: list[Any] = [None] * len(requests)
            for kind in sorted({request.request_type for request in requests}):
                chosen = [i for i, r in enumerate(requests) if r.request_type == kind]
                found = getattr(lm, kind)([requests[i] for i in chosen], disable_tqdm=True)
                for i, answer in zip(chosen, found, strict=True):
                    self.answers[i] = answer

    @torch.no_grad()
    def bare(self) -> None:
        """The calls of the model."""
        for batch in self.batches:
            self.model(batch)

    @torch.no_grad()
    def scored(self) -> None:
        """The calls and the normalisation of their logits, all that takes time in lm-eval's."""
        for batch in self.batches:
            torch.log_softmax(self.model(batch).logits, dim=-1)


class _Recorder(HFLM):  # type: ignore[misc]
    batches: list[torch.Tensor]

    def _model_call(self, inps: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.batches.append(inps)
        found: torch.Tensor = super()._model_call(inps, *args, **kwargs)
        return found

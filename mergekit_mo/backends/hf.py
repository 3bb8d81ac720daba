"""The live model answers, by lm-eval's own calls of transformers.

Rule: `HFLM` is made once for a model object; a model that was asked is not kept.
"""

from __future__ import annotations

import contextlib
import io
import weakref
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from mergekit_mo.backends import Backend


class Transformers(Backend):
    """lm-eval's `hf`, on the module at hand.

    Args:
        batch_size: prompts that are run together.
        max_length: longest prompt in tokens; None for the model's own.
    """

    def __init__(self, batch_size: int, max_length: int | None = None) -> None:
        self.batch_size = batch_size
        self.max_length = max_length
        self._lm: HFLM | None = None
        self._of: tuple[weakref.ref[Any], Any] | None = None

    def respond(self, model: Any, tokenizer: Any, requests: Sequence[Instance]) -> list[Any]:
        """See `Backend.respond`."""
        lm = self.wrapper(model, tokenizer)
        responses: list[Any] = [None] * len(requests)
        by_type: dict[str, list[int]] = defaultdict(list)
        for i, request in enumerate(requests):
            by_type[request.request_type].append(i)
        try:
            for request_type, chosen in by_type.items():
                with no_bars():
                    found = getattr(lm, request_type)(
                        [requests[i] for i in chosen], disable_tqdm=True
                    )
                for i, response in zip(chosen, found, strict=True):
                    responses[i] = response
        finally:
            lm._model = None  # or a module that was replaced would live on
        return responses

    def wrapper(self, model: Any, tokenizer: Any) -> HFLM:
        """lm-eval's model object around a module; the one at hand if it is for that module."""
        same = self._of is not None and self._of[0]() is model and self._of[1] is tokenizer
        if self._lm is None or not same:
            with no_bars():
                self._lm = HFLM(
                    pretrained=model,
                    tokenizer=tokenizer,
                    batch_size=self.batch_size,
                    max_length=self.max_length,
                )
            self._lm.pretrained = None
            self._of = weakref.ref(model), tokenizer
        self._lm._model = model
        return self._lm


def no_bars() -> contextlib.redirect_stderr[io.StringIO]:
    """Keeps lm-eval's progress bars and remarks off the screen; some cannot be switched off."""
    return contextlib.redirect_stderr(io.StringIO())

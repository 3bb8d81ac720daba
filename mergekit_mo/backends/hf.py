"""The live model answers: log-likelihoods by our own calls, texts by lm-eval's.

Rule: the tokens are those that lm-eval's `HFLM` makes, and what is scored is what it scores. All
that does not depend on the weights is made once: the wrapper, the tokens, the plan of the calls.
A model that was asked is not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from mergekit_mo.backends import Backend
from mergekit_mo.calls import Part, Plan, plan_parts
from mergekit_mo.likelihood import score
from mergekit_mo.prefixes import Limits
from mergekit_mo.sharing import longest_shared, shares

_PLANS = 8
"""Plans that are kept: of the splits, of the rungs of a race, of sources' own tokenizers."""

_LIKELIHOODS = ("loglikelihood", "loglikelihood_rolling")


class Transformers(Backend):
    """The module at hand, asked as lm-eval's `hf` asks.

    Args:
        batch_size: prompts that are run together.
        max_length: longest prompt in tokens; None for the model's own.
    """

    def __init__(self, batch_size: int, max_length: int | None = None) -> None:
        self.batch_size = batch_size
        self.max_length = max_length
        self._lm: HFLM | None = None
        self._of: tuple[weakref.ref[Any], Any] | None = None
        self._shares = False
        self._digests: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._parts: dict[tuple[str, int], dict[Any, list[Part]]] = {}
        self._plans: OrderedDict[Any, tuple[Plan, list[int]]] = OrderedDict()

    def smaller(self) -> tuple[Backend, int] | None:
        """See `Backend.smaller`."""
        size = self.batch_size // 2
        return (type(self)(size, self.max_length), size) if size else None

    def respond(self, model: Any, tokenizer: Any, requests: Sequence[Instance]) -> list[Any]:
        """See `Backend.respond`."""
        lm = self.wrapper(model, tokenizer)
        try:
            return self._respond(lm, requests)
        finally:
            lm._model = None  # or a module that was replaced would live on

    def wrapper(self, model: Any, tokenizer: Any) -> HFLM:
        """lm-eval's model object around a module; the one at hand if it is for that module."""
        same = self._of is not None and self._of[0]() is model and self._of[1] is tokenizer
        if self._lm is None or not same:
            known = self._of is not None and self._of[0]() is model
            with no_bars():
                self._lm = HFLM(
                    pretrained=model,
                    tokenizer=tokenizer,
                    batch_size=self.batch_size,
                    max_length=self.max_length,
                )
            self._lm.pretrained = None
            self._of = weakref.ref(model), tokenizer
            if not known:
                self._shares = self._lm.backend == "causal" and shares(model)
        self._lm._model = model
        return self._lm

    def _respond(self, lm: HFLM, requests: Sequence[Instance]) -> list[Any]:
        responses: list[Any] = [None] * len(requests)
        own = _LIKELIHOODS if lm.backend == "causal" else ()
        likelihoods = [i for i, request in enumerate(requests) if request.request_type in own]
        if likelihoods:
            found = self._score(lm, [requests[i] for i in likelihoods])
            for i, response in zip(likelihoods, found, strict=True):
                responses[i] = response
        rest = {r.request_type for r in requests} - set(own)
        for request_type in sorted(rest):
            chosen = [i for i, r in enumerate(requests) if r.request_type == request_type]
            with no_bars():
                found = getattr(lm, request_type)([requests[i] for i in chosen], disable_tqdm=True)
            for i, response in zip(chosen, found, strict=True):
                responses[i] = response
        return responses

    def _score(self, lm: HFLM, requests: Sequence[Instance]) -> Iterator[Any]:
        """Responses to requests for log-likelihoods."""
        plan, counts = self.plan(lm, requests)
        scored = iter(score(lm.model, plan))
        for request, count in zip(requests, counts, strict=True):
            found = [next(scored) for _ in range(count)]
            rolling = request.request_type == "loglikelihood_rolling"
            yield sum(value for value, _ in found) if rolling else found[0]

    def plan(self, lm: HFLM, requests: Sequence[Instance]) -> tuple[Plan, list[int]]:
        """The calls for requests, and how many parts each request has."""
        tokens = (self._digest(lm.tokenizer), lm.max_length)
        asked = tuple((request.request_type, request.args) for request in requests)
        key = (*tokens, lm.device, self._shares, asked)
        if key not in self._plans:
            known = self._parts.setdefault(tokens, {})
            for one in asked:
                if one not in known:
                    known[one] = list(_encoded(lm, *one))
            parts = [part for one in asked for part in known[one]]
            self._plans[key] = self._planned(lm, parts), [len(known[one]) for one in asked]
            while len(self._plans) > _PLANS:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return self._plans[key]

    def _planned(self, lm: HFLM, parts: Sequence[Part]) -> Plan:
        """The calls for parts; shared beginnings are computed once where that saves tokens."""

        def planned(limits: Limits | None) -> Plan:
            return plan_parts(
                parts,
                max_length=lm.max_length,
                batch_size=self.batch_size,
                vocabulary=lm.config.get_text_config().vocab_size,
                device=lm.device,
                limits=limits,
            )

        plain = planned(None)
        longest = max(call.tokens.shape[1] for call in plain.calls)
        if not self._shares or longest > longest_shared(lm.config):
            return plain
        shared = planned(Limits())
        return shared if shared.computed < plain.computed else plain

    def _digest(self, tokenizer: Any) -> str:
        """Tells tokenizers apart that encode differently."""
        if tokenizer not in self._digests:
            rust = getattr(tokenizer, "backend_tokenizer", None)
            text = rust.to_str() if rust is not None else str(id(tokenizer))
            ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.init_kwargs)
            digest = hashlib.sha256(f"{type(tokenizer)} {ids} {text}".encode()).hexdigest()
            self._digests[tokenizer] = digest
        return self._digests[tokenizer]


def _encoded(lm: HFLM, request_type: str, args: tuple[Any, ...]) -> Iterator[Part]:
    """What a request scores, in lm-eval's tokens."""
    if request_type == "loglikelihood_rolling":
        (text,) = args
        windows = utils.get_rolling_token_windows(
            token_list=lm.tok_encode(text),
            prefix_token=lm.prefix_token_id,
            max_seq_len=lm.max_length,
            context_len=1,
        )
        for window in windows:
            context, continuation = utils.make_disjoint_window(window)
            yield Part(tuple(context), tuple(continuation), greedy=False)
        return
    context, continuation = args
    if context:
        before, after = lm._encode_pair(context, continuation)
    else:
        before, after = [], lm.tok_encode(continuation, add_special_tokens=False)
        if after[:1] == [lm.prefix_token_id]:
            before, after = after[:1], after[1:]
        else:
            before = [lm.prefix_token_id]
    yield Part(tuple(before), tuple(after))


def no_bars() -> contextlib.redirect_stderr[io.StringIO]:
    """Keeps lm-eval's progress bars and remarks off the screen; some cannot be switched off."""
    return contextlib.redirect_stderr(io.StringIO())

"""What a model expects at every token of a text, kept small, and another model held against it.

Rule: both models read the same tokens in the same windows; the sums are in double precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from mergekit_mo.objectives import Subject


@dataclass(frozen=True)
class Recorded:
    """A model's expectations of a text of `t` tokens.

    Attributes:
        tokens: the text's.
        likely: `t x k` tokens, of each expectation the likeliest.
        logs: `t x k`, their log-probabilities.
        rest: `t`, the log-probability of all others together; -inf where there are none.
    """

    tokens: tuple[int, ...]
    likely: torch.Tensor
    logs: torch.Tensor
    rest: torch.Tensor


def record(subject: Subject, text: str, top: int, window: int) -> Recorded:
    """What a model expects at every token of a text.

    Args:
        subject: the model and its tokenizer.
        text: what it reads.
        top: how many likely tokens are kept.
        window: the most tokens that are predicted from one context.
    """
    tokens = _tokens(subject, text)
    likely, logs, rests = [], [], []
    for expected in _expectations(subject, tokens, window):  # w x vocabulary
        best = expected.topk(min(top, expected.shape[1]), dim=1)
        likely.append(best.indices.int().cpu())
        logs.append(best.values.float().cpu())
        rests.append(_rest(expected, best.indices).float().cpu())
    return Recorded(tuple(tokens), torch.cat(likely), torch.cat(logs), torch.cat(rests))


def divergence(subject: Subject, text: str, known: Recorded, window: int) -> tuple[float, int]:
    """The divergence of a model from a recorded one, summed over a text's tokens, and their number.

    Raises:
        ValueError: its tokenizer or its vocabulary is another one.
    """
    tokens = _tokens(subject, text)
    if tuple(tokens) != known.tokens:
        raise ValueError("kl compares token by token, but this tokenizer cuts the text otherwise")
    total, start = 0.0, 0
    for expected in _expectations(subject, tokens, window):  # w x vocabulary
        stop = start + len(expected)
        likely = known.likely[start:stop].long().to(expected.device)
        if int(likely.max()) >= expected.shape[1]:
            raise ValueError(
                f"kl: the vocabulary ends at {expected.shape[1]}, the model's does not"
            )
        p = known.logs[start:stop].double()
        q = expected.gather(1, likely).double().cpu()
        total += float((p.exp() * (p - q)).sum())
        rest = known.rest[start:stop].double()
        some = rest.exp() > 0
        others = _rest(expected, likely).double().cpu()
        total += float((rest.exp() * (rest - others))[some].sum())
        start = stop
    return total, len(tokens)


def _tokens(subject: Subject, text: str) -> list[int]:
    found = subject.tokenizer.encode(text, add_special_tokens=False)
    return [int(token) for token in found]


def _expectations(subject: Subject, tokens: list[int], window: int) -> Iterator[torch.Tensor]:
    """Log-probabilities at successive tokens, `w x vocabulary` for each window of at most `window`.

    The first token is expected behind the tokenizer's mark of a beginning (or an end); the first
    of a later window behind the last one before it.
    """
    tokenizer, model = subject.tokenizer, subject.model
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    first = next((mark for mark in special if mark is not None), tokens[0])
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or window
    width = min(window, context)
    read = [first, *tokens[:-1]]
    for start in range(0, len(read), width):
        row = torch.tensor([read[start : start + width]], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=row, use_cache=False).logits[0]
        yield logits.float().log_softmax(dim=-1)


def _rest(expected: torch.Tensor, likely: torch.Tensor) -> torch.Tensor:
    """The log-probability of all but some tokens, `w`."""
    return expected.scatter(1, likely.long(), -torch.inf).logsumexp(dim=1)

"""Measure a tiny model in each domain, without lm-eval, in seconds.

The text and the sums are those of the family's tasks, so the harness must agree with what is here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

_BATCH = 64


@dataclass(frozen=True)
class Figures:
    """How well a model does on held-out text.

    Attributes:
        code: Bits per byte of source; lower is better.
        prose: Bits per byte of documentation; lower is better.
        accuracy: Share of sums whose right answer is the likeliest of four; chance is 1/4.
        exact: Share of sums answered rightly by greedy generation.
    """

    code: float
    prose: float
    accuracy: float
    exact: float


def figures(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tasks: Path) -> Figures:
    """Measure a model on the held-out data in a family's `tasks` folder."""
    sums = _records(tasks / "sums.json")
    with torch.inference_mode():
        return Figures(
            code=_bits_per_byte(model, tokenizer, tasks / "code.json"),
            prose=_bits_per_byte(model, tokenizer, tasks / "prose.json"),
            accuracy=_accuracy(model, tokenizer, sums),
            exact=_exact(model, tokenizer, sums),
        )


def _records(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _bits_per_byte(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, path: Path
) -> float:
    """Return the bits it takes to tell a byte of text, given that text begins."""
    texts = [record["text"] for record in _records(path)]
    nats = -_log_likelihoods(model, tokenizer, [(tokenizer.eos_token, text) for text in texts])
    octets = sum(len(text.encode()) for text in texts)
    return float(nats.sum() / torch.log(torch.tensor(2.0)) / octets)


def _accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, sums: Sequence[dict[str, Any]]
) -> float:
    """Return the share of sums whose right choice is the likeliest."""
    pairs = [(record["question"], choice) for record in sums for choice in record["choices"]]
    picked = _log_likelihoods(model, tokenizer, pairs).view(len(sums), -1).argmax(dim=1)
    return float((picked == torch.tensor([record["label"] for record in sums])).double().mean())


def _exact(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, sums: Sequence[dict[str, Any]]
) -> float:
    """Return the share of sums answered rightly, as the first line of what is generated."""
    prompts = tokenizer([record["question"] for record in sums], return_tensors="pt")
    asked = prompts["input_ids"]  # all questions are equally long: no padding
    told = model.generate(**prompts, do_sample=False, max_new_tokens=4)
    lines = [text.split("\n")[0] for text in tokenizer.batch_decode(told[:, asked.shape[1] :])]
    right = [line == record["answer"] for line, record in zip(lines, sums, strict=True)]
    return float(sum(right) / len(right))


def _log_likelihoods(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[tuple[str, str]]
) -> torch.Tensor:
    """Return the log-likelihood, in nats, of each second text behind its first: shape (pairs,)."""
    found = []
    for start in range(0, len(pairs), _BATCH):
        batch = pairs[start : start + _BATCH]
        told = tokenizer([a + b for a, b in batch], padding=True, return_tensors="pt")
        given = torch.tensor([len(tokenizer(a)["input_ids"]) for a, _ in batch])
        ids, mask = told["input_ids"], told["attention_mask"]
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
        nats = -functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        judged = mask[:, 1:].bool() & (torch.arange(1, ids.shape[1]) >= given[:, None])
        found.append((nats * judged).sum(dim=1))
    return torch.cat(found)

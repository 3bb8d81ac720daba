"""Make untrained model folders of several architectures in a fraction of a second.

Folders made with equal arguments but for `seed` differ in weights alone, so they can be merged.
"""

import functools
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from mergekit_mo.testing.training import tokenizer_of

CONTEXT = 128

_HEADS = 4
_NOISE = 0.02
_LINES = ("the quick brown fox jumps over the lazy dog\n", "def add(a, b):\n    return a + b\n")


def untrained(
    folder: Path,
    kind: str = "llama",
    *,
    layers: int = 2,
    hidden: int = 32,
    vocab: int | None = None,
    tied: bool | None = None,
    dtype: str = "float32",
    seed: int = 0,
    shards: int = 1,
    base: Path | None = None,
) -> Path:
    """Save an untrained model with a tokenizer, and return its folder.

    Args:
        folder: Where to; made if absent.
        kind: `llama`, `mistral`, `qwen2` or `gpt2`.
        layers: Number of blocks.
        hidden: Width, a multiple of 8.
        vocab: Rows of the embeddings, at least the tokenizer's size, which it is by default.
        tied: Whether the output shares the embeddings; by default so for `qwen2` and `gpt2`.
        dtype: Name of the weights' torch type.
        seed: Settles the weights.
        shards: Save in about so many files, with an index if more than one.
        base: A folder of the same shape, whose weights are to be kept but for a little noise.
    """
    tokenizer = _tokenizer()
    config = _config(kind, layers, hidden, vocab or len(tokenizer), tied)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    if base is not None:
        _settle_near(model, base)
    model.to(getattr(torch, dtype))
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    model.save_pretrained(folder, max_shard_size=-(-size // shards) if shards > 1 else size + 1)
    tokenizer.save_pretrained(folder)
    return folder


@functools.cache
def _tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer, made once in a process."""
    return tokenizer_of(_LINES, vocab=300, context=CONTEXT)


def _config(kind: str, layers: int, hidden: int, vocab: int, tied: bool | None) -> Any:
    """Return the configuration of a small model of a kind."""
    tokenizer = _tokenizer()
    shape: dict[str, Any] = {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": _HEADS,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": kind in {"qwen2", "gpt2"} if tied is None else tied,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if kind != "gpt2":
        shape |= {"intermediate_size": 2 * hidden, "num_key_value_heads": _HEADS // 2}
    return AutoConfig.for_model(kind, **shape)


def _settle_near(model: torch.nn.Module, base: Path) -> None:
    """Scale the fresh weights down to noise about those of `base`."""
    known = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).state_dict()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(_NOISE).add_(known[name])

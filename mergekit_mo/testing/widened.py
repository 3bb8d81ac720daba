"""The same model with wider attention heads: what it computes stays, up to rounding.

Kernels know a few widths of heads; vLLM's for a CPU begin at 32, and the tiny family's have 24.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM


def widened(source: Path, target: Path, width: int = 32) -> Path:
    """Saves a Llama model whose heads are padded with zeros.

    The rotation of dimension i of d turns by base^(-2i/d), so the base is raised to keep the old
    dimensions' speeds; attention divides by the root of the width, so queries are scaled up.

    Args:
        source: folder of a Llama model with its tokenizer.
        target: where to; made if absent.
        width: of a head, an even number no less than the old one.

    Returns:
        The target.
    """
    old = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    before = old.config.head_dim
    plain = old.config.to_dict()
    theta = plain["rope_parameters"]["rope_theta"] ** (width / before)
    plain |= {"head_dim": width, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}
    new = LlamaForCausalLM(LlamaConfig(**plain))
    state = old.state_dict()
    for name, weight in state.items():
        part = name.rpartition(".self_attn.")[2].partition(".")[0]
        if part in ("q_proj", "k_proj"):
            halves = weight.reshape(-1, 2, before // 2, weight.shape[1])
            scale = math.sqrt(width / before) if part == "q_proj" else 1.0
            state[name] = _padded(halves * scale, 2, width // 2).flatten(0, 2)
        elif part == "v_proj":
            heads = weight.reshape(-1, before, weight.shape[1])
            state[name] = _padded(heads, 1, width).flatten(0, 1)
        elif part == "o_proj":
            heads = weight.reshape(weight.shape[0], -1, before)
            state[name] = _padded(heads, 2, width).flatten(1, 2)
    new.load_state_dict(state)
    new.generation_config = old.generation_config
    new.save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    return target


def _padded(tensor: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    """The tensor with zeros behind it along one dimension."""
    shape = list(tensor.shape)
    shape[dim] = size - shape[dim]
    return torch.cat([tensor, tensor.new_zeros(shape)], dim)

"""A trained policy as bytes: a cache beside the archive that it learnt from, never the truth.

Rule: a checkpoint counts only where its key is that of the archive, the settings and the versions
at hand; any other, torn or old, is as good as none, and the policy learns from the archive again.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from mergekit_mo.archive import Archive
from mergekit_mo.layers import Layers
from mergekit_mo.optimizers._policy import Policy

_FORMAT = 2  # of networks and of what they learn: a new number where either has changed
_HEAD = 8  # bytes that tell the length of the header
_KEY = "key"


def key_of(archive: Archive, layers: Layers, settings: Any) -> str:
    """A fingerprint of all that a policy depends on: trials, goals, paths, settings, versions."""
    trials = [
        [t.number, t.role, t.status, t.unit, t.path, {g: m.value for g, m in t.scores.items()}]
        for t in archive.trials
    ]
    facts = [_FORMAT, torch.__version__, repr(archive.goals), layers.facts(), settings, trials]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()


def packed(policy: Policy, key: str) -> bytes:
    """A policy's weights, in the format of safetensors."""
    tensors = {name: tensor.contiguous() for name, tensor in policy.state_dict().items()}
    return bytes(safetensors.torch.save(tensors, {_KEY: key}))


def restored(data: bytes | None, key: str, policy: Policy) -> bool:
    """Gives a policy the weights that were packed under a key; whether it could."""
    if not data or _key_in(data) != key:
        return False
    try:
        policy.load_state_dict(safetensors.torch.load(data))
    except (SafetensorError, RuntimeError, KeyError, ValueError):  # torn, or of another shape
        return False
    return True


def _key_in(data: bytes) -> str:
    """The key of a checkpoint; empty where it is none."""
    length = int.from_bytes(data[:_HEAD], "little")
    try:
        head = json.loads(data[_HEAD : _HEAD + length])
        return str(head["__metadata__"][_KEY])
    except (ValueError, KeyError, TypeError):
        return ""

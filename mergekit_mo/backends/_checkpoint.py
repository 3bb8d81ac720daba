"""A model that stands in memory becomes the folder that an engine reads.

Rule: what lies beside the weights says which engine can take them; equal marks, equal engines.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from mergekit_mo.backends.hf import no_bars

_RAM = Path("/dev/shm")
_SLACK = 1.1  # of a model's bytes: headers, and what others write meanwhile


def roomy_folder(size: int, ram: Path = _RAM) -> Path:
    """A new private folder for that many bytes: on the RAM disk if they fit, else on disk."""
    fits = ram.is_dir() and shutil.disk_usage(ram).free > _SLACK * size
    return Path(tempfile.mkdtemp(prefix="mergekit-mo-", dir=ram if fits else None))


def size_of(model: Any) -> int:
    """The bytes of a model's parameters."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def write_model(model: Any, folder: Path) -> None:
    """Writes weights and configuration as a checkpoint has them: tensors under their names there.

    The generation settings are written as they are, though transformers would refuse some.
    """
    settings = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        with no_bars():
            model.save_pretrained(folder)
    finally:
        model.generation_config = settings
    plain = settings.to_diff_dict()
    (folder / "generation_config.json").write_text(json.dumps(plain), encoding="utf-8")


def remove_weights(folder: Path) -> None:
    """Frees the room that weights take, once an engine has them."""
    for path in folder.glob("*.safetensors*"):
        path.unlink()


def mark(folder: Path) -> str:
    """A digest of all that lies beside the weights, tokenizer included."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("**/*")):
        if path.suffix != ".log" and path.is_file() and ".safetensors" not in path.name:
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()

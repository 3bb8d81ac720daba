"""The shipped recipes without a network: Hub ids become untrained models of the same depth."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.task_documents import localise

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
DEPTH = 28
"""Layers of every model that the recipes name."""

_ID = re.compile(r"\b((?:Qwen|deepseek-ai)/[\w.-]+)")
_ADAPTER = re.compile(r"\+(your-name/[\w-]+)")


def localised(folder: Path, model: Callable[..., Path]) -> Path:
    """Writes every recipe that names the Hub, its tasks beside it, and the models.

    Args:
        folder: where to.
        model: the fixture of untrained models.

    Returns:
        The folder of the recipes.
    """
    home = folder / "recipes"
    localise(home / "tasks", 500)
    for path in sorted(RECIPES.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if not _ID.search(text):
            continue
        kept = [line for line in text.splitlines() if not line.startswith("#")]
        text = _ID.sub(lambda m: str(_model(m[1], model)), "\n".join(kept))
        text = _ADAPTER.sub(lambda m: f"+{_adapter(folder, m[1], model)}", text)
        (home / path.name).write_text(text + "\n", encoding="utf-8")
    return home


def _model(name: str, model: Callable[..., Path]) -> Path:
    """One model for each id, by a seed that is the id's."""
    return model("qwen2", layers=DEPTH, hidden=16, seed=sum(name.encode()))


def _adapter(folder: Path, name: str, model: Callable[..., Path]) -> Path:
    """A LoRA of the model that the recipe's adapters belong to."""
    import peft
    from transformers import AutoModelForCausalLM

    path = folder / name
    if not path.exists():
        base = AutoModelForCausalLM.from_pretrained(_model("Qwen/Qwen2.5-1.5B-Instruct", model))
        config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
        peft.get_peft_model(base, config).save_pretrained(path)
    return path

"""Merges are scored in 4 or 8 bits, as they will be used: bitsandbytes quantises the merge.

Rule: the merge itself stays whole; its tensors and their digest are what mergekit writes, and the
copy that is scored is what transformers makes of these when it loads them, bit for bit.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
from collections.abc import Iterator
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from mergekit_mo.evaluation import LoadIn
from mergekit_mo.optional import pip_line

_PACKAGE = "bitsandbytes"


def quantised(model: PreTrainedModel, how: LoadIn, device: str) -> PreTrainedModel:
    """A quantised copy of a model; its linear layers but the head, as transformers chooses them.

    Args:
        model: stays as it is, wherever it is.
        how: the number of bits.
        device: where the copy goes.

    Raises:
        RuntimeError: some tensor found no place in the copy.
    """
    with _quiet():
        copy, told = type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=model.state_dict(),
            quantization_config=_settings(how, model.dtype),
            dtype=model.dtype,
            device_map={"": device},
            output_loading_info=True,
        )
    strange = [*told["missing_keys"], *told["unexpected_keys"], *told["mismatched_keys"]]
    if strange:
        raise RuntimeError(f"the model cannot be quantised: {strange[0]} finds no place")
    assert isinstance(copy, PreTrainedModel)
    copy.generation_config = model.generation_config
    return copy.eval().requires_grad_(False)


def obstacle(how: LoadIn, device: str) -> tuple[str, str]:
    """Why models cannot be scored in so few bits here, and the way out; empty where they can.

    A small layer is quantised and run on the device, as only that tells.
    """
    if importlib.util.find_spec(_PACKAGE) is None:
        return f"{how} needs the package {_PACKAGE}, which is not installed", pip_line(_PACKAGE)
    try:
        with _quiet():
            layer = _layer(how).to(device)
            found = layer(torch.ones(1, 64, device=device))
        if bool(torch.isfinite(found).all()):
            return "", ""
        reason = "it gives no numbers"
    except Exception as error:  # its backends raise many kinds
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return f"{_PACKAGE} cannot run in {how} on {device}: {reason}", "leave load_in: out"


def _layer(how: LoadIn) -> torch.nn.Module:
    layers: Any = importlib.import_module(f"{_PACKAGE}.nn")
    made = (
        layers.Linear4bit(64, 64, quant_type="nf4")
        if how == "4bit"
        else layers.Linear8bitLt(64, 64, has_fp16_weights=False)
    )
    assert isinstance(made, torch.nn.Module)
    return made


def _settings(how: LoadIn, dtype: torch.dtype) -> Any:
    if how == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps bars and remarks off the screen."""
    loggers = [logging.getLogger(name) for name in (_PACKAGE, "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

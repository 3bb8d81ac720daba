"""The program that holds a vLLM engine, which is lm-eval's own `VLLM`.

Rule: prompts are cut and answers are read as `lm_eval --model vllm` does it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

from mergekit_mo.backends._serving import serve_driver
from mergekit_mo.vllm_options import on_a_cpu


class Server:
    """Does what the driver asks, with one engine. vLLM is imported when it starts."""

    def __init__(self) -> None:
        self.lm: Any = None

    def start(self, options: Mapping[str, Any]) -> None:
        """Starts the engine: options as lm-eval's `VLLM` takes them."""
        from lm_eval.models.vllm_causallms import VLLM
        from vllm.platforms import current_platform

        from mergekit_mo.vllm_weights import ENGINE_OPTIONS, register

        register()  # for this process; the engine's own, if it has any, find it among the plugins
        if current_platform.is_cpu():
            options = on_a_cpu(options, os.environ)
        self.lm = VLLM(**options, **ENGINE_OPTIONS)

    def replace(self, folder: str) -> None:
        """Puts new weights in the place of those that the engine has."""
        from mergekit_mo.vllm_weights import replace_weights

        replace_weights(self.lm.model, Path(folder))

    def answer(self, wanted: tuple[str, Sequence[tuple[Any, ...]]]) -> list[Any]:
        """Answers requests of one type, given by their arguments."""
        kind, arguments = wanted
        requests = [Instance(kind, {}, given, n) for n, given in enumerate(arguments)]
        return list(getattr(self.lm, kind)(requests, disable_tqdm=True))

    def close(self) -> None:
        """Lets vLLM end its own processes, if it has any."""
        self.lm = None
        gc.collect()


if __name__ == "__main__":
    serve_driver(Server())

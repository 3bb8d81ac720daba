"""A vLLM engine answers; each model's weights take the place of the last one's.

Rule: one engine serves a run. It is started anew only where more than the weights changed (depth,
vocabulary, any other setting of the model or its tokenizer), or after it failed.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

from mergekit_mo.backends import Backend
from mergekit_mo.backends._checkpoint import (
    mark,
    remove_weights,
    roomy_folder,
    size_of,
    write_model,
)
from mergekit_mo.backends._engine import Engine
from mergekit_mo.evaluation import Evaluation
from mergekit_mo.vllm_options import engine_environment, engine_options

_MODEL, _TOKENIZER = "model", "tokenizer"  # folders within an engine's own


class Vllm(Backend):
    """lm-eval's `vllm`, on an engine that lives as long as the run.

    Args:
        evaluation: how to ask; its `vllm` goes to the engine.
        threads: that the engine may use on a CPU.
        trust_remote_code: whether code beside a model's weights may run.
        program: the module that holds the engine.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        threads: int,
        *,
        trust_remote_code: bool = False,
        program: str = "mergekit_mo.backends._program",
    ) -> None:
        self.evaluation = evaluation
        self.threads = threads
        self.trust_remote_code = trust_remote_code
        self.program = program
        self.started = 0
        """How many engines there have been."""
        self._engine: Engine | None = None
        self._mark = ""
        self._tokenizer: Any = None

    def respond(self, model: Any, tokenizer: Any, requests: Sequence[Instance]) -> list[Any]:
        """See `Backend.respond`.

        Raises:
            EngineError: the engine could not start, take the weights or answer; the next call
                starts a new one.
        """
        if not requests:
            return []
        self.take(model, tokenizer)
        return self.answer(requests)

    def take(self, model: Any, tokenizer: Any) -> None:
        """Gives the engine a model's weights; starts it if there is none that can take them.

        Raises:
            EngineError: as for `respond`.
        """
        try:
            if self._engine is None or not self._swapped(self._engine, model, tokenizer):
                self.close()
                self._start(model, tokenizer)
        except BaseException:
            self._drop()
            raise

    def answer(self, requests: Sequence[Instance]) -> list[Any]:
        """The responses of the model that was taken last, in the order of the requests.

        Raises:
            EngineError: as for `respond`.
        """
        assert self._engine is not None
        by_type: dict[str, list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            by_type[request.request_type].append(number)
        responses: list[Any] = [None] * len(requests)
        try:
            for kind, numbers in by_type.items():
                arguments = [requests[n].args for n in numbers]
                found = self._engine.ask("answer", (kind, arguments))
                for number, response in zip(numbers, found, strict=True):
                    responses[number] = response
        except BaseException:  # an interrupt leaves a reply on its way
            self._drop()
            raise
        return responses

    def close(self) -> None:
        """Ends the engine; a later call starts another."""
        if self._engine is not None:
            self._engine.stop()
            self._engine = None

    def _drop(self) -> None:
        if self._engine is not None:
            self._engine.kill()
            self._engine = None

    def _start(self, model: Any, tokenizer: Any) -> None:
        """Starts an engine on a model."""
        folder = roomy_folder(size_of(model))
        options = engine_options(self.evaluation, str(model.dtype).removeprefix("torch."))
        environment = engine_environment(os.environ, self.threads, str(model.device), options)
        self._engine = Engine(folder, environment, self.program)
        self.started += 1
        self._mark, self._tokenizer = self._written(folder, model, tokenizer), tokenizer
        where = {"pretrained": str(folder / _MODEL), "tokenizer": str(folder / _TOKENIZER)}
        trust = {"trust_remote_code": self.trust_remote_code}
        self._engine.ask("start", options | where | trust)
        remove_weights(folder / _MODEL)

    def _swapped(self, engine: Engine, model: Any, tokenizer: Any) -> bool:
        """Replaces the weights of a running engine; False where it cannot serve the model."""
        if self._written(engine.folder, model, tokenizer) != self._mark:
            return False
        self._tokenizer = tokenizer
        engine.ask("replace", str(engine.folder / _MODEL))
        remove_weights(engine.folder / _MODEL)
        return True

    def _written(self, folder: Path, model: Any, tokenizer: Any) -> str:
        """Writes a model and its tokenizer for an engine.

        Returns:
            A mark of all but the weights: models with equal marks can share an engine.
        """
        write_model(model, folder / _MODEL)
        if tokenizer is not self._tokenizer or not (folder / _TOKENIZER).exists():
            shutil.rmtree(folder / _TOKENIZER, ignore_errors=True)
            tokenizer.save_pretrained(folder / _TOKENIZER)
        return mark(folder)


__all__ = ["Vllm"]

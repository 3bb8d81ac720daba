"""Backends let a model answer requests: one file each, the file's name is the name in the recipe.

Rule: a backend stands for a whole run while models come and go; it keeps no model that it was
handed, and its responses depend on the weights that the model has when it is asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance


class Backend(ABC):
    """Lets models answer lm-eval's requests."""

    @abstractmethod
    def respond(self, model: Any, tokenizer: Any, requests: Sequence[Instance]) -> list[Any]:
        """The model's response to every request, in their order.

        Args:
            model: a causal language model on its device, in evaluation mode.
            tokenizer: its tokenizer.
            requests: of any of lm-eval's types, mixed.

        Returns:
            Of a `loglikelihood`, the natural logarithm and whether the continuation is what the
            model would write greedily; of a `loglikelihood_rolling`, the logarithm; of a
            `generate_until`, the text up to its stop.
        """

    def close(self) -> None:  # noqa: B027 (most have nothing running)
        """Ends whatever it has running; nothing is left behind."""

    def smaller(self) -> tuple[Backend, int] | None:
        """A backend that needs less memory, and its batch size; None where there is none."""
        return None


__all__ = ["Backend"]

"""Requests for log-likelihoods of several shapes, over a model's own tokens.

Rule: lengths are counted in tokens, so that a shape is the same for every tokenizer.
"""

from __future__ import annotations

import random
from typing import Any

from lm_eval.api.instance import Instance

ANSWERS = 4


class Shapes:
    """Makes requests.

    Args:
        tokenizer: of the model that is asked.
        items: how many of each shape.
    """

    def __init__(self, tokenizer: Any, items: int) -> None:
        self.items = items
        self._draw = random.Random(0)
        texts = (" " + word for word in _WORDS)
        # Words of one token: as many tokens as words, whatever stands before them.
        self._words = [t for t in texts if len(tokenizer.encode(t, add_special_tokens=False)) == 1]
        if not self._words:
            raise ValueError("the tokenizer has none of these words as one token")

    def all(self) -> dict[str, list[Instance]]:
        """Requests by shape."""
        return {
            "4 answers of 10 tokens, context of 40": self._choices(40, 10),
            "5 fixed examples of 40 tokens, question of 30, 4 answers of 4": self._shots(),
            "4 answers of 1 token, context of 40": self._choices(40, 1),
            "4 answers of 30 tokens, context of 6": self._choices(6, 30),
            "texts of 120 tokens (rolling)": self._texts(120),
        }

    def _choices(self, context: int, answer: int) -> list[Instance]:
        return [
            _ask(question, self._text(answer))
            for question in [self._text(context) for _ in range(self.items)]
            for _ in range(ANSWERS)
        ]

    def _shots(self) -> list[Instance]:
        block = "".join(self._text(40) for _ in range(5))
        return [
            _ask(block + question, self._text(4))
            for question in [self._text(30) for _ in range(self.items)]
            for _ in range(ANSWERS)
        ]

    def _texts(self, length: int) -> list[Instance]:
        return [
            Instance("loglikelihood_rolling", {}, (self._text(length),), 0)
            for _ in range(self.items)
        ]

    def _text(self, count: int) -> str:
        return "".join(self._draw.choice(self._words) for _ in range(count))


def _ask(context: str, answer: str) -> Instance:
    return Instance("loglikelihood", {}, (context, answer), 0)


_WORDS = (
    *("the", "a", "an", "of", "to", "in", "is", "are", "was", "and", "or", "not", "for", "with"),
    *("that", "this", "it", "be", "as", "on", "by", "from", "at", "if", "else", "return", "self"),
    *("name", "value", "list", "type", "file", "line", "set", "get", "code", "string", "class"),
    *("def", "None", "True", "False", "object", "method", "function", "module", "import", "use"),
)

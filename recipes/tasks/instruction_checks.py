"""Rules that a program can check, and the writing tasks that ask for them.

Rule: an answer of nothing follows no rule. Run this file to write the items again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

TOPICS = (
    "a walk in the rain", "how bread is made", "a lighthouse", "the first day at school",
    "why leaves fall", "a broken bicycle", "the moon", "a small bakery", "learning to swim",
    "an old map", "how to boil an egg", "a train journey", "the colour blue", "a garden in spring",
    "a letter to a friend", "keeping bees", "the sound of a piano", "a lost key", "winter birds",
    "how a clock works",
)  # fmt: skip


def _sentences(text: str) -> int:
    return len(re.findall(r"[^.!?]+[.!?]+(?=\s|$)", text))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _is_json(text: str) -> bool:
    body = re.sub(r"^```(?:json)?\s*|\s*```$", "", text)
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


def _words(text: str) -> int:
    return len(re.findall(r"[^\W_]+(?:['\u2019-][^\W_]+)*", text))


RULES: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "lowercase": (
        "Write in lower case only, without any capital letter.",
        lambda text: text == text.lower() and any(c.isalpha() for c in text),
    ),
    "uppercase": (
        "Write in CAPITAL LETTERS only.",
        lambda text: text == text.upper() and any(c.isalpha() for c in text),
    ),
    "no_comma": ("Use no comma.", lambda text: "," not in text),
    "one_sentence": ("Write exactly one sentence.", lambda text: _sentences(text) == 1),
    "three_sentences": ("Write exactly three sentences.", lambda text: _sentences(text) == 3),
    "under_20_words": ("Use fewer than 20 words.", lambda text: _words(text) < 20),
    "over_40_words": ("Use more than 40 words.", lambda text: _words(text) > 40),
    "three_bullets": (
        "Write three bullet points and nothing else, each on its own line after a hyphen.",
        lambda text: len(_lines(text)) == 3 and all(re.match(r"[-*•]\s", x) for x in _lines(text)),
    ),
    "json": ("Answer with one JSON object and nothing else.", _is_json),
    "in_quotes": (
        "Put your whole answer in double quotation marks.",
        lambda text: len(text) > 2 and text[0] in '"“' and text[-1] in '"”',
    ),
    "ends_with": (
        "End with the words: That is all.",
        lambda text: text.rstrip('"”').endswith("That is all."),
    ),
    "title": (
        "Begin with a title in double angular brackets, such as <<title>>.",
        lambda text: re.match(r"<<[^<>\n]+>>", text) is not None,
    ),
}
"""By name: the wording of a rule, and whether an answer follows it."""


def followed(rule: str, answer: str) -> bool:
    """Whether an answer follows a rule; space around it does not count."""
    text = answer.strip()
    return bool(text) and RULES[rule][1](text)


def judged(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """What lm-eval calls with an item and the answer to it."""
    return {"followed": float(followed(doc["rule"], results[0]))}


def items() -> list[dict[str, str]]:
    """Every rule with every topic."""
    return [
        {"prompt": f"Write about {topic}. {wording}", "rule": rule}
        for topic in TOPICS
        for rule, (wording, _) in RULES.items()
    ]


if __name__ == "__main__":
    lines = (json.dumps(item, ensure_ascii=False) for item in items())
    Path(__file__).with_suffix(".jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

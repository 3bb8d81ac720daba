"""The `evaluation:` block of a recipe: which items are asked, and how.

Rule: everything here changes scores, so all of it is part of the recipe's fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mergekit_mo.problems import Place, Problem, near


@dataclass(frozen=True)
class Evaluation:
    """How merged models are asked.

    Attributes:
        limit: items of each task that the search sees; None for all that the hold-out leaves.
        holdout: items kept for the end: a number, or a fraction of all that are used.
        num_fewshot: examples in each prompt; None for the task's own number.
        batch_size: prompts that are run together.
        device: `cpu`, `cuda`, `cuda:1`, … or `auto`; `--device` takes its place.
        max_length: longest prompt in tokens; None for the model's own.
        apply_chat_template: whether prompts go through the tokenizer's chat template.
        fewshot_as_multiturn: whether few-shot examples become turns of a chat.
        system_instruction: text of a system prompt.
        gen_kwargs: generation settings that take the place of a task's own.
        include_path: folders in which tasks are looked for by name.
    """

    limit: int | None = None
    holdout: float = 0.25
    num_fewshot: int | None = None
    batch_size: int = 16
    device: str = "auto"
    max_length: int | None = None
    apply_chat_template: bool = False
    fewshot_as_multiturn: bool = False
    system_instruction: str | None = None
    gen_kwargs: Mapping[str, Any] | None = None
    include_path: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Plain JSON of all fields; the device is recorded apart, as it was in fact."""
        return {key: value for key, value in asdict(self).items() if key != "device"}


def read_evaluation(node: Any, place: Place, folder: Path) -> tuple[Evaluation, list[Problem]]:
    """Reads the block; what is wrong is reported, and the default stands in for it."""
    if node is None:
        return Evaluation(), []
    if not isinstance(node, Mapping):
        return Evaluation(), [Problem(place, "expected a mapping", "evaluation: {limit: 200}")]
    known = {f.name for f in fields(Evaluation)}
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for key, value in node.items():
        at = (*place, key)
        if key not in known:
            problems.append(Problem(at, f"evaluation has no key {key!r}", near(key, known)))
        elif what := _wrong(key, value):
            problems.append(Problem(at, f"{what}, got {value!r}"))
        elif key == "include_path":
            named = [value] if isinstance(value, str) else value
            folders = [(folder / Path(name).expanduser()).resolve() for name in named]
            problems += [Problem(at, f"no folder {p}") for p in folders if not p.is_dir()]
            values[key] = tuple(str(p) for p in folders)
        else:
            values[key] = value
    return Evaluation(**values), problems


def _wrong(key: str, value: Any) -> str:
    """What is wrong with a value, if anything."""
    whole = type(value) is int
    if key in ("limit", "num_fewshot", "max_length") and value is None:
        return ""
    if key in ("limit", "batch_size", "max_length"):
        return "" if whole and value >= 1 else "expected a whole number of 1 or more"
    if key == "num_fewshot":
        return "" if whole and value >= 0 else "expected a whole number of 0 or more"
    if key == "holdout":
        right = (whole and value >= 0) or (type(value) is float and 0 <= value < 1)
        return "" if right else "expected a number of items, or a fraction below 1"
    if key in ("apply_chat_template", "fewshot_as_multiturn"):
        return "" if isinstance(value, bool) else "expected true or false"
    if key == "gen_kwargs":
        return "" if isinstance(value, Mapping) else "expected a mapping"
    if key == "include_path":
        texts = [value] if isinstance(value, str) else value
        right = isinstance(texts, list) and all(isinstance(t, str) for t in texts)
        return "" if right else "expected a folder or a list of folders"
    return "" if isinstance(value, str) else "expected a text"

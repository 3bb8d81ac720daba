"""The `evaluation:` block of a recipe: which items are asked, and how.

Rule: everything here changes scores, so all of it is part of the recipe's fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from mergekit_mo.problems import Place, Problem, near, shown
from mergekit_mo.references import existing_folder

LEAST_RUNG = 8
"""Items of a task, fewer than which tell nothing."""

_HINTS = {
    "limit": "leave it out to use all items",
    "holdout": "holdout: 200, or 0.25 of the items used, or 0 for none",
    "batch_size": "batch_size: 16",
    "include_path": "include_path: my_tasks",
    "load_in": "load_in: 4bit, or leave it out",
    "backend": "backend: auto",
    "vllm": "vllm: {gpu_memory_utilization: 0.6}",
    "rungs": "rungs: [64, 192]",
}


LoadIn = Literal["4bit", "8bit"]
LOADED_IN: Mapping[LoadIn, str] = {
    "4bit": "4 bits (bitsandbytes, NF4)",
    "8bit": "8 bits (bitsandbytes, LLM.int8)",
}
"""What models can be quantised to when they are scored."""

BACKENDS = ("hf", "vllm", "auto")


@dataclass(frozen=True)
class Evaluation:
    """How merged models are asked.

    Attributes:
        limit: items of each task that the search sees; None for all that the hold-out leaves.
        holdout: items kept for the end: a number, or a fraction of all that are used.
        num_fewshot: examples in each prompt; None for the task's own number.
        batch_size: prompts that are run together; vLLM forms its batches itself.
        device: `cpu`, `cuda`, `cuda:1`, … or `auto`; `--device` takes its place.
        max_length: longest prompt in tokens; None for the model's own.
        apply_chat_template: whether prompts go through the tokenizer's chat template.
        fewshot_as_multiturn: whether few-shot examples become turns of a chat; None for lm-eval's
            own rule, with a chat template.
        system_instruction: text of a system prompt.
        gen_kwargs: generation settings that take the place of a task's own.
        include_path: folders in which tasks are looked for by name.
        load_in: `4bit` or `8bit`: the merge is quantised before it is scored; None for as it is.
        backend: `hf` for transformers on the live module, `vllm`, or `auto`.
        vllm: options of vLLM's engine.
        rungs: numbers of items of each task after which a candidate that some trial of the front
            beats in everything is asked no more; none for asking all.
    """

    limit: int | None = None
    holdout: float = 0.25
    num_fewshot: int | None = None
    batch_size: int = 16
    device: str = "auto"
    max_length: int | None = None
    apply_chat_template: bool = False
    fewshot_as_multiturn: bool | None = None
    system_instruction: str | None = None
    gen_kwargs: Mapping[str, Any] | None = None
    include_path: tuple[str, ...] = ()
    load_in: LoadIn | None = None
    backend: str = "hf"
    vllm: Mapping[str, Any] | None = None
    rungs: tuple[int, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Plain JSON of all fields; device and backend are recorded apart, as they were in fact."""
        apart = ["device", "backend"]
        # Runs from before there was a choice go on.
        apart += [key for key in ("load_in", "vllm", "rungs") if not getattr(self, key)]
        plain = {key: value for key, value in asdict(self).items() if key not in apart}
        lists = {key: list(plain[key]) for key in ("include_path", "rungs") if key in plain}
        return plain | lists


def read_evaluation(node: Any, place: Place, folder: Path) -> tuple[Evaluation, list[Problem]]:
    """Reads the block; what is wrong is reported, and the default stands in for it."""
    if node is None:
        return Evaluation(), []
    if not isinstance(node, Mapping):
        what = f"expected a mapping, got {shown(node)}"
        return Evaluation(), [Problem(place, what, "evaluation: {limit: 200}")]
    known = {f.name for f in fields(Evaluation)}
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for key, value in node.items():
        at = (*place, key)
        if key not in known:
            problems.append(Problem(at, f"evaluation has no key {key!r}", near(key, known)))
        elif what := _wrong(key, value):
            problems.append(Problem(at, f"{what}, got {shown(value)}", _HINTS.get(key, "")))
        elif key == "rungs":
            values[key] = tuple(value or ())
        elif key == "include_path":
            found, missing = _folders(value, at, folder)
            problems += missing
            values[key] = found
        else:
            values[key] = value
    return Evaluation(**values), problems + _idle(node, values, place)


def _idle(node: Mapping[Any, Any], values: Mapping[str, Any], place: Place) -> list[Problem]:
    """Keys that the chosen backend does not heed."""
    backend = values.get("backend", Evaluation.backend)
    if backend == "hf" and values.get("vllm"):
        hint = "say backend: vllm, or auto"
        return [Problem((*place, "vllm"), "options of vLLM, which is not the backend", hint)]
    problems = []
    if backend == "vllm" and "batch_size" in node:
        what, hint = "vLLM forms its batches itself", "to bound them: vllm: {max_num_seqs: 64}"
        problems.append(Problem((*place, "batch_size"), what, hint))
    if backend == "vllm" and values.get("load_in"):
        what, hint = "vLLM quantises itself", "vllm: {quantization: fp8}, or whatever else it knows"
        problems.append(Problem((*place, "load_in"), what, hint))
    return problems


def _folders(value: Any, at: Place, folder: Path) -> tuple[tuple[str, ...], list[Problem]]:
    """The folders of `include_path`, absolute, and those that are not there."""
    if value is None:
        return (), []
    named = {at: value} if isinstance(value, str) else {(*at, i): v for i, v in enumerate(value)}
    folders = {place: existing_folder(name, folder) for place, name in named.items()}
    hint = "relative paths start from the recipe's folder"
    problems = [
        Problem(place, f"there is no folder {shown(named[place])}", hint)
        for place, path in folders.items()
        if path is None
    ]
    return tuple(str(path) for path in folders.values() if path), problems


def _wrong(key: str, value: Any) -> str:
    """What is wrong with a value, if anything."""
    whole = type(value) is int
    if value is None and getattr(Evaluation, key) in (None, ()):
        return ""
    if key in ("limit", "batch_size", "max_length"):
        return "" if whole and value >= 1 else "expected a whole number of 1 or more"
    if key == "num_fewshot":
        return "" if whole and value >= 0 else "expected a whole number of 0 or more"
    if key == "holdout":
        right = (whole and value >= 0) or (type(value) is float and 0 <= value < 1)
        return "" if right else "expected a number of items, or a fraction below 1"
    if key == "rungs":
        ascend = isinstance(value, list) and all(type(v) is int for v in value)
        right = ascend and value == sorted(set(value)) and all(v >= LEAST_RUNG for v in value)
        return "" if right else f"expected ascending whole numbers of {LEAST_RUNG} or more"
    if key in ("apply_chat_template", "fewshot_as_multiturn"):
        return "" if isinstance(value, bool) else "expected true or false"
    if key == "load_in":
        return "" if value in list(LOADED_IN) else "expected 4bit or 8bit"
    if key in ("gen_kwargs", "vllm"):
        return "" if isinstance(value, Mapping) else "expected a mapping"
    if key == "backend":
        return "" if value in BACKENDS else f"expected one of {', '.join(BACKENDS)}"
    if key == "include_path":
        texts = [value] if isinstance(value, str) else value
        right = isinstance(texts, list) and all(isinstance(t, str) for t in texts)
        return "" if right else "expected a folder or a list of folders"
    return "" if isinstance(value, str) else "expected a text"

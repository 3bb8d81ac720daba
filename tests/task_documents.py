"""The shipped tasks without a network: their data sets' columns, filled by hand, as local JSON."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

TASKS = Path(__file__).parents[1] / "recipes" / "tasks"
Document = dict[str, Any]


def _gsm8k(i: int) -> Document:
    return {
        "question": f"Ann has {i} pens and buys 2 more. How many has she?",
        "answer": f"She has {i} + 2 = <<{i}+2={i + 2}>>{i + 2} pens.\n#### {i + 2}",
    }


def _arc(i: int) -> Document:
    return {
        "id": f"Mercury_{i}",
        "question": f"Which of these is number {i}?",
        "choices": {"text": ["a stone", "a star", "a tree", "a fish"], "label": list("ABCD")},
        "answerKey": "ABCD"[i % 4],
    }


def _hellaswag(i: int) -> Document:
    return {
        "ind": i,
        "activity_label": "Removing ice from car",
        "ctx_a": f"Then, man {i} writes over the snow [substeps] on the window.",
        "ctx_b": "then the man",
        "ctx": f"Then, man {i} writes over the snow on the window. then the man",
        "endings": [" sits down.", ", [title] goes  home.", "sings [step] loudly.", "waits."],
        "source_id": "activitynet~v_-1IBHYS3L-Y",
        "split": "train",
        "split_type": "indomain",
        "label": str(i % 4),
    }


def _mmlu(i: int) -> Document:
    return {
        "question": f" Which word is number {i}? ",
        "subject": "",
        "choices": ["one", "two", "three", "four"],
        "answer": i % 4,
    }


def _mbpp(i: int) -> Document:
    return {
        "task_id": 601 + i,
        "text": f"Write a function to add {i} to a number.",
        "code": f"def add(x):\r\n  return x + {i}",
        "test_list": [f"assert add({n}) == {n + i}" for n in range(3)],
        "test_setup_code": "",
        "challenge_test_list": [],
    }


def _wmt(i: int) -> Document:
    return {"translation": {"de": f"Das Haus ist {i} Jahre alt.", "en": f"The house is {i}."}}


DOCUMENTS: dict[str, tuple[str, int, Callable[[int], Document]]] = {
    "gsm8k_train": ("train", 7473, _gsm8k),
    "arc_challenge_train": ("train", 1119, _arc),
    "hellaswag_train": ("train", 39905, _hellaswag),
    "mmlu_auxiliary_train": ("auxiliary_train", 99842, _mmlu),
    "mbpp_train": ("train", 374, _mbpp),
    "wmt16_de_en_validation": ("validation", 2169, _wmt),
}
"""By task: the split that it asks, the documents that there are in it, and one of them."""

_DATA = re.compile(r"^dataset_(path|name|kwargs):.*\n", re.M)


def localise(folder: Path, most: int) -> Path:
    """Writes the shipped tasks into a folder, with at most so many documents beside each."""
    folder.mkdir(parents=True)
    for path in TASKS.iterdir():
        if path.suffix in (".py", ".jsonl"):
            shutil.copy(path, folder)
        elif path.stem not in DOCUMENTS:
            if path.suffix == ".yaml" and "../.cache" not in path.read_text(encoding="utf-8"):
                shutil.copy(path, folder)
        else:
            split, count, document = DOCUMENTS[path.stem]
            lines = (json.dumps(document(i)) for i in range(min(most, count)))
            (folder / f"{path.stem}.jsonl").write_text("\n".join(lines), encoding="utf-8")
            text = _DATA.sub("", path.read_text(encoding="utf-8"))
            files = f"{{data_files: {{{split}: {path.stem}.jsonl}}}}"
            data = f"dataset_path: json\ndataset_kwargs: {files}\n"
            (folder / path.name).write_text(data + text, encoding="utf-8")
    return folder

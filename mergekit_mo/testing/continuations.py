"""A task over the tiny family's held-out text: models write on, for as long as is wished."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

_SHOWN = 80  # characters of each passage


def write_continuations(tasks: Path, folder: Path, *, tokens: int) -> Path:
    """Writes the task `continuations`: the beginning of a passage is to be gone on with.

    Nobody will write the very rest of it: it is the writing that is measured, or its length.

    Args:
        tasks: the family's own.
        folder: where to.
        tokens: the most that are written to an item.

    Returns:
        The task's file.
    """
    shutil.copy(tasks / "code.json", folder / "passages.json")
    task = {
        "task": "continuations",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": "passages.json"}},
        "validation_split": "validation",
        "output_type": "generate_until",
        "doc_to_text": f"{{{{text[:{_SHOWN}]}}}}",
        "doc_to_target": f"{{{{text[{_SHOWN}:]}}}}",
        "target_delimiter": "",
        "generation_kwargs": {"until": ["\n\n"], "do_sample": False, "max_gen_toks": tokens},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    path = folder / "continuations.yaml"
    path.write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")
    return path

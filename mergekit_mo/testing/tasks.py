"""Write the tiny models' held-out text as lm-eval tasks: YAML files with JSON data beside them.

Data files are named without a folder, to be found beside their task's YAML.
"""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mergekit_mo.testing.corpus import Split, passages

_PASSAGES = 400
_SHOTS = 64
_CHOICES = 4

_MEAN = {"aggregation": "mean", "higher_is_better": True}
_SUMMARY = {
    "bits_per_byte": {"aggregation": "bits_per_byte", "higher_is_better": False},
    "acc": _MEAN,
    "acc_norm": _MEAN,
    "exact_match": _MEAN,
}
_ROLLING = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}"}
_SUMS = {"doc_to_text": "{{question}}", "target_delimiter": ""}
_CHOICE = {
    **_SUMS,
    "output_type": "multiple_choice",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "label",
}
_GENERATE = {
    **_SUMS,
    "output_type": "generate_until",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": 4},
}


def write_tasks(folder: Path, text: Mapping[str, Split], *, seed: int = 0) -> None:
    """Write every task and its data into `folder`, which is made if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    for domain in ("code", "prose"):
        found = passages(text[domain].held_out)
        chosen = chance.sample(found, min(_PASSAGES, len(found)))
        _write_data(folder / f"{domain}.json", ({"text": passage} for passage in chosen))
        _write_task(folder, f"tiny_{domain}", f"{domain}.json", _ROLLING, ["bits_per_byte"])
    seen = sorted({line for sheet in text["arithmetic"].train for line in sheet.splitlines()})
    shots = chance.sample(seen, _SHOTS)
    held_out = text["arithmetic"].held_out
    asked = chance.sample(held_out, len(held_out))  # so that any first few are a fair sample
    _write_data(folder / "sums.json", _questions(asked, chance))
    _write_data(folder / "train.json", _questions(shots, chance))
    few: dict[str, Any] = {**_CHOICE, "training_split": "train", "fewshot_split": "train"}
    few |= {"num_fewshot": 2, "fewshot_delimiter": ""}
    _write_task(folder, "tiny_sums", "sums.json", _CHOICE, ["acc", "acc_norm"])
    _write_task(folder, "tiny_sums_generate", "sums.json", _GENERATE, ["exact_match"])
    _write_task(folder, "tiny_sums_fewshot", "sums.json", few, ["acc", "acc_norm"])


def _questions(problems: Iterable[str], chance: random.Random) -> list[dict[str, Any]]:
    """Return a record for each solved problem, with three near misses among its choices."""
    records = []
    for problem in problems:
        question, answer = problem.split("=")
        value = int(answer)
        near = [value + step for step in (-3, -2, -1, 1, 2, 3) if value + step >= 0]
        choices = [value, *chance.sample(near, _CHOICES - 1)]
        chance.shuffle(choices)
        records.append(
            {
                "question": f"\n{question}=",  # models never met a sum without a line before it
                "choices": [str(choice) for choice in choices],
                "label": choices.index(value),
                "answer": answer,
            }
        )
    return records


def _write_data(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records as JSON lines."""
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")


def _write_task(
    folder: Path, name: str, data: str, body: Mapping[str, Any], metrics: Sequence[str]
) -> None:
    """Write one task that is judged by `metrics` on the records of the file `data`."""
    files = {"validation": data}
    if "training_split" in body:
        files["train"] = "train.json"
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "validation_split": "validation",
        **body,
        "metric_list": [{"metric": metric, **_SUMMARY[metric]} for metric in metrics],
        "metadata": {"version": 1.0},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")

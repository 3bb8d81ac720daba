"""A merged model, as objectives see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mergekit_mo.evaluation import Evaluation
from mergekit_mo.objectives import Subject

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def base(model: Make) -> Path:
    return model("qwen2", seed=0)


@pytest.fixture(scope="session")
def subject(model: Make, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A merge of two, with what it answered to a task of a few items."""
    from mergekit_mo.asking import prepare_task
    from mergekit_mo.harness import Harness
    from mergekit_mo.merging import Merger
    from mergekit_mo.options import MergeFlags
    from mergekit_mo.tasks import load_task

    folder = tmp_path_factory.mktemp("task")
    lines = (json.dumps({"text": f"{i} and {i} make {2 * i}"}) for i in range(6))
    (folder / "items.json").write_text("\n".join(lines))
    task = {
        "task": "sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "items.json"}},
        "test_split": "test",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "bits_per_byte", "higher_is_better": False}],
    }
    path = folder / "sums.yaml"
    path.write_text(yaml.safe_dump(task))
    evaluation = Evaluation(holdout=0)
    merger = Merger(MergeFlags(), "cpu")
    other = {"model": str(model("qwen2", seed=1)), "parameters": {"weight": 0.5}}
    merged = merger.merge(
        {"merge_method": "task_arithmetic", "base_model": str(base), "models": [other]}
    )
    asked = [prepare_task(load_task(path), path, evaluation, 0)]
    answers = Harness(asked, evaluation).ask(merged.model, merged.tokenizer, "search")
    return Subject(
        merged.model,
        merged.tokenizer,
        answers,
        lambda: merger.distance(merged.model, str(base)),
    )

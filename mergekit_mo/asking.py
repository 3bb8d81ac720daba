"""A task as a search asks it: set up as the recipe wants it, with its items chosen.

Rule: items are drawn once, by the search's seed, and the two splits share none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.task import Task

from mergekit_mo.documents import Documents
from mergekit_mo.evaluation import Evaluation
from mergekit_mo.tasks import TaskError
from mergekit_mo.trial import Split

_SAMPLING = ("temperature", "top_p", "top_k", "min_p")


@dataclass
class Asked:
    """A task with the items that are asked.

    Attributes:
        task: lm-eval's object.
        path: its file.
        items: document numbers by split.
        total: how many documents the task has.
        documents: what it was made of; None where it has a file of its own.
    """

    task: Task
    path: Path
    items: Mapping[Split, tuple[int, ...]]
    total: int
    documents: Documents | None = None
    _requests: dict[int, list[Instance]] = field(default_factory=dict, repr=False)

    @property
    def silent(self) -> bool:
        """Whether an objective asks the items by itself, and lm-eval is to leave them alone."""
        return self.documents is not None and not self.documents.asked

    @property
    def writes(self) -> bool:
        """Whether models write text to its items."""
        return bool(self.task.config.output_type == "generate_until") and not self.silent

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.task.task_name)


def prepare_task(task: Task, path: Path, evaluation: Evaluation, seed: int) -> Asked:
    """Sets a loaded task up as the recipe wants it and chooses its items.

    Raises:
        TaskError: it draws several answers an item, runs generated code, or has too few items.
    """
    if task.config.output_type == "generate_until":
        _make_greedy(task, evaluation)
    if getattr(task, "UNSAFE_CODE", False):
        raise TaskError(f"{task.task_name} runs code that models write, which is not supported")
    if getattr(task, "MULTIMODAL", False):
        raise TaskError(f"{task.task_name} asks about pictures or sound, which is not supported")
    shots = evaluation.num_fewshot
    if shots is not None and task.get_config("num_fewshot") != 0:
        task.set_config("num_fewshot", shots)
    elif task.get_config("num_fewshot") is None:
        task.set_config("num_fewshot", 0)
    _check_shots(task)
    total = len(task.eval_docs)
    search, holdout = split_items(total, evaluation, seed, task.task_name)
    return Asked(task, path, {"search": search, "holdout": holdout}, total)


def split_items(
    total: int, evaluation: Evaluation, seed: int, name: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Chooses the items of a task: a seeded sample for the search, another for the hold-out.

    Args:
        total: documents that the task has.
        evaluation: its `limit` and `holdout`; a fraction is of all items that are used.
        seed: the search's.
        name: the task's, so that two tasks do not share a pattern.

    Returns:
        Ascending document numbers of both, disjoint.

    Raises:
        TaskError: there are too few documents.
    """
    limit, share = evaluation.limit, evaluation.holdout
    if isinstance(share, float) and share < 1:
        used = total if limit is None else min(total, math.ceil(limit / (1 - share)))
        holdout = round(used * share)
        search = used - holdout if limit is None else min(limit, used - holdout)
    else:
        holdout = int(share)
        search = total - holdout if limit is None else limit
    if search < 1 or search + holdout > total:
        what = f"{name} has {total} items; {max(search, 1)} to search and {holdout} to hold out"
        raise TaskError(f"{what} are more", "lower evaluation: {limit: …, holdout: …}")
    words = [seed, *name.encode()]
    order = np.random.default_rng(np.random.SeedSequence(words)).permutation(total)
    first = tuple(sorted(int(i) for i in order[:search]))
    return first, tuple(sorted(int(i) for i in order[search : search + holdout]))


def task_metrics(task: Task) -> dict[str, bool]:
    """The `metric,filter` names of a task in its own order, and whether more is better."""
    better = task.higher_is_better()
    filters = [f.name for f in getattr(task, "_filters", [])] or ["none"]
    return {f"{metric},{name}": bool(better[metric]) for metric in better for name in filters}


def _make_greedy(task: Task, evaluation: Evaluation) -> None:
    """Makes a task's generation deterministic, so that every merge answers the same way twice."""
    if (task.get_config("repeats") or 1) > 1:
        what = f"{task.task_name} draws {task.get_config('repeats')} answers to each item"
        raise TaskError(what, "every item is answered once, greedily: set repeats: 1")
    kwargs = dict(task.config.generation_kwargs or {})
    kwargs.update(evaluation.gen_kwargs or {})
    for name in _SAMPLING:
        kwargs.pop(name, None)
    task.set_config("generation_kwargs", {**kwargs, "do_sample": False})


def _check_shots(task: Task) -> None:
    """Sees that there are as many examples as the prompts want; lm-eval fails at the first item."""
    shots, examples = task.get_config("num_fewshot"), getattr(task, "sampler", None)
    if not shots or examples is None:
        return
    # Where examples come from the items themselves, lm-eval draws one more and drops the item.
    own = task.fewshot_cfg.split == task.config.test_split
    if len(examples.df) < shots + own:
        what = f"{task.task_name} has {len(examples.df)} examples, too few for {shots} in a prompt"
        raise TaskError(what, "lower evaluation: {num_fewshot: …}")

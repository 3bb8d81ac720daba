"""Merged models are asked and scored through lm-eval: tasks loaded once, prompts built once.

Rule: the prompts are those of lm-eval's full run. Few-shot examples are drawn from one stream over
all documents, so a task's prompts are built for all of them, in order, and ours are kept.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import Task

from mergekit_mo.backends import Backend
from mergekit_mo.backends.hf import Transformers, no_bars
from mergekit_mo.documents import Documents
from mergekit_mo.evaluation import Evaluation
from mergekit_mo.gold import best_by_item, gold_requests
from mergekit_mo.tasks import TaskError
from mergekit_mo.trial import Measurement, Split

FEWSHOT_SEED = 1234
"""The seed of lm-eval's own command line."""

_JACKKNIFE_GROUPS = 100
_RATIOS = {
    "bits_per_byte": ("bits_per_byte",),
    "byte_perplexity": ("weighted_perplexity",),
    "word_perplexity": ("weighted_perplexity",),
    "perplexity": ("perplexity",),
}
"""lm-eval's aggregations of a metric, by its name, that are functions of a mean or of two sums."""
_SAMPLING = ("temperature", "top_p", "top_k", "min_p")


@dataclass(frozen=True)
class Answers:
    """What a model answered to the items of one task.

    Attributes:
        ids: document numbers of the task, ascending.
        responses: of each item, what its filtered responses were, by filter.
        values: of each `metric,filter`, one value an item, as the task's aggregation takes them.
        measured: of each `metric,filter`, the aggregate and its standard error.
        texts: what it wrote to each item, before any filter; empty where it writes nothing.
        gold: log-probability of each item's right answer, where it was asked for.
        rows: the items themselves, where an objective asks them by itself.
    """

    ids: tuple[int, ...]
    responses: Mapping[str, list[Any]]
    values: Mapping[str, list[Any]]
    measured: Mapping[str, Measurement]
    texts: Sequence[Sequence[str]] = ()
    gold: Sequence[float] = ()
    rows: Sequence[Mapping[str, Any]] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON, for the archive."""
        return {
            "ids": list(self.ids),
            "responses": _plain(self.responses),
            "values": _plain(self.values),
        }


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


class Harness:
    """Asks models the items of several tasks.

    Args:
        tasks: the tasks, with the items to ask.
        evaluation: how to ask.
        backend: what lets a model answer; None for the live module.
        gold: tasks of which the probability of each item's right answer is wanted too.
    """

    def __init__(
        self,
        tasks: Sequence[Asked],
        evaluation: Evaluation,
        backend: Backend | None = None,
        gold: Collection[str] = (),
    ) -> None:
        self.gold = frozenset(gold)
        self.tasks = {asked.name: asked for asked in tasks}
        self.evaluation = evaluation
        self.backend = backend or Transformers(evaluation.batch_size, evaluation.max_length)
        self._prompts_key: str | None = None

    def ask(
        self,
        model: Any,
        tokenizer: Any,
        split: Split,
        items: Mapping[str, Collection[int]] | None = None,
    ) -> dict[str, Answers]:
        """Asks a model every task's items of a split, or some of them.

        Args:
            model: a causal language model on its device.
            tokenizer: its tokenizer.
            split: `search` or `holdout`.
            items: document numbers of the split by task, where not all are asked; a task that is
                not named is not asked.

        Returns:
            The answers by task.

        Raises:
            KeyError: an item is not one of the split's.
        """
        self._build_prompts(tokenizer)
        ids = {name: _chosen(asked, split, items) for name, asked in self.tasks.items()}
        requests = {
            name: [r for i in ids[name] for r in asked._requests[i]]
            for name, asked in self.tasks.items()
            if not asked.silent
        }
        gold = {n: self._gold(self.tasks[n], ids[n]) for n in sorted(self.gold)}
        every = (*requests.values(), *gold.values())
        self._run(model, tokenizer, [r for some in every for r in some])
        found = {
            name: _collect(self.tasks[name].task, ids[name], some)
            for name, some in requests.items()
            if some
        }
        for name, asked in self.tasks.items():
            if asked.silent and ids[name]:
                rows = tuple(asked.task.eval_docs[i] for i in ids[name])
                found[name] = Answers(ids[name], {}, {}, {}, rows=rows)
        for name, some in gold.items():
            if some:
                found[name] = replace(found[name], gold=best_by_item(some))
        return found

    def _gold(self, asked: Asked, ids: Sequence[int]) -> list[Instance]:
        """Requests for the probabilities of the right answers to a task's items."""
        chat = self.evaluation.apply_chat_template
        return [r for i in ids for r in gold_requests(asked.task, asked._requests[i][0], chat)]

    def joined(self, parts: Sequence[Mapping[str, Answers]]) -> dict[str, Answers]:
        """The answers to several sets of items as those to all of them together.

        Args:
            parts: answers by task, no item twice.
        """
        tasks = dict.fromkeys(task for part in parts for task in part)
        return {
            task: _joined(self.tasks[task].task, [part[task] for part in parts if task in part])
            for task in tasks
        }

    def _run(self, model: Any, tokenizer: Any, requests: Sequence[Instance]) -> None:
        """Puts the model's response into every request."""
        responses = self.backend.respond(model, tokenizer, requests)
        for request, response in zip(requests, responses, strict=True):
            request.resps, request.filtered_resps = [response], {}

    def _build_prompts(self, tokenizer: Any) -> None:
        """Builds every task's prompts; again only where a chat template is in play and changed."""
        chat = self.evaluation.apply_chat_template
        key = tokenizer.name_or_path + str(tokenizer.chat_template) if chat else ""
        if self._prompts_key == key:
            return
        for asked in self.tasks.values():
            asked._requests = {} if asked.silent else _build(asked, tokenizer, self.evaluation)
        self._prompts_key = key


def _chosen(
    asked: Asked, split: Split, items: Mapping[str, Collection[int]] | None
) -> tuple[int, ...]:
    """The documents of a task that are asked, ascending."""
    known = asked.items[split]
    if items is None:
        return known
    wanted = items.get(asked.name, ())
    if strange := set(wanted) - set(known):
        raise KeyError(f"{min(strange)} is none of the {split} items of {asked.name}")
    return tuple(sorted(set(wanted)))


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


def _build(asked: Asked, tokenizer: Any, evaluation: Evaluation) -> dict[int, list[Instance]]:
    """The requests of every item that is asked, by document number."""
    task = asked.task
    task.set_fewshot_seed(FEWSHOT_SEED)
    wanted = sorted(i for items in asked.items.values() for i in items)
    # Without examples a prompt depends on its own document alone: the others need not be built.
    everything = bool(task.get_config("num_fewshot"))
    chat, multiturn = evaluation.apply_chat_template, evaluation.fewshot_as_multiturn
    with no_bars():
        task.build_all_requests(
            samples=None if everything else wanted,
            system_instruction=evaluation.system_instruction,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat if multiturn is None else multiturn,
            chat_template=_chat_template(tokenizer) if chat else None,
            tokenizer_name=tokenizer.name_or_path.replace("/", "__") if chat else "",
        )
    found: dict[int, list[Instance]] = defaultdict(list)
    for instance in task.instances:
        number = instance.doc_id if everything else wanted[instance.doc_id]
        found[number].append(instance)
    for instances in found.values():
        instances.sort(key=lambda i: i.idx)
    return {number: found[number] for number in wanted}


def _chat_template(tokenizer: Any) -> Callable[..., str]:
    """Puts the turns of a chat through a tokenizer's template, as lm-eval's `HFLM` does."""

    def apply(history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        def text(turns: list[dict[str, str]]) -> str:
            return str(
                tokenizer.apply_chat_template(
                    turns,
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    continue_final_message=not add_generation_prompt,
                )
            )

        try:
            return text(history)
        except jinja2.exceptions.TemplateError:  # a template that knows no system prompt
            return text([turn for turn in history if turn["role"] != "system"])

    return apply


def _collect(task: Task, ids: Sequence[int], instances: Sequence[Instance]) -> Answers:
    """Filters the responses and computes every metric of every item, as lm-eval does."""
    for ensemble in task._filters:
        ensemble.apply(list(instances))
    by_item: dict[int, list[Instance]] = defaultdict(list)
    order: list[int] = []
    for instance in instances:
        if instance.doc_id not in by_item:
            order.append(instance.doc_id)
        by_item[instance.doc_id].append(instance)
    responses: dict[str, list[Any]] = {}
    values: dict[str, list[Any]] = defaultdict(list)
    for name in instances[0].filtered_resps:
        responses[name] = []
        for item in order:
            requests = by_item[item]
            filtered = [request.filtered_resps[name] for request in requests]
            responses[name].append(filtered)
            for metric, value in task.process_results(requests[0].doc, filtered).items():
                values[f"{metric},{name}"].append(value)
    measured = _measured(task, values)
    written = instances[0].request_type == "generate_until"
    texts = [[str(r.resps[0]) for r in by_item[item]] for item in order] if written else []
    return Answers(tuple(ids), responses, dict(values), measured, texts)


def _joined(task: Task, parts: Sequence[Answers]) -> Answers:
    """Answers to several sets of a task's items, in the order of the documents."""
    if len(parts) == 1:
        return parts[0]
    ids = [number for part in parts for number in part.ids]
    order = sorted(range(len(ids)), key=lambda i: ids[i])

    def sorted_rows(rows: list[Any]) -> list[Any]:
        return [rows[i] for i in order]

    def merged(found: Sequence[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
        return {key: sorted_rows([row for own in found for row in own[key]]) for key in found[0]}

    values = merged([part.values for part in parts])
    return Answers(
        tuple(ids[i] for i in order),
        merged([part.responses for part in parts]),
        values,
        _measured(task, values),
        sorted_rows([text for part in parts for text in part.texts]) if parts[0].texts else (),
        sorted_rows([number for part in parts for number in part.gold]) if parts[0].gold else (),
        sorted_rows([row for part in parts for row in part.rows]) if parts[0].rows else (),
    )


def _measured(task: Task, values: Mapping[str, list[Any]]) -> dict[str, Measurement]:
    """Every metric's aggregate with its error."""
    return {
        key: measure(items, task.aggregation().get(key.rpartition(",")[0], mean))
        for key, items in values.items()
    }


def is_mean(task: Task, metric: str) -> bool:
    """Whether a metric's score is a mean of what its items bring, or a function of such a mean.

    Args:
        task: with the metric.
        metric: `metric,filter`.
    """
    name = metric.rpartition(",")[0]
    aggregate = task.aggregation().get(name, mean)
    ratio = getattr(aggregate, "__name__", "") in _RATIOS.get(name, ())
    return aggregate is mean or ratio


def measure(items: Sequence[Any], aggregate: Callable[[Sequence[Any]], float]) -> Measurement:
    """An aggregate over items with its standard error.

    The error of a mean has a closed form; that of anything else (ratios such as bits per byte,
    corpus metrics such as BLEU) is jackknifed over at most 100 groups of items (Efron and Stein
    1981), which lm-eval does not do.
    """
    n = len(items)
    value = float(aggregate(items))
    if n < 2:
        return Measurement(value, None, n)
    if aggregate is mean:
        array = np.asarray(items, dtype=float)
        return Measurement(value, float(array.std(ddof=1) / math.sqrt(n)), n)
    groups = min(n, _JACKKNIFE_GROUPS)
    left_out = []
    for g in range(groups):
        left_out.append(float(aggregate([x for i, x in enumerate(items) if i % groups != g])))
    spread = np.asarray(left_out) - np.mean(left_out)
    stderr = math.sqrt((groups - 1) / groups * float((spread**2).sum()))
    return Measurement(value, stderr if math.isfinite(stderr) else None, n)


def _plain(value: Any) -> Any:
    """Numbers and containers as JSON knows them."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | bool | None) else str(value)

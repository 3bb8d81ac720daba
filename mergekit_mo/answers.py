"""What a model answered to the items of a task, and the figures that follow from it.

Rule: responses are filtered, processed and aggregated by lm-eval's own task object; only standard
errors are ours.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import Task

from mergekit_mo.trial import Measurement

_JACKKNIFE_GROUPS = 100
_RATIOS = {
    "bits_per_byte": ("bits_per_byte",),
    "byte_perplexity": ("weighted_perplexity",),
    "word_perplexity": ("weighted_perplexity",),
    "perplexity": ("perplexity",),
}
"""lm-eval's aggregations of a metric, by its name, that are functions of a mean or of two sums."""


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


def collect(task: Task, ids: Sequence[int], instances: Sequence[Instance]) -> Answers:
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


def joined(task: Task, parts: Sequence[Answers]) -> Answers:
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

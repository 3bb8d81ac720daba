"""How likely a model finds the right answers to a task to which it writes its own.

Rule: the answer stands behind the very prompt that the model is asked with, joined to it as lm-eval
joins an example's answer to its question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import Task


def gold_requests(task: Task, asked: Instance, chat: bool) -> list[Instance]:
    """Requests for the log-probabilities of an item's right answers.

    Args:
        task: whose item it is.
        asked: the request that the model answers, for its prompt.
        chat: whether the prompt went through a chat template, behind which the answer begins.
    """
    joint = "" if chat else task.config.target_delimiter
    return [
        Instance(
            request_type="loglikelihood",
            doc=asked.doc,
            arguments=(asked.args[0], f"{joint}{text}"),
            idx=i,
            metadata=asked.metadata,
        )
        for i, text in enumerate(_answers(task, asked.doc))
    ]


def _answers(task: Task, doc: Any) -> list[str]:
    """The texts that an item counts as right."""
    target = task.doc_to_target(doc)
    if task.config.doc_to_choice is not None and isinstance(target, int):
        target = task.doc_to_choice(doc)[target]
    texts = target if isinstance(target, list | tuple) else [target]
    return [str(text) for text in texts]


def best_by_item(requests: Sequence[Instance]) -> tuple[float, ...]:
    """Of each item, the log-probability of the likeliest right answer, in the items' order."""
    best: dict[int, float] = {}
    for request in requests:
        value = float(request.resps[0][0])
        best[request.doc_id] = max(value, best.get(request.doc_id, value))
    return tuple(best.values())

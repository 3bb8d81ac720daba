"""Objectives that read a file of the user's, with a model's answers to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mergekit_mo.evaluation import Evaluation
from mergekit_mo.objectives import Objective, Subject

ALL = Evaluation(holdout=0)


def asked(
    objective: Objective, subject: Subject, evaluation: Evaluation = ALL
) -> tuple[Objective, Subject]:
    """The objective, bound, and the subject once it has answered the items of its file."""
    from mergekit_mo.asking import prepare_task, task_metrics
    from mergekit_mo.harness import Harness
    from mergekit_mo.tasks import make_task

    documents = objective.documents(Path())
    assert documents is not None
    made = prepare_task(make_task(documents), documents.path, evaluation, 0)
    made.documents = documents
    answers = Harness([made], evaluation).ask(subject.model, subject.tokenizer, "search")
    bound = objective.bind(made.name, task_metrics(made.task))
    return bound, replace(subject, answers=answers)

"""A configuration becomes a merged model and its scores: what a worker runs.

Rule: whatever goes wrong becomes an outcome with its error; only an interrupt passes through.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mergekit_mo.archive import Outcome
from mergekit_mo.crash import scrubbed
from mergekit_mo.harness import Harness
from mergekit_mo.layers import Walk
from mergekit_mo.merging import Merger, as_it_is
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.trial import Measurement, Split


@dataclass(frozen=True)
class Job:
    """One thing to evaluate.

    Attributes:
        number: of the trial.
        config: its mergekit configuration.
        split: which items to ask.
        walk: the layers of its model; None for the merge as it is.
    """

    number: int
    config: Mapping[str, Any]
    split: Split = "search"
    walk: Walk | None = None


class Evaluator:
    """Merges and scores, one job after the other, on one device.

    Args:
        merger: makes the models.
        harness: asks them.
        objectives: by the name of their goal.
        base: the model that distances are measured from; None where there is none.
        quantise: makes the copy of a merge that is scored; None where the merge itself is.
    """

    def __init__(
        self,
        merger: Merger,
        harness: Harness,
        objectives: Mapping[str, Objective],
        base: str | None,
        quantise: Callable[[Any], Any] | None = None,
    ) -> None:
        self.quantise = quantise
        self.merger = merger
        self.harness = harness
        self.objectives = objectives
        self.base = base
        self._begun = False

    def __call__(self, job: Job) -> Outcome:
        """Evaluates a job; never raises, but for an interrupt."""
        start = time.perf_counter()
        try:
            return self._evaluate(job, start)
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            message = scrubbed(f"{type(error).__name__}: {text}")
            return Outcome({}, {}, None, message, time.perf_counter() - start)

    def _begin(self) -> None:
        """Lets objectives look at further models, which the first merge would put out of memory."""
        rows: dict[str, dict[int, Any]] = {
            name: {i: asked.task.eval_docs[i] for items in asked.items.values() for i in items}
            for name, asked in self.harness.tasks.items()
            if asked.silent
        }
        for objective in self.objectives.values():
            objective.begin(self._as_it_is, rows)
        self._begun = True

    def _as_it_is(self, reference: str) -> Subject:
        """A model as objectives see it, in the place of the merge."""
        found = self.merger.merge(as_it_is(reference))
        return Subject(self._scored(found.model), found.tokenizer, {}, lambda: 0.0)

    def _scored(self, model: Any) -> Any:
        """The model that is scored in a merge's place."""
        return model if self.quantise is None else self.quantise(model)

    def close(self) -> None:
        """Ends what the backend has running."""
        self.harness.backend.close()

    def _evaluate(self, job: Job, start: float) -> Outcome:
        if not self._begun:
            self._begin()
        merged = self.merger.merge(job.config, job.walk)
        model = self._scored(merged.model)
        answers = self.harness.ask(model, merged.tokenizer, job.split)
        subject = Subject(
            model,
            merged.tokenizer,
            answers,
            lambda: self.merger.distance(merged.model, self.base or ""),
            merge=merged.model,
        )
        scores = {name: o.score(subject) for name, o in self.objectives.items()}
        check_scores(scores)
        plain = {task: found.plain() for task, found in answers.items()}
        for objective in self.objectives.values():
            if own := objective.items(subject):
                plain[getattr(objective, "task")]["values"] |= own  # noqa: B009
        return Outcome(scores, plain, merged.digest, None, time.perf_counter() - start)


def check_scores(scores: Mapping[str, Measurement]) -> None:
    """Refuses scores that are no numbers.

    Raises:
        ValueError: some score is infinite or NaN.
    """
    strange = [name for name, m in scores.items() if not math.isfinite(m.value)]
    if strange:
        raise ValueError(f"not a number: {', '.join(strange)}")


def goal_names(objectives: Sequence[Objective], names: Sequence[str | None]) -> list[str]:
    """What each objective is called: its given name, its title, or `task:metric`.

    Args:
        objectives: bound to their tasks.
        names: what the recipe calls them, if it does.
    """
    titles = [name or o.title for o, name in zip(objectives, names, strict=True)]
    result = []
    for objective, name, title in zip(objectives, names, titles, strict=True):
        metric = getattr(objective, "metric", None)
        ambiguous = name is None and titles.count(title) > 1 and metric is not None
        result.append(f"{title}:{str(metric).removesuffix(',none')}" if ambiguous else title)
    return result

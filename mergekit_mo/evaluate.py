"""A configuration becomes a merged model and its scores: what a worker runs.

Rule: whatever goes wrong becomes an outcome with its error; only an interrupt passes through.
"""

from __future__ import annotations

import gc
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mergekit_mo.answers import Answers
from mergekit_mo.archive import Outcome
from mergekit_mo.contents import Watch
from mergekit_mo.crash import scrubbed
from mergekit_mo.harness import Harness
from mergekit_mo.layers import Walk
from mergekit_mo.merging import Merger, as_it_is
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.races import Part, Race
from mergekit_mo.trial import Measurement, Split, Stop

_NO_MEMORY = re.compile(r"(?i)out of memory|can't allocate memory|not enough memory")


_PROBE = 8
"""Tokens that every model is shown first."""


@dataclass(frozen=True)
class Job:
    """One thing to evaluate.

    Attributes:
        number: of the trial.
        config: its mergekit configuration.
        split: which items to ask.
        walk: the layers of its model; None for the merge as it is.
        race: whom it races against; None where all items are asked.
    """

    number: int
    config: Mapping[str, Any]
    split: Split = "search"
    walk: Walk | None = None
    race: Race | None = field(default=None, compare=False, repr=False)


class Evaluator:
    """Merges and scores, one job after the other, on one device.

    Args:
        merger: makes the models.
        harness: asks them.
        objectives: by the name of their goal.
        base: the model that distances are measured from; None where there is none.
        quantise: makes the copy of a merge that is scored; None where the merge itself is.
        watch: notices sources that change.
    """

    def __init__(
        self,
        merger: Merger,
        harness: Harness,
        objectives: Mapping[str, Objective],
        base: str | None,
        quantise: Callable[[Any], Any] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.quantise = quantise
        self.merger = merger
        self.harness = harness
        self.objectives = objectives
        self.base = base
        self.watch = watch or Watch({})
        self._note: str | None = None
        self._begun = False

    def __call__(self, job: Job) -> Outcome:
        """Evaluates a job; never raises, but for an interrupt."""
        start = time.perf_counter()
        self._note = None
        try:
            self._look()
            outcome = self._evaluate(job, start)
            self._look()  # a source that changed meanwhile may have gone in by halves
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            message = scrubbed(f"{type(error).__name__}: {text}")
            outcome = Outcome({}, {}, None, message, time.perf_counter() - start)
            memory = out_of_memory(error)
        else:
            memory = False
        if memory:
            self._drop()
        return replace(outcome, note=self._note)

    def _look(self) -> None:
        """Sees that the sources are what they were; where one was touched, nothing of it is kept.

        Raises:
            SourceError: one holds something else.
        """
        if self.watch.touched():
            self._drop()
            self.watch.check()

    def _drop(self) -> None:
        """Lets go of the model and of everything that was read of the sources."""
        self.merger = self.merger.anew()
        free_memory()

    def _asked(self, bare: Subject, split: Split, items: Part | None = None) -> dict[str, Answers]:
        """Asks a model; where memory does not suffice, fewer prompts at a time.

        The smaller batch stays: the next model is as large. It changes scores by rounding alone.
        """
        while True:
            try:
                answers = self.harness.ask(bare.model, bare.tokenizer, split, items)
                break
            except Exception as error:
                smaller = self.harness.backend.smaller() if out_of_memory(error) else None
                if smaller is None:
                    raise
            free_memory()  # here, where the error holds no tensor any more
            self.harness.backend, size = smaller
            self._note = f"out of memory: {size} prompts are run together from now on"
        check_answers(answers)
        return answers

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
        check_logits(model)
        bare = Subject(
            model,
            merged.tokenizer,
            {},
            lambda: self.merger.distance(merged.model, self.base or ""),
            merge=merged.model,
        )
        if job.race is None:
            answers, scores = self._asked(bare, job.split), dict[str, Measurement]()
            stop = None
        else:
            answers, scores, stop = self._raced(bare, job.race)
        subject = replace(bare, answers=answers)
        if stop is None:
            rest = {name: o for name, o in self.objectives.items() if name not in scores}
            scores |= {name: o.score(subject) for name, o in rest.items()}
        check_scores(scores)
        scores = {name: scores[name] for name in self.objectives}
        plain = {task: found.plain() for task, found in answers.items()}
        for objective in self.objectives.values():
            if hasattr(objective, "task") and (own := objective.items(subject)):
                plain[objective.task]["values"] |= own
        seconds = time.perf_counter() - start
        return Outcome(scores, plain, merged.digest, None, seconds, stopped=stop)

    def _raced(
        self, bare: Subject, race: Race
    ) -> tuple[dict[str, Answers], dict[str, Measurement], Stop | None]:
        """Asks rung by rung until a rival has beaten the candidate, or all is asked.

        Returns:
            The answers; the scores that are known, all of them if it was stopped; and where it was.
        """
        known = {n: o.score(bare) for n, o in self.objectives.items() if not hasattr(o, "task")}
        asked: list[dict[str, Answers]] = []

        def ask(part: Part, *, told: bool) -> dict[str, NDArray[np.float64]]:
            asked.append(self._asked(bare, "search", part))
            subject = replace(bare, answers=asked[-1])
            return self._values(subject, race, part) if told else {}

        exact = {n: race.measures[n].sign * m.value for n, m in known.items() if n in race.goals}
        values, rival = race.run(ask, exact)
        answers = self.harness.joined(asked)
        if rival is None:
            return answers, known, None
        count = sum(len(found.ids) for found in answers.values())
        return answers, known | race.scores(values), Stop(count, race.plan.items, rival)

    def _values(self, subject: Subject, race: Race, part: Part) -> dict[str, NDArray[np.float64]]:
        """What the items of one part bring to each goal, in the order of the race."""
        found = {}
        for name, measure in race.measures.items():
            if measure.task not in part:
                continue
            answers = subject.answers[measure.task]
            own = self.objectives[name].items(subject).get(measure.metric)
            rows = measure.values(answers.values[measure.metric] if own is None else own)
            places = {document: i for i, document in enumerate(answers.ids)}
            found[name] = rows[[places[document] for document in part[measure.task]]]
        return found


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no more memory, of a device or of the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def check_logits(model: Any) -> None:
    """Sees that a model's logits are numbers: accuracies and texts do not show it.

    Raises:
        ValueError: some are NaN or infinite.
    """
    if not isinstance(model, torch.nn.Module):
        return
    with torch.inference_mode():
        logits = model(torch.arange(_PROBE)[None].to(str(model.device))).logits
    if not bool(
        (torch.nan_to_num(logits, nan=math.inf, posinf=math.inf, neginf=0.0) < math.inf).all()
    ):
        raise ValueError("the model's logits are not finite: its weights are of no use")


def check_answers(answers: Mapping[str, Answers]) -> None:
    """Sees that the likelihoods of answers are numbers; of NaN, an accuracy would make a score.

    Raises:
        ValueError: some are not.
    """
    for task, found in answers.items():
        if any(_no_number(response) for response in found.responses.values()):
            raise ValueError(f"{task}: the model's logits are not finite")


def _no_number(value: Any) -> bool:
    """Whether something NaN, or more than every number, is in nested lists."""
    if isinstance(value, float):
        return math.isnan(value) or value == math.inf
    return isinstance(value, list | tuple) and any(_no_number(entry) for entry in value)


def free_memory() -> None:
    """Gives back what nobody holds."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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

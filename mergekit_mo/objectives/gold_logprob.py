"""How likely a merge finds the right answers: smooth where the share of right ones is all steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.trial import Measurement


@dataclass(frozen=True)
class GoldLogprob(Objective):
    """Mean log-probability of a generation task's right answers, in nats; meant for `auxiliary:`.

    Of an item with several right answers, the likeliest one's. A merge can find right answers
    likely and still write wrong ones: let it steer, and judge by what is written.

    Attributes:
        task: the task's name, or the path of its YAML file; its prompts are shared with whatever
            else is measured on it.
    """

    task: str

    generates: ClassVar[bool] = True
    reads_gold: ClassVar[bool] = True
    metric: ClassVar[str] = "gold_logprob"

    @property
    def title(self) -> str:
        """The task's name, and what is measured."""
        return f"{self.task}_gold_logprob"

    @property
    def maximize(self) -> bool:
        """Likelier is better."""
        return True

    def bind(self, task: str, metrics: Mapping[str, bool]) -> GoldLogprob:
        """See `Objective.bind`."""
        del metrics
        return replace(self, task=task)

    def score(self, subject: Subject) -> Measurement:
        """The mean over the items, with its standard error."""
        values = np.array(subject.answers[self.task].gold)  # n
        n = len(values)
        stderr = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None
        return Measurement(float(values.mean()), stderr, n)

    def items(self, subject: Subject) -> Mapping[str, list[float]]:
        """The log-probability of each item's right answer."""
        return {self.metric: list(subject.answers[self.task].gold)}

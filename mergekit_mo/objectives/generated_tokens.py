"""How much a merge writes before it is done: the price of its reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.trial import Measurement


@dataclass(frozen=True)
class GeneratedTokens(Objective):
    """Mean tokens in the answers to a generation task, less is better.

    Counted in the text up to its stop, encoded again by the merge's own tokenizer. A merge that
    says nothing is the best at it: give the task's score as a goal too, with a threshold.

    Attributes:
        task: the task's name, or the path of its YAML file; a run of it is shared with whatever
            else is measured on it.
    """

    task: str

    generates: ClassVar[bool] = True
    metric: ClassVar[str] = "generated_tokens"

    @property
    def title(self) -> str:
        """The task's name, and what is counted."""
        return f"{self.task}_tokens"

    @property
    def maximize(self) -> bool:
        """Shorter is better."""
        return False

    def bind(self, task: str, metrics: Mapping[str, bool]) -> GeneratedTokens:
        """See `Objective.bind`."""
        del metrics
        return replace(self, task=task)

    def score(self, subject: Subject) -> Measurement:
        """The mean over the items, with its standard error."""
        counts = np.array(self.items(subject)[self.metric])  # n
        n = len(counts)
        stderr = float(counts.std(ddof=1) / np.sqrt(n)) if n > 1 else None
        return Measurement(float(counts.mean()), stderr, n)

    def items(self, subject: Subject) -> Mapping[str, list[float]]:
        """The tokens of each item's answers."""
        tokenizer = subject.tokenizer
        return {
            self.metric: [
                float(sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts))
                for texts in subject.answers[self.task].texts
            ]
        }

"""A metric of an lm-eval task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.problems import near
from mergekit_mo.trial import Measurement


@dataclass(frozen=True)
class Task(Objective):
    """An lm-eval task's metric, higher or lower as lm-eval says.

    Attributes:
        task: the task's name, or the path of its YAML file.
        metric: `metric` or `metric,filter`; the task's first where it is not said.
        direction: `maximize` or `minimize`, where lm-eval has it wrong.
    """

    task: str
    metric: str | None = None
    direction: str | None = None

    def __post_init__(self) -> None:
        """Checks the direction."""
        if self.direction not in (None, "maximize", "minimize"):
            raise ValueError(f"direction is maximize or minimize, got {self.direction!r}")

    @property
    def title(self) -> str:
        """The task's name; the caller adds the metric where that is ambiguous."""
        return self.task

    @property
    def maximize(self) -> bool:
        """As lm-eval says, once bound, or as the recipe does."""
        return self.direction == "maximize"

    def bind(self, task: str, metrics: Mapping[str, bool]) -> Task:
        """See `Objective.bind`."""
        if not metrics:
            raise ValueError(f"{task} has no metric")
        wanted = self.metric or next(iter(metrics))
        # `exact_match` alone means its first filter.
        full = next((m for m in metrics if wanted in (m, m.rpartition(",")[0])), None)
        if full is None:
            hint = near(wanted, metrics, what="it has")
            raise ValueError(f"{task} has no metric {wanted!r}: {hint}")
        direction = self.direction or ("maximize" if metrics[full] else "minimize")
        return replace(self, task=task, metric=full, direction=direction)

    def score(self, subject: Subject) -> Measurement:
        """The metric over the items that were asked."""
        assert self.metric is not None
        return subject.answers[self.task].measured[self.metric]

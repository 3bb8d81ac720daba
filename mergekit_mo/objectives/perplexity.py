"""How well a merge predicts a text of the user's own: bits per byte, or a perplexity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mergekit_mo.documents import Documents, found_file, rolling
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.trial import Measurement

_METRICS = ("bits_per_byte", "byte_perplexity", "word_perplexity")


@dataclass(frozen=True)
class Perplexity(Objective):
    """How well a text file is predicted, in bits per byte unless `metric` says otherwise.

    The log-likelihoods of all tokens are summed and divided by the bytes (or words) of the text, so
    that models with different tokenizers can be compared; there is no perplexity per token, which
    cannot. Passages longer than a model's context, or than `evaluation.max_length`, go through it
    in windows that follow one another. Less is better; the error is jackknifed over passages.

    Attributes:
        file: a text, cut into passages between lines, or a `.jsonl` with a `text` in each line.
        metric: `bits_per_byte`, `byte_perplexity` (2 to its power) or `word_perplexity`.
    """

    file: str
    metric: str = "bits_per_byte"

    def __post_init__(self) -> None:
        """Checks the metric."""
        if self.metric.partition(",")[0] not in _METRICS:
            raise ValueError(f"metric is {', '.join(_METRICS)}, not {self.metric!r}")

    @property
    def task(self) -> str:
        """The task that is made of the file."""
        return f"{Path(self.file).stem}_text"

    @property
    def title(self) -> str:
        """The file's name, and the unit."""
        return f"{Path(self.file).stem}_{self.metric.partition(',')[0]}"

    @property
    def maximize(self) -> bool:
        """Less surprise is better."""
        return False

    def documents(self, folder: Path) -> Documents:
        """See `Objective.documents`."""
        return rolling(self.task, found_file(self.file, folder))

    def bind(self, task: str, metrics: Mapping[str, bool]) -> Perplexity:
        """See `Objective.bind`."""
        del task
        return replace(self, metric=next(m for m in metrics if m.startswith(f"{self.metric},")))

    def score(self, subject: Subject) -> Measurement:
        """The metric over the passages that were asked."""
        return subject.answers[self.task].measured[self.metric]

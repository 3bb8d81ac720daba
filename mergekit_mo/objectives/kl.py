"""How far a merge's predictions have moved from another model's, on a text of the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mergekit_mo.configuration import Configuration
from mergekit_mo.documents import Documents, found_file, rolling
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.trial import Measurement

if TYPE_CHECKING:
    from mergekit_mo.objectives._divergence import Recorded


@dataclass(frozen=True)
class KL(Objective):
    """Kullback-Leibler divergence from a model to the merge on a text, in nats a token.

    At each token of the text, the sum of p log(p / q) over the vocabulary: p is what the model
    expects, q what the merge does. Of each p the `top` likeliest tokens are kept, once a process,
    and all others count as one; that is a lower bound of the whole divergence, and all of it where
    the vocabulary is no larger. Less is better: it keeps a merge near a model that people know. Its
    standard error is jackknifed over passages.

    Attributes:
        file: a text, cut into passages between lines, or a `.jsonl` with a `text` in each line.
        model: what the merge is compared with; the base where it is not said. Its vocabulary must
            be the sources'.
        top: tokens of each prediction that count one by one.
        window: the most tokens that are predicted from one context.
    """

    file: str
    model: str | None = None
    top: int = 128
    window: int = 512
    _known: dict[int, Recorded] = field(default_factory=dict, init=False, repr=False, compare=False)

    metric: ClassVar[str] = "kl"

    def __post_init__(self) -> None:
        """Checks the sizes."""
        for name, least in (("top", 1), ("window", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, not {getattr(self, name)}")

    @property
    def task(self) -> str:
        """The name of the file's items."""
        return f"{Path(self.file).stem}_kl"

    @property
    def title(self) -> str:
        """The file's name, and what is measured."""
        return self.task

    @property
    def maximize(self) -> bool:
        """Nearer is better."""
        return False

    def refusal(self, configuration: Configuration) -> str:
        """Needs something to be compared with."""
        if self.model is None and configuration.base is None:
            return "kl is a divergence from a model: say which, model: …, as there is no base_model"
        return ""

    def documents(self, folder: Path) -> Documents:
        """See `Objective.documents`."""
        return rolling(self.task, found_file(self.file, folder), asked=False)

    def begin(
        self, see: Callable[[str], Subject], rows: Mapping[str, Mapping[int, Mapping[str, Any]]]
    ) -> None:
        """Keeps what the model expects at every token."""
        if self._known:
            return
        from mergekit_mo.objectives._divergence import record

        assert self.model is not None
        other = see(self.model)
        for number, row in rows[self.task].items():
            self._known[number] = record(other, row["text"], self.top, self.window)

    def score(self, subject: Subject) -> Measurement:
        """The mean over all tokens of the passages that were asked."""
        pairs = self._pairs(subject)  # n x 2
        total, tokens = pairs.sum(axis=0)
        return Measurement(float(total / tokens), _jackknife(pairs), len(pairs))

    def items(self, subject: Subject) -> Mapping[str, list[Any]]:
        """Of each passage, the sum over its tokens and their number."""
        return {self.metric: self._pairs(subject).tolist()}

    def _pairs(self, subject: Subject) -> NDArray[np.float64]:
        from mergekit_mo.objectives._divergence import divergence

        known = subject.memo.setdefault(self, {})  # by passage: a race asks for some at a time
        answers = subject.answers[self.task]
        for number, row in zip(answers.ids, answers.rows, strict=True):
            if number not in known:
                known[number] = divergence(subject, row["text"], self._known[number], self.window)
        return np.array([known[number] for number in answers.ids], dtype=float).reshape(-1, 2)


def _jackknife(pairs: NDArray[np.float64]) -> float | None:
    """The standard error of a ratio of sums over items, from `n x 2` pairs."""
    n = len(pairs)
    if n < 2:
        return None
    without = pairs.sum(axis=0) - pairs
    ratios = without[:, 0] / without[:, 1]
    return float(np.sqrt((n - 1) / n * ((ratios - ratios.mean()) ** 2).sum()))

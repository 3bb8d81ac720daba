"""Whether a merge finds the better of two answers likelier: no judge, and nothing is generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mergekit_mo import margins
from mergekit_mo.documents import Documents, found_file, read_lines, text_of
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.trial import Measurement


@dataclass(frozen=True)
class Preferences(Objective):
    """Mean log-probability margin of chosen over rejected answers, in nats; more is better.

    Of each pair, log P(chosen | prompt) - log P(rejected | prompt). With
    `evaluation.apply_chat_template` the prompt is a user's turn; without, a space stands between
    prompt and answer.

    Attributes:
        file: JSON Lines with `prompt`, `chosen` and `rejected`, texts or chats of one message.
        per_byte: divide each log-probability by the bytes of its answer, lest a merge be good that
            likes short ones.
    """

    file: str
    per_byte: bool = False

    @property
    def metric(self) -> str:
        """Which of the task's two margins it is."""
        return "margin_per_byte,none" if self.per_byte else "margin,none"

    @property
    def task(self) -> str:
        """The task that is made of the file."""
        return f"{Path(self.file).stem}_pairs"

    @property
    def title(self) -> str:
        """The file's name, and what is measured."""
        return f"{Path(self.file).stem}_{self.metric.partition(',')[0]}"

    @property
    def maximize(self) -> bool:
        """A wider margin is better."""
        return True

    def documents(self, folder: Path) -> Documents:
        """See `Objective.documents`."""
        path = found_file(self.file, folder)
        config = {
            "output_type": "multiple_choice",
            "doc_to_text": "prompt",
            "doc_to_choice": "choices",
            "doc_to_target": 0,
            "process_results": margins.margins,
            "metric_list": [
                {"metric": name, "aggregation": "mean", "higher_is_better": True}
                for name in ("margin", "margin_per_byte", "preferred")
            ],
        }
        return Documents(self.task, path, tuple(read_lines(path, _pair)), config)

    def bind(self, task: str, metrics: Mapping[str, bool]) -> Preferences:
        """See `Objective.bind`."""
        del task, metrics
        return replace(self)

    def score(self, subject: Subject) -> Measurement:
        """The mean margin over the pairs that were asked."""
        return subject.answers[self.task].measured[self.metric]


def _pair(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line's prompt and answers."""
    pair: dict[str, Any] = {
        "prompt": text_of(row, "prompt", empty=True),
        "chosen": text_of(row, "chosen"),
        "rejected": text_of(row, "rejected"),
    }
    if pair["chosen"] == pair["rejected"]:
        raise ValueError("'chosen' and 'rejected' are the same")
    return {**pair, "choices": [pair["chosen"], pair["rejected"]]}

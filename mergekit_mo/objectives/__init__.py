"""Objectives score a merged model: one file each, and the file's name is the name in the recipe.

Rule: an objective sees one model and its answers, never the search. It does not change the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mergekit_mo.configuration import Configuration
from mergekit_mo.documents import Documents
from mergekit_mo.trial import Measurement

if TYPE_CHECKING:
    from mergekit_mo.answers import Answers


@dataclass(frozen=True)
class Subject:
    """A merged model as objectives see it.

    Attributes:
        model: the module, in evaluation mode on its device.
        tokenizer: its tokenizer.
        answers: what it answered, by task; objectives on one task share one run of it.
        distance: gives the L1 distance of its parameters from the base's.
        merge: the module before it was quantised to be scored; None where that is `model`.
        memo: what objectives keep of it while it is scored, item by item, lest they compute it
            twice; whatever part of the items was answered.
    """

    model: Any
    tokenizer: Any
    answers: Mapping[str, Answers]
    distance: Callable[[], float]
    merge: Any = None
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)


class Objective(ABC):
    """Something that a merged model is scored on. A kind is a frozen dataclass of its settings.

    An objective that needs a task's answers has a field or property `task`: a name or a file. One
    that reads a file of the user's makes a task of it: see `documents`. One that looks at a further
    model, whose tokens must be the sources', has a field `model`; None is the base.
    """

    generates: ClassVar[bool] = False
    """Whether it needs a task to which models write their answers."""

    reads_gold: ClassVar[bool] = False
    """Whether it reads `Answers.gold` of its task."""

    repeatable: ClassVar[bool] = True
    """Whether the same model has the same score each time, whatever else the machine is doing."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What it is called where the recipe gives it no name."""

    @property
    @abstractmethod
    def maximize(self) -> bool:
        """Whether more is better."""

    @abstractmethod
    def score(self, subject: Subject) -> Measurement:
        """Scores a model.

        Raises:
            Exception: whatever keeps it from being scored; the trial then fails with it.
        """

    def begin(
        self, see: Callable[[str], Subject], rows: Mapping[str, Mapping[int, Mapping[str, Any]]]
    ) -> None:
        """Called before the first merge of a process, for what does not depend on a merge.

        Args:
            see: gives a model as it is, until the next one is asked for.
            rows: by task and number, the items that objectives ask by themselves, of both splits.
        """
        del see, rows

    def items(self, subject: Subject) -> Mapping[str, list[Any]]:
        """Values by item of which the score is the mean, by the name in its field `metric`.

        They are kept with the task's answers, so that scores can be compared item by item; an
        objective whose metric is the task's own has none to add.
        """
        del subject
        return {}

    def documents(self, folder: Path) -> Documents | None:
        """The items of a user's file, for an objective that reads one; its `task` is their name.

        Args:
            folder: the recipe's, where relative paths start.

        Raises:
            DocumentsError: the file holds no usable items.
        """
        del folder
        return None

    def bind(self, task: str, metrics: Mapping[str, bool]) -> Objective:
        """The same objective once its task is loaded.

        Args:
            task: the task's own name.
            metrics: its `metric,filter` names, and whether more of each is better.

        Raises:
            ValueError: the task has no such metric.
        """
        del task, metrics
        return self

    def refusal(self, configuration: Configuration) -> str:
        """Why it has no meaning for a configuration; empty where it has."""
        del configuration
        return ""


__all__ = ["Objective", "Subject"]

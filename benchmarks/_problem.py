"""What the benchmark asks optimizers to solve: real merges and analytic problems look alike to it.

Rule: an optimizer sees search scores only; what is reported is the value that the search's own
front has by its true scores, which are those of the items held out, or those without noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.space import Candidate, Space
from mergekit_mo.trial import Goal, Measurement

Scores = Mapping[str, Measurement]


@dataclass(frozen=True)
class Scored:
    """What a trial gave.

    Attributes:
        search: what optimizers see; empty where it failed.
        true: what is reported.
        error: what it died of.
        answers: to the items that optimizers see, by task, as an archive keeps them.
    """

    search: Scores
    true: Scores
    error: str | None = None
    answers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """A reference trial: its name, its configuration and its scores."""

    name: str
    config: Mapping[str, Any]
    scored: Scored


class Problem(ABC):
    """Something to optimize.

    Attributes:
        name: what it is called on the command line.
        space: where candidates come from.
        goals: what they are scored on.
        budget: evaluations of a run.
        starts: candidates that every run begins with.
        real: whether its scores are those of merged models.
        grid: the space that a hand-tuner's grid walks, if it is another one.
        measured: what may be measured besides to steer an optimizer, by the objective's kind.
    """

    name: str
    space: Space
    goals: Sequence[Goal]
    budget: int
    starts: tuple[Candidate, ...] = ()
    real: bool = False
    grid: Space | None = None
    measured: Mapping[str, Goal] = MappingProxyType({})

    @abstractmethod
    def references(self, seed: int) -> list[Reference]:
        """The reference trials of a run."""

    @abstractmethod
    def score(self, candidate: Candidate, config: Mapping[str, Any], seed: int) -> Scored:
        """Scores a candidate.

        Args:
            candidate: its point.
            config: its configuration, which a real merge is made from.
            seed: of the run.
        """

    @abstractmethod
    def most(self, seed: int) -> float:
        """The hypervolume that counts as all of it, on a run's anchored scales."""

    def facts(self) -> dict[str, Any]:
        """What else an archive of it remembers, for optimizers that ask."""
        return {}

    def archive(self, seed: int, auxiliary: Sequence[str] = ()) -> Archive:
        """A new archive with the reference trials in it.

        Args:
            seed: of the run.
            auxiliary: what the optimizer wants to be measured besides; what is unknown to the
                problem is left out.
        """
        known = [self.measured[kind] for kind in auxiliary if kind in self.measured]
        own = {"auxiliary": [[g.name, g.maximize, g.threshold] for g in known]}
        archive = Archive.create(":memory:", self.goals, {**self.facts(), **own})
        for reference in self.references(seed):
            (trial,) = archive.propose("reference", [(reference.name, reference.config)])
            record(archive, trial.number, reference.scored)
        return archive


def record(archive: Archive, number: int, scored: Scored) -> None:
    """Writes a trial's scores of both kinds."""
    wanted = {goal.name for goal in (*archive.goals, *archive.auxiliary)}
    search, true = ({k: s[k] for k in s if k in wanted} for s in (scored.search, scored.true))
    archive.finish(number, Outcome(search, scored.answers, None, scored.error, 0.0), 0.0)
    if scored.error is None:
        archive.finish(number, Outcome(true, {}, None, None, 0.0), 0.0, "holdout")


def value(archive: Archive) -> float:
    """What a run is worth: the hypervolume of its search front by true scores."""
    return archive.hypervolume(archive.front(), "holdout")

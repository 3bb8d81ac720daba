"""The facts of a search: goals, measurements and trials, and what optimizers are told of them.

Rule: a trial is never changed; the archive makes a new one when more is known of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mergekit_mo.layers import Path
from mergekit_mo.pareto import Matrix

Role = Literal["reference", "candidate"]
Status = Literal["waiting", "done", "failed", "stopped"]
Split = Literal["search", "holdout"]
SPLITS: tuple[Split, Split] = ("search", "holdout")


@dataclass(frozen=True)
class Goal:
    """What the archive and the optimizers know of an objective.

    Attributes:
        name: what it is called in every table.
        maximize: whether more is better.
        threshold: the bound on the worse side, in the objective's own units; beyond it a trial is
            infeasible.
    """

    name: str
    maximize: bool
    threshold: float | None = None

    @property
    def sign(self) -> float:
        """1 where more is better, -1 where less is."""
        return 1.0 if self.maximize else -1.0

    def allows(self, value: float) -> bool:
        """Whether a value satisfies the threshold."""
        return self.threshold is None or self.sign * (value - self.threshold) >= 0


@dataclass(frozen=True)
class Measurement:
    """A score.

    Attributes:
        value: in the objective's own units.
        stderr: standard error of the value over the items; None where there is none to tell,
            0 where the value is exact.
        n: number of items; None where the value does not come from items.
    """

    value: float
    stderr: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Stop:
    """Where a race ended for a trial.

    Attributes:
        asked: items that it answered, of all tasks.
        of: items that there are.
        by: the number of the trial that beats it in everything.
    """

    asked: int
    of: int
    by: int

    def text(self) -> str:
        """For people."""
        return f"stopped at {self.asked} of {self.of} items, beaten by trial {self.by}"


@dataclass(frozen=True)
class Trial:
    """A merge with its scores, or with the error that it died of.

    Attributes:
        number: its place in the order of proposals, references first.
        role: `reference` for the base and the sources as they are, else `candidate`.
        origin: who proposed it; for a reference, the model.
        status: `waiting` until it is run; `stopped` where a race ended before all items were asked,
            so that its scores are estimates and it is no match for the front.
        config: the mergekit configuration of the merge.
        unit: its point of the space; None for a reference.
        ask: which ask proposed it; None for references and the first candidates.
        scores: measurements on the search items by goal.
        holdout: measurements on the hold-out items, once these were opened for it.
        digest: of the merged weights.
        error: what it died of.
        seconds: what it took to merge and to score.
        path: its layers, of the merge and of sources; None where the search leaves them alone.
        stopped: where its race ended, if it is stopped.
    """

    number: int
    role: Role
    origin: str
    status: Status
    config: Mapping[str, Any] = field(repr=False)
    unit: tuple[float, ...] | None = None
    ask: int | None = None
    scores: Mapping[str, Measurement] = field(default_factory=dict)
    holdout: Mapping[str, Measurement] = field(default_factory=dict)
    digest: str | None = None
    error: str | None = None
    seconds: float | None = None
    path: Path | None = None
    stopped: Stop | None = None


@dataclass(frozen=True)
class Outcome:
    """What running a trial gave.

    Attributes:
        scores: measurements by goal; empty where the trial failed.
        answers: per-item answers by task, plain JSON.
        digest: of the merged weights.
        error: what the trial died of, or None.
        seconds: how long it took.
        note: what the user should know of it besides.
        stopped: where its race ended, if it did before all items were asked.
    """

    scores: Mapping[str, Measurement]
    answers: Mapping[str, Any]
    digest: str | None
    error: str | None
    seconds: float
    note: str | None = None
    stopped: Stop | None = None


@dataclass(frozen=True)
class Data:
    """What optimizers learn from: finished candidates on anchored scales, all maximised.

    Attributes:
        X: `n x d` points of the unit cube.
        Y: `n x m` anchored scores.
        Yvar: `n x m` variances of the scores' item errors; NaN where unknown.
        feasible: `n` marks: every threshold is kept.
        pending: `k x d` points that are proposed but not finished.
        numbers: `n`, which trials they are.
        partial: `n` marks: of a stopped trial, whose scores are estimates with the error `Yvar`.
    """

    X: Matrix
    Y: Matrix
    Yvar: Matrix
    feasible: NDArray[np.bool_]
    pending: Matrix
    numbers: tuple[int, ...]
    partial: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))

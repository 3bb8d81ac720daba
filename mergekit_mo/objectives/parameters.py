"""The size of a merged model."""

from __future__ import annotations

from dataclasses import dataclass

from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.trial import Measurement


@dataclass(frozen=True)
class Parameters(Objective):
    """The number of parameters, less is better; tied weights count once."""

    @property
    def title(self) -> str:
        """Its name in tables."""
        return "parameters"

    @property
    def maximize(self) -> bool:
        """Smaller is better."""
        return False

    def score(self, subject: Subject) -> Measurement:
        """Counts the elements of every parameter; quantised ones would count by the byte."""
        model = subject.model if subject.merge is None else subject.merge
        return Measurement(float(sum(p.numel() for p in model.parameters())), stderr=0.0)

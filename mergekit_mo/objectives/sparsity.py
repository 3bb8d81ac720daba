"""The distance of a merge from its base: MM-MO's sparsity metric, minimised."""

from __future__ import annotations

from dataclasses import dataclass

from mergekit_mo.configuration import Configuration
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.trial import Measurement


@dataclass(frozen=True)
class Sparsity(Objective):
    """L1 distance of all parameters from the base's, less is better (Li et al. 2024, MM-MO).

    The paper calls it sparsity; it counts no zeros. It keeps a merge near its base and costs no
    inference.
    """

    @property
    def title(self) -> str:
        """Its name in tables."""
        return "sparsity"

    @property
    def maximize(self) -> bool:
        """Nearer is better."""
        return False

    def score(self, subject: Subject) -> Measurement:
        """Sums |merged - base| over all parameters."""
        return Measurement(subject.distance(), stderr=0.0)

    def refusal(self, configuration: Configuration) -> str:
        """Needs a base, layer for layer."""
        if configuration.base is None:
            return "sparsity is a distance from the base: it needs a base_model"
        if configuration.changes_depth:
            return "sparsity has no meaning where layers are dropped, repeated or moved"
        return ""

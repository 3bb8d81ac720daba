"""Optimizers propose candidates: one file each, and the file's name is the name in the recipe.

Rule: `ask` is a function of its arguments. No state outlives it, it reads no clock, and all its
randomness comes from the seed that it is given, so that a killed run resumes to the same trials.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import ClassVar

from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.kinds import make
from mergekit_mo.problems import Problem
from mergekit_mo.recipe import Recipe
from mergekit_mo.space import Candidate, Space


class Optimizer(ABC):
    """Proposes candidates. A kind is a frozen dataclass whose fields are its settings.

    `__post_init__` raises `ValueError` for settings that make no sense.
    """

    heeds_preference: ClassVar[bool] = False
    """Whether `Archive.preference` steers it."""

    heeds_auxiliary: ClassVar[bool] = False
    """Whether the recipe's auxiliary objectives, `Archive.data(auxiliary=True)`, steer it."""

    searches_layers: ClassVar[bool] = False
    """Whether it proposes paths; one that does not leaves them straight, and needs holes."""

    @abstractmethod
    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """Proposes candidates.

        Args:
            space: where they come from.
            archive: every trial so far. Failed ones teach nothing but where not to ask again;
                waiting ones are pending.
            count: how many are wanted.
            seed: of this ask alone.

        Returns:
            `count` candidates, snapped by `space.candidate`; fewer only where the space has no
            more points. One without a path has the straight one.
        """

    @property
    def auxiliary(self) -> tuple[str, ...]:
        """Kinds of objectives, none of a task, that are measured besides to steer the search.

        They join the recipe's own `auxiliary` ones in `Archive.data(auxiliary=True)`, and are in no
        front unless the recipe lists them as objectives.
        """
        return ()

    @property
    def wants_differences(self) -> bool:
        """Whether the archive's fact `differences` steers it: how far sources lie from the base.

        The L2 norms of the differences, by source and tensor name, taken once before the search.
        """
        return False

    @property
    def batch(self) -> int:
        """How many candidates belong together: asks are for so many, or for all idle workers."""
        return 1

    def refusal(self, budget: int, space: Space, goals: int) -> str:  # noqa: ARG002
        """Why these settings cannot serve a search; empty where they can.

        Told of a recipe before anything is merged.

        Args:
            budget: the number of trials.
            space: where candidates come from.
            goals: the number of objectives.
        """
        return ""


def chosen(recipe: Recipe) -> tuple[Optimizer | None, list[Problem]]:
    """The optimizer that a recipe asks for, with what is wrong with it for that recipe.

    Returns:
        The optimizer (None where it cannot be made), and the problems.
    """
    kind, settings, place = recipe.optimizer.kind, recipe.optimizer.settings, recipe.optimizer.place
    package = sys.modules[__name__]
    optimizer, problems = make(package, Optimizer, kind, settings, place)  # type: ignore[type-abstract]
    if optimizer:
        space, goals = Space(recipe.configuration), len(recipe.objectives)
        if reason := optimizer.refusal(recipe.budget, space, goals):
            problems.append(Problem(place, reason))
    return optimizer, problems


__all__ = ["Optimizer", "chosen"]

"""Weak to strong: children of candidates and elites, by differential evolution (MM-MO).

Rule: who is strong is told here and nowhere else; children are bounded, not yet snapped.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mergekit_mo.archive import Data
from mergekit_mo.pareto import Matrix, contributions, nondominated
from mergekit_mo.scales import REFERENCE


def bred(
    candidates: Matrix, elites: Matrix, rng: Generator, scale: float, crossover: float
) -> Matrix:
    """A child of each candidate (DE/rand/1/bin, Storn and Price 1997).

    Args:
        candidates: `k x d` points.
        elites: `e x d` points, three or more.
        rng: draws elites and coordinates.
        scale: the weight of the difference of two elites, F.
        crossover: the probability of a coordinate to come from the mutant, CR; one always does.

    Returns:
        `k x d` points of the unit cube.
    """
    children = []
    for candidate in candidates:
        first, second, third = elites[rng.choice(len(elites), 3, replace=False)]
        mutant = np.clip(first + scale * (second - third), 0.0, 1.0)
        mask = rng.random(len(candidate)) < crossover
        mask[rng.integers(len(candidate))] = True
        children.append(np.where(mask, mutant, candidate))
    return np.array(children).reshape(len(candidates), elites.shape[1])


def elite(data: Data, goals: int, count: int) -> NDArray[np.int_]:
    """The strong among finished trials: front by front, by the hypervolume that each adds alone.

    Args:
        data: the trials.
        goals: how many of its first columns are goals; others do not make a trial strong.
        count: how many are wanted.

    Returns:
        Rows of `data`, the strongest first; fewer than `count` where fewer are feasible.
    """
    left = np.flatnonzero(data.feasible & np.isfinite(data.Y).all(axis=1))
    found: list[int] = []
    while len(left) and len(found) < count:
        Y = data.Y[left, :goals]
        front = nondominated(Y)
        added = contributions(Y[front], np.full(goals, REFERENCE))
        found += left[front][np.argsort(-added, kind="stable")].tolist()
        left = left[~front]
    return np.array(found[:count], dtype=int)

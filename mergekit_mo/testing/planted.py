"""Small spaces and archives for tests of optimizers: planted scores instead of merges.

Rule: nothing here needs a model or a task; scores come from functions of a point's coordinates.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path as Folder

import numpy as np
from scipy.stats import qmc

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.configuration import read_configuration
from mergekit_mo.layers import Layers, Path
from mergekit_mo.problems import RecipeError, parse_source
from mergekit_mo.space import Candidate, Space
from mergekit_mo.trial import Goal, Measurement

Function = Callable[[Sequence[float]], Sequence[float]]
"""Scores of a point of the unit cube, one for each goal, in the goals' own units."""

MIXED = """
merge_method: ties
base_model: a/base
models:
  - model: a/one
    parameters:
      weight: {value: 0.5, low: 0.0, high: 1.0}
      density: {value: 0.5, low: 0.001, high: 1.0, log: true}
  - model: a/two
    parameters:
      weight: {value: [0.2, 0.8], low: 0.0, high: 1.0}
      density: 0.5
parameters:
  normalize: {value: true, choices: [true, false]}
search: {merge_method: [ties, multislerp]}
"""
"""A space with a method, a logarithm, a gradient, a choice and, under one method, idle axes."""

WHOLE = """
merge_method: karcher
models: [{model: a/one}, {model: a/two}]
parameters:
  max_iter: {value: 3, low: 1, high: 4}
  tol: {value: 1.0e-5, choices: [1.0e-5, 1.0e-3]}
"""
"""A space of whole numbers and choices, with eight points in all."""


def small_space(text: str) -> Space:
    """The space of a recipe's text; its models are only named.

    Raises:
        RecipeError: the recipe has problems.
    """
    source = parse_source(text, "recipe")
    choices = (source.tree.get("search") or {}).get("merge_method")
    at = ("search", "merge_method")
    configuration, problems = read_configuration(source.tree, Folder("/nowhere"), choices, at)
    if configuration is None or problems:
        raise RecipeError(source, problems)
    return Space(configuration)


@cache
def plain_space(dim: int) -> Space:
    """The weights of `dim` models, from 0 to 1: coordinates and values are the same."""
    entry = "  - {{model: a/m{}, parameters: {{weight: {{value: 0.5, low: 0, high: 1}}}}}}\n"
    models = "".join(entry.format(i) for i in range(dim))
    fixed = "  - {model: a/fixed, parameters: {weight: 1}}\n"  # a merge takes two models
    return small_space(f"merge_method: linear\nmodels:\n{models}{fixed}")


def make_goals(count: int, thresholds: Sequence[float | None] = ()) -> list[Goal]:
    """Goals `g0`, `g1`, …, all maximised, with thresholds for the first of them."""
    bounds = [*thresholds, *[None] * count]
    return [Goal(f"g{i}", True, bounds[i]) for i in range(count)]


def planted(
    space: Space,
    goals: Sequence[Goal],
    function: Function,
    n: int,
    *,
    references: Sequence[Sequence[float]] | None = None,
    failed: Iterable[int] = (),
    waiting: int = 0,
    seed: int = 0,
) -> Archive:
    """An archive in memory: the recipe's own candidates, then Sobol points, scored by a function.

    Args:
        space: where candidates come from.
        goals: what the function's values are called.
        function: the scores of a candidate's coordinates.
        n: how many candidates are finished or failed.
        references: scores of the reference trials; None for all 0 and all 1, so that anchored
            scales are the goals' own; none at all leaves the scales un-anchored.
        failed: which of the candidates failed, counted from 0.
        waiting: how many more candidates wait.
        seed: of the Sobol points.
    """
    archive = Archive.memory(goals)
    rows = [[0.0] * len(goals), [1.0] * len(goals)] if references is None else references
    for i, row in enumerate(rows):
        (trial,) = archive.propose("reference", [(f"a/parent{i}", {})])
        archive.finish(trial.number, scored(goals, row), 0.0)
    lost = set(failed)
    for i, candidate in enumerate(_points(space, n + waiting, seed)):
        (trial,) = archive.propose("candidate", [(candidate, space.config(candidate.unit))])
        if i in lost:
            archive.finish(trial.number, Outcome({}, {}, None, "planted failure", 0.0), 0.0)
        elif i < n:
            archive.finish(trial.number, scored(goals, function(candidate.unit)), 0.0)
    return archive


def scored(goals: Sequence[Goal], values: Sequence[float]) -> Outcome:
    """The outcome of a trial with these scores."""
    pairs = zip(goals, values, strict=True)
    return Outcome({g.name: Measurement(float(v)) for g, v in pairs}, {}, None, None, 0.0)


def _points(space: Space, count: int, seed: int) -> list[Candidate]:
    """Snapped points, some of them equal where the space is small."""
    rng = np.random.default_rng(seed)
    draws = qmc.Sobol(space.dim, rng=rng).random(1 << max(count - 1, 0).bit_length())
    return [*space.starts(), *(space.candidate(u, "sobol") for u in draws)][:count]


def random_path(layers: Layers, draw: random.Random) -> Path:
    """Steps drawn among the successors, until the path ends.

    Raises:
        ValueError: there is no path.
    """
    path: Path = ()
    while not (layers.may_end(path) and draw.random() < 0.5):
        steps = layers.successors(path)
        if not steps:
            break
        path = (*path, draw.choice(steps))
    if not layers.may_end(path):
        raise ValueError("the rules allow no path")
    return path


def ridge(count: int) -> Function:
    """Smooth goals, each with its best point at another place, values in [0, 1]."""

    def function(unit: Sequence[float]) -> list[float]:
        spots = np.linspace(0.1, 0.9, count) if count > 1 else np.array([0.3])
        offsets = np.asarray(unit)[None, :] - spots[:, None]  # count x d
        return [float(v) for v in np.exp(-2 * (offsets**2).mean(axis=1))]

    return function


def constant(count: int) -> Function:
    """Goals that are the same everywhere."""
    return lambda _: [0.5] * count

"""The published HM3 at its full length on a table: a thousand episodes for each preference.

Rule: an episode over a path that was scored before costs nothing, so evaluations are the different
paths that were walked; nothing else is done than what the paper's algorithm 1 does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import SeedSequence

from benchmarks._walks import Truth, archive_of, rows_of, space_of
from mergekit_mo.layers import Path
from mergekit_mo.optimizers import _hm3_paper as paper
from mergekit_mo.optimizers._paths import Point
from mergekit_mo.optimizers.hm3 import HM3
from mergekit_mo.optimizers.sobol import run_seed
from mergekit_mo.pareto import Matrix

_ENDS = 100  # episodes, the first and the last so many of which are told apart


def full_length(truth: Truth, settings: HM3, seed: int) -> tuple[tuple[Path, ...], dict[str, Any]]:
    """Every episode of every learner.

    Returns:
        The different paths in the order in which they were first walked; and `rewards`: for each
        preference the mean reward of the first and of the last hundred episodes, that of the best
        path that was walked, and that of the best path that there is.
    """
    run = run_seed(SeedSequence((seed, 0)))
    unit = space_of(truth).starts()[0].unit
    scores: dict[Point, Matrix] = {}
    rewards = []
    paper.forget()
    with archive_of(truth) as archive:
        vectors = paper._vectors(settings.preferences, archive, run)
    every = np.array(list(truth.scores.values()))  # n x m
    for number, preference in enumerate(vectors):
        learner = paper._Learner(number, preference, unit, truth.layers, settings, run)
        while True:
            path = learner.unknown(scores, set(scores))
            if path is not None:
                scores[unit, path] = rows_of(truth, [path])[0]
            elif len(learner.history(scores)) >= settings.episodes:
                break
        walked = learner.history(scores)
        values = [reward for _, reward in walked if reward is not None]
        ends = (np.mean(values[:_ENDS]), np.mean(values[-_ENDS:]), max(values))
        best = (every @ preference).max()
        rewards.append([round(float(value), 4) for value in (*ends, best)])
    return tuple(path for _, path in scores if path), {"rewards": rewards}

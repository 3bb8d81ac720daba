"""Soup: the grid that somebody walks who tunes by hand: shares of the models, methods, densities.

Rule: the grid is blind to every score, and walked coarse first, so that any budget gets one that
is spread out. What the grid does not speak of stays at the recipe's own values.

The shares are points of a simplex: first the equal mix, then each model alone, then pairs, then
thirds, quarters and so on. A model's share is the weight of all its holes, those with filters and
those of a gradient included. `t`, and the weight where only one model's is searched, walk their
holes' own ranges in the same steps. Densities are one for all models. A value that a hole cannot
take becomes the nearest one that it can; what comes out twice is walked once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

import numpy as np
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers._new import first_new
from mergekit_mo.optimizers.sobol import run_seed, spread
from mergekit_mo.space import METHOD, Axis, Candidate, Space

USUAL_METHODS = ("linear", "ties", "dare_ties")
DENSITIES = ((0.5,), (0.2, 0.8), (1.0,))
"""The densities of each round, the usual one first."""

_FINEST = 12  # shares are at least a twelfth
_MOST_SHARES = 4096  # in a level
_WALKED = ("merge_method", "weight", "t", "density")

Shares = tuple[float, ...]


@dataclass(frozen=True)
class Soup(Optimizer):
    """Walks the grid of a hand-tuner: simplex weights, methods, usual densities.

    Where the recipe searches the method, linear, TIES and DARE-TIES come first and its others
    after them. Where the grid has no more points, Sobol points follow.
    """

    def refusal(self, budget: int, space: Space, goals: int) -> str:  # noqa: ARG002
        """See `Optimizer.refusal`."""
        if any(axis.parameter in _WALKED for axis in space.axes):
            return ""
        return "the recipe searches no weight, no t, no density and no method for it to walk"

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        return mixes(space, archive, count, seed)


def mixes(
    space: Space,
    archive: Archive,
    count: int,
    seed: SeedSequence,
    barred: Collection[tuple[float, ...]] = (),
) -> list[Candidate]:
    """Points of the walk that are neither tried nor barred; where it has no more, Sobol points."""
    known = {t.unit for t in archive.trials}.union(barred)
    new = first_new(walk(space, run_seed(seed)), count, known)
    found = [Candidate(unit, "soup") for unit in new]
    return found + spread(space, archive, count - len(new), seed, "sobol", new)


def walk(space: Space, seed: int) -> Iterator[tuple[float, ...]]:
    """The snapped points of the grid, some of them twice where the space cannot tell them apart.

    Round `n` takes the shares of level `i` with the settings of level `n - i`, for each `i`, in an
    order that the seed draws: a budget may end within it.
    """
    owners = owners_of(space)
    mixes = owners or _axes(space, "t")
    levels = list(_levels(max(len(owners), 2))) if mixes else [[()]]
    settings = _settings(space)
    rng = np.random.default_rng(seed)
    for n in range(len(levels) + len(settings) - 1):
        stops = [
            (shares, method, density)
            for i in range(max(0, n - len(settings) + 1), min(n + 1, len(levels)))
            for shares in levels[i]
            for method, density in settings[n - i]
        ]
        for j in rng.permutation(len(stops)):
            yield _point(space, owners, *stops[int(j)])


def _point(
    space: Space, owners: Sequence[str], shares: Shares, method: str | None, density: float | None
) -> tuple[float, ...]:
    """The point of the space that is nearest to a stop of the grid."""
    unit = []
    for axis in space.axes:
        at = axis.encode(axis.start)
        if axis.place == METHOD and method is not None:
            at = axis.encode(method)
        elif axis.parameter == "weight" and len(owners) > 1:
            at = _nearest(axis, shares[owners.index(owner_of(space, axis))])
        elif axis.parameter in ("weight", "t"):
            at = shares[-1]
        elif axis.parameter == "density" and density is not None:
            at = _nearest(axis, density)
        unit.append(at)
    return space.snap(unit)


def _nearest(axis: Axis, value: float) -> float:
    """The coordinate of the value of a hole that is nearest to another one."""
    if not axis.choices:
        return axis.encode(value)
    return axis.encode(min(axis.choices, key=lambda choice: abs(float(choice) - value)))


def _levels(count: int) -> Iterator[list[Shares]]:
    """Shares of so many models, coarse levels first, nothing twice."""
    known = {(1,) * count}
    yield [(1 / count,) * count]
    for parts in range(1, _FINEST + 1):
        if comb(parts + count - 1, parts) > _MOST_SHARES:
            return
        new = [row for row in _lattice(count, parts) if _reduced(row) not in known]
        known.update(_reduced(row) for row in new)
        if new:
            yield [tuple(part / parts for part in row) for row in new]


def _lattice(count: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to give so many equal parts to so many models."""
    for bars in combinations(range(parts + count - 1), count - 1):
        ends = (-1, *bars, parts + count - 1)
        yield tuple(b - a - 1 for a, b in pairwise(ends))


def _reduced(row: Sequence[int]) -> tuple[int, ...]:
    divisor = int(np.gcd.reduce(row))
    return tuple(part // divisor for part in row)


def _settings(space: Space) -> list[list[tuple[str | None, float | None]]]:
    """Methods with densities, the usual ones first; None where the space has no such axis."""
    methods = _methods(space)
    usual = [m for m in methods if m in USUAL_METHODS] or methods
    later = [m for m in methods if m not in usual]
    rounds: list[Sequence[float | None]] = list(DENSITIES) if _axes(space, "density") else [(None,)]
    levels = [usual, later] if later else [usual]
    return [
        [
            (method, density)
            for i, some in enumerate(levels)
            if 0 <= n - i < len(rounds)
            for method in some
            for density in rounds[n - i]
        ]
        for n in range(len(levels) + len(rounds) - 1)
    ]


def _methods(space: Space) -> list[str | None]:
    axis = next((axis for axis in space.axes if axis.place == METHOD), None)
    return [str(choice) for choice in axis.choices] if axis else [None]


def _axes(space: Space, parameter: str) -> list[int]:
    return [i for i, axis in enumerate(space.axes) if axis.parameter == parameter]


def owners_of(space: Space) -> list[str]:
    """The models whose weights are searched, in the order of the file."""
    return list(dict.fromkeys(owner_of(space, space.axes[i]) for i in _axes(space, "weight")))


def owner_of(space: Space, axis: Axis) -> str:
    """The model that a hole belongs to; empty for one of the whole configuration."""
    owner, node = "", space.configuration.tree
    for key in axis.place:
        node = node[key]  # type: ignore[index]
        if isinstance(node, Mapping) and isinstance(node.get("model"), str):
            owner = str(node["model"])
    return owner

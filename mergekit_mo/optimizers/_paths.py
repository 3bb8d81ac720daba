"""Paths as searches make them: drawn, changed a little, crossed; and candidates that are new.

Rule: whatever leaves this module is a path that the rules allow; a change that they do not allow is
drawn anew, never mended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.random import Generator

from mergekit_mo.archive import Archive
from mergekit_mo.layers import Layers, Path, Step
from mergekit_mo.space import Candidate, Space

Unit = tuple[float, ...]
Point = tuple[Unit, Path | None]
"""What tells a candidate from another: its coordinates and its layers."""

_TRIES = 24  # of changes, until one is allowed and new
_MOST_DRAWS = 4096
_ENUMERATED = 20_000  # paths that are listed one by one where draws find nothing new
_MOST_BLOCK = 4  # layers that are taken out or repeated at once


def straight_paths(layers: Layers) -> tuple[Path, ...]:
    """Each member's own layers in order, the straight path first; those that are allowed."""
    own = [
        tuple((member, layer) for layer in range(depth))
        for member, depth in enumerate(layers.depths)
    ]
    return tuple(dict.fromkeys(p for p in (layers.straight, *own) if layers.allowed(p)))


def drawn_path(layers: Layers, rng: Generator) -> Path:
    """One of all paths, each as probable as any other.

    Raises:
        ValueError: there is none.
    """
    completions = _completions(layers)
    path: Path = ()
    while True:
        steps: list[Step | None] = list(layers.successors(path))
        ways = [completions[len(path)].get(step, 0) for step in steps if step]
        if layers.may_end(path):
            steps.append(None)
            ways.append(1)
        total = sum(ways)
        if not total:
            raise ValueError("the rules allow no path")
        # Deep pools have more paths than a float can tell apart, whose ratio it can.
        chosen = steps[int(rng.choice(len(steps), p=np.array([w / total for w in ways])))]
        if chosen is None:
            return path
        path = (*path, chosen)


@lru_cache(maxsize=16)
def _completions(layers: Layers) -> tuple[dict[Step, int], ...]:
    """For each length so far and each next step, in how many ways a path goes on to its end."""
    steps = [(m, layer) for m, depth in enumerate(layers.depths) for layer in range(depth)]
    later: dict[Step, int] = {}
    found: list[dict[Step, int]] = []
    for length in range(layers.high, 0, -1):
        now = {}
        for step in steps:
            path = ((0, -1),) * (length - 1) + (step,)  # only its end and its length matter
            ways = int(layers.may_end(path))
            if length < layers.high:
                ways += sum(later.get(s, 0) for s in layers.successors(path))
            if ways:
                now[step] = ways
        found.append(now)
        later = now
    return tuple(reversed([{}, *found]))


def every_path(layers: Layers) -> Iterator[Path]:
    """All paths, shorter beginnings first."""
    stack: list[Path] = [()]
    while stack:
        path = stack.pop()
        if layers.may_end(path):
            yield path
        stack.extend((*path, step) for step in reversed(layers.successors(path)))


def mutated(layers: Layers, path: Path, rng: Generator) -> Path:
    """A path with one change; one of all paths where no change is allowed.

    A layer or a block comes from another member, a border between members moves by a layer, a
    block is taken out, or is gone through twice.
    """
    changes = [_swap, _swap, _swap_block, _shift]
    changes += [_cut] * bool(layers.skip) + [_repeat] * bool(layers.repeat)
    for _ in range(_TRIES):
        change = changes[int(rng.integers(len(changes)))]
        found = change(layers, path, rng)
        if found is not None and found != path and layers.allowed(found):
            return found
    return drawn_path(layers, rng)


def crossed(layers: Layers, first: Path, second: Path, rng: Generator) -> Path:
    """The beginning of one path and the end of another; the first where no cut is allowed."""
    for _ in range(_TRIES):
        layer = int(rng.integers(1, max(2, *layers.depths)))
        found = (
            *(step for step in first if step[1] < layer),
            *(step for step in second if step[1] >= layer),
        )
        if layers.allowed(found):
            return found
    return first


def _swap(layers: Layers, path: Path, rng: Generator) -> Path | None:
    """One layer from another member."""
    at = int(rng.integers(len(path)))
    return _with_member(layers, path, at, at, rng)


def _swap_block(layers: Layers, path: Path, rng: Generator) -> Path | None:
    """Layers that follow each other from another member."""
    first, last = sorted(int(i) for i in rng.integers(len(path), size=2))
    return _with_member(layers, path, first, last, rng)


def _with_member(layers: Layers, path: Path, first: int, last: int, rng: Generator) -> Path | None:
    others = [m for m in range(len(layers.pool)) if any(s[0] != m for s in path[first : last + 1])]
    if not others:
        return None
    member = others[int(rng.integers(len(others)))]
    block = tuple((member, layer) for _, layer in path[first : last + 1])
    return (*path[:first], *block, *path[last + 1 :])


def _shift(layers: Layers, path: Path, rng: Generator) -> Path | None:  # noqa: ARG001
    """A border between members, one layer up or down."""
    borders = [i for i in range(1, len(path)) if path[i - 1][0] != path[i][0]]
    if not borders:
        return None
    at = borders[int(rng.integers(len(borders)))]
    moved, member = (at, path[at - 1][0]) if rng.random() < 0.5 else (at - 1, path[at][0])
    return (*path[:moved], (member, path[moved][1]), *path[moved + 1 :])


def _cut(layers: Layers, path: Path, rng: Generator) -> Path | None:
    """Without some layers that follow each other."""
    size = int(rng.integers(1, 1 + min(layers.skip, _MOST_BLOCK)))
    at = int(rng.integers(max(1, len(path) - size + 1)))
    return (*path[:at], *path[at + size :])


def _repeat(layers: Layers, path: Path, rng: Generator) -> Path | None:
    """With some layers that follow each other twice."""
    size = int(rng.integers(1, 1 + min(layers.repeat, _MOST_BLOCK)))
    at = int(rng.integers(max(1, len(path) - size + 1)))
    return (*path[: at + size], *path[at : at + size], *path[at + size :])


def perturbed(space: Space, unit: Sequence[float], rng: Generator, width: float) -> Unit:
    """A point near another one: one coordinate in `d` on average moves, one at least.

    Args:
        space: where it lies.
        unit: `d` coordinates.
        rng: draws the moves.
        width: their standard deviation; a choice is drawn anew.
    """
    if not space.dim:
        return ()
    moves = rng.random(space.dim) < 1 / space.dim
    moves[rng.integers(space.dim)] = True
    steps = rng.normal(scale=width, size=space.dim)
    anew = rng.random(space.dim)
    moved = [
        (float(a) if axis.choices else float(u + s)) if on else float(u)
        for axis, u, s, a, on in zip(space.axes, unit, steps, anew, moves, strict=True)
    ]
    return space.snap(moved)


def taken(layers: Layers | None, archive: Archive) -> set[Point]:
    """What has been proposed before, paths in their one form."""
    straight = layers.straight if layers else None
    return {(t.unit, t.path or straight) for t in archive.candidates if t.unit is not None}


def fresh(
    space: Space, known: Iterable[Point], count: int, rng: Generator, origin: str
) -> list[Candidate]:
    """Candidates drawn uniformly that are new; fewer only where no more are found.

    Args:
        space: where they come from.
        known: what is taken.
        count: how many are wanted.
        rng: draws them.
        origin: who proposes them.
    """
    gone = set(known)
    found: list[Candidate] = []

    def take(candidate: Candidate) -> None:
        point = (candidate.unit, candidate.path)
        if point not in gone and len(found) < count:
            gone.add(point)
            found.append(candidate)

    for _ in range(_MOST_DRAWS):
        if len(found) >= count:
            break
        path = drawn_path(space.layers, rng) if space.layers else None
        take(space.candidate(rng.random(space.dim).tolist(), origin, path))
        if not space.dim and space.layers and len(gone) >= space.layers.count:
            break
    if len(found) < count and space.layers and space.layers.count <= _ENUMERATED:
        unit = space.starts()[0].unit
        for path in every_path(space.layers):
            take(Candidate(unit, origin, path))
    return found

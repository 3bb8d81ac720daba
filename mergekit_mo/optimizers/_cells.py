"""The space that a front leaves to be won, as boxes, for three objectives.

Rule: boxes are disjoint and together all that no point of the front dominates above the reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Point = tuple[float, float, float]
Box = tuple[Point, Point]


@dataclass(frozen=True)
class _Column:
    """A strip of the plane of the first two objectives that is free above a height.

    Attributes:
        left: where it begins, on the first objective.
        right: where it ends.
        height: from where it is free, on the second objective.
        top: from where downwards it is so, on the third.
    """

    left: float
    right: float
    height: float
    top: float

    def box(self, right: float, bottom: float) -> Box:
        """What it sweeps from its top down, as far as `right`."""
        return (self.left, self.height, bottom), (right, math.inf, self.top)


def boxes(front: list[Point], reference: Point) -> Iterator[Box]:
    """Lower and upper corners, at most `2 n + 1` of them for `n` points, all maximised.

    A plane sweeps down the third objective. The points above it leave a staircase of columns free;
    each point that it meets ends those that it covers and begins one (after Kung et al. 1975).

    Args:
        front: points; what others dominate, or what does not exceed the reference, changes nothing.
        reference: the reference point.
    """
    columns = [_Column(reference[0], math.inf, reference[1], math.inf)]
    for x, y, z in sorted(front, key=lambda point: -point[2]):
        if x <= reference[0] or z <= reference[2]:
            continue
        # Heights fall from left to right, so what the point covers lies together.
        first = sum(column.height >= y for column in columns)
        last = max(first, sum(column.left < x for column in columns))
        if first == last:
            continue
        covered = columns[first:last]
        for column in covered:
            if column.top > z:
                yield column.box(min(column.right, x), z)
        beyond = [replace(c, left=x) for c in covered[-1:] if c.right > x]
        columns[first:last] = [_Column(covered[0].left, x, y, z), *beyond]
    for column in columns:
        if column.top > reference[2]:
            yield column.box(column.right, reference[2])


class Cells(torch.nn.Module):
    """The boxes of one front, as botorch's lists of decompositions want them.

    Args:
        ref_point: `3`, the reference point.
        Y: `n x 3` points.
    """

    def __init__(self, ref_point: Tensor, Y: Tensor) -> None:
        super().__init__()
        found = list(boxes([tuple(row) for row in Y.tolist()], tuple(ref_point.tolist())))
        self._bounds = torch.tensor(found, dtype=ref_point.dtype).transpose(0, 1)

    def get_hypercell_bounds(self) -> Tensor:
        """Lower, then upper corners, `2 x cells x 3`."""
        return self._bounds

import math

import numpy as np
import torch
from botorch.utils.multi_objective.box_decompositions.non_dominated import (
    FastNondominatedPartitioning,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_mo.optimizers._cells import Box, Cells, boxes
from mergekit_mo.pareto import hypervolume

TOP = 4.0
FRONTS = st.lists(st.tuples(*[st.integers(-1, 3).map(float)] * 3), max_size=9)
STEADY = settings(deadline=None, max_examples=100)


def volume(found: list[Box]) -> float:
    """Below a lid that no point reaches."""
    return sum(
        math.prod(min(high, TOP) - low for low, high in zip(*box, strict=True)) for box in found
    )


@given(FRONTS)
@STEADY
def test_what_the_front_dominates_and_the_boxes_are_everything(
    front: list[tuple[float, float, float]],
) -> None:
    found = list(boxes(front, (0.0, 0.0, 0.0)))
    dominated = hypervolume(np.array(front).reshape(-1, 3), np.zeros(3))
    assert volume(found) + dominated == TOP**3
    assert len(found) <= 2 * len(front) + 1


@given(FRONTS)
@STEADY
def test_a_place_is_in_one_box_if_nothing_dominates_it_and_else_in_none(
    front: list[tuple[float, float, float]],
) -> None:
    found = list(boxes(front, (0.0, 0.0, 0.0)))
    for place in np.random.default_rng(0).uniform(0, TOP, size=(50, 3)):
        inside = sum(bool(((low < place) & (place <= high)).all()) for low, high in found)
        free = not any((np.array(point) >= place).all() for point in front)
        assert inside == free


def test_botorch_finds_the_same_volume_free() -> None:
    Y = torch.rand(20, 3, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    reference = torch.full((3,), 0.1, dtype=torch.double)
    theirs = FastNondominatedPartitioning(ref_point=reference, Y=Y).get_hypercell_bounds()
    ours = Cells(reference, Y).get_hypercell_bounds()
    free = [(b[1].clamp_max(TOP) - b[0]).prod(dim=-1).sum() for b in (theirs, ours)]
    torch.testing.assert_close(free[0], free[1])

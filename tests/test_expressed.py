from __future__ import annotations

import numpy as np
import pytest
import torch

from mergekit_mo.expressed import expressed
from mergekit_mo.merging import Merger, as_it_is
from mergekit_mo.options import MergeFlags
from mergekit_mo.testing.planted import make_goals, plain_space, planted, ridge, small_space
from tests.conftest import Make

HOLES = "weight: {value: 0.5, low: 0, high: 1.2}, density: {value: 0.5, low: 0.1, high: 1}"
ADDED = """
merge_method: {method}
base_model: {base}
dtype: float32
models:
  - {{model: {one}, parameters: {{{holes}}}}}
  - {{model: {two}, parameters: {{{holes}}}}}
"""


def text(method: str = "ties", holes: str = HOLES, **names: str) -> str:
    return ADDED.format(
        method=method, holes=holes, **{"base": "a/b", "one": "a/1", "two": "a/2"} | names
    )


@pytest.mark.parametrize("method", ["ties", "dare_ties", "task_arithmetic", "dare_linear"])
def test_base_and_sources_are_points_of_a_space_that_reaches_them(method: str) -> None:
    holes = HOLES if method != "task_arithmetic" else HOLES.partition(", density")[0]
    space = small_space(text(method, holes))
    found = expressed(space)
    assert list(found) == ["a/b", "a/1", "a/2"]
    weights = [i for i, axis in enumerate(space.axes) if axis.parameter == "weight"]
    values = {model: [space.values(unit)[i] for i in weights] for model, unit in found.items()}
    assert values == {"a/b": [0, 0], "a/1": [1, 0], "a/2": [0, 1]}


@pytest.mark.parametrize(
    "holes",
    [
        "weight: {value: 0.5, low: 0.1, high: 1.2}, density: 1",
        "weight: {value: 0.5, low: 0, high: 0.9}, density: 1",
    ],
    ids=["never without the other", "never whole"],
)
def test_bounds_that_leave_a_source_out_leave_it_out(holes: str) -> None:
    assert not {"a/1", "a/2"} & expressed(small_space(text(holes=holes))).keys()


def test_a_density_that_always_trims_expresses_no_source() -> None:
    holes = "weight: {value: 0.5, low: 0, high: 1}, density: 0.7"
    assert list(expressed(small_space(text(holes=holes)))) == ["a/b"]


def test_a_method_of_which_nothing_is_known_expresses_nothing() -> None:
    assert (
        expressed(small_space(text("breadcrumbs", "weight: {value: 0.5, low: 0, high: 1}"))) == {}
    )


def test_both_ends_of_slerp_are_its_models() -> None:
    space = small_space(
        "merge_method: slerp\nbase_model: a/1\nmodels: [{model: a/1}, {model: a/2}]\n"
        "parameters: {t: {value: [0.5, 0.5], low: 0, high: 1}}\n"
    )
    assert expressed(space) == {"a/1": (0.0, 0.0), "a/2": (1.0, 1.0)}


def test_a_scaling_of_the_whole_merge_expresses_no_source() -> None:
    added = text() + "parameters: {lambda: 0.8}\n"
    assert expressed(small_space(added)) == {}


@pytest.mark.parametrize("method", ["ties", "dare_ties", "task_arithmetic"])
def test_the_merge_at_such_a_point_is_the_source(method: str, model: Make) -> None:
    names = {name: str(model(seed=i)) for i, name in enumerate(("base", "one", "two"))}
    holes = HOLES if method != "task_arithmetic" else HOLES.partition(", density")[0]
    space = small_space(text(method, holes, **names))
    merger = Merger(MergeFlags(num_threads=1), "cpu")
    for source, unit in expressed(space).items():
        wanted = {
            k: v.clone() for k, v in merger.merge(as_it_is(source)).model.state_dict().items()
        }
        found = merger.merge(space.config(unit)).model.state_dict()
        assert all(torch.allclose(found[k], v, atol=1e-6) for k, v in wanted.items())


def test_references_that_lie_in_the_space_are_data_and_others_are_not() -> None:
    space = plain_space(2)
    with planted(space, make_goals(2), ridge(2), 6) as archive:
        (parent, *_) = archive.references
        unit = (0.25, 0.75)
        data = archive.data(expressed={parent.origin: unit, "a/stranger": (0.0, 0.0)})
    assert tuple(data.X[0]) == unit
    assert data.numbers[0] == parent.number
    assert np.allclose(data.Y[0], [0.0, 0.0])
    assert len(data.X) == 7

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergekit_mo.optimizers._warp import Warp, warps


def scores() -> torch.Tensor:
    y = -torch.logspace(-2, 2, 30, dtype=torch.double)
    return (y - y.mean()) / y.std()


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=30, unique=True))
def test_what_is_warped_comes_back(values: list[float]) -> None:
    y = torch.tensor(values, dtype=torch.double)
    y = (y - y.mean()) / y.std()
    for warp in warps(y):
        assert torch.allclose(warp.back(warp.there(y)), y, atol=1e-6)
        assert (warp.there(y.sort().values).diff() >= 0).all()


def test_warped_scores_have_no_mean_and_a_spread_of_one() -> None:
    for warp in warps(scores())[1:]:
        outputs = warp.there(scores())
        assert float(outputs.mean()) == pytest.approx(0, abs=1e-9)
        assert float(outputs.std()) == pytest.approx(1)


def test_the_slope_is_the_derivative() -> None:
    warp = warps(scores())[-1]
    y = scores().requires_grad_()
    warp.there(y).sum().backward()  # type: ignore[no-untyped-call]
    assert y.grad is not None
    assert torch.allclose(warp.slope(scores()), y.grad)


def test_no_output_is_without_a_score() -> None:
    warp = Warp(10.0, 1.0)
    found = warp.back(torch.tensor([-1e9, 0.0, 1e9]).double())
    assert found.isfinite().all()
    assert (found.diff() >= 0).all()

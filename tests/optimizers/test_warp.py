from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergekit_mo.optimizers._acquisition import make_acquisition
from mergekit_mo.optimizers._surrogate import Learning, learn, private_randomness
from mergekit_mo.optimizers._warp import UNWARPED, Warp, warps
from mergekit_mo.scales import REFERENCE, Scale
from mergekit_mo.testing.planted import make_goals, plain_space, planted

STRENGTHS = (1.0, 10.0)


def scores() -> torch.Tensor:
    y = -torch.logspace(-2, 2, 30, dtype=torch.double)
    return (y - y.mean()) / y.std()


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=30, unique=True))
def test_what_is_warped_comes_back(values: list[float]) -> None:
    y = torch.tensor(values, dtype=torch.double)
    y = (y - y.mean()) / y.std()
    for warp in warps(y, STRENGTHS):
        assert torch.allclose(warp.back(warp.there(y)), y, atol=1e-6)
        assert (warp.there(y.sort().values).diff() >= 0).all()


def test_warped_scores_have_no_mean_and_a_spread_of_one() -> None:
    for warp in warps(scores(), STRENGTHS)[1:]:
        outputs = warp.there(scores())
        assert float(outputs.mean()) == pytest.approx(0, abs=1e-9)
        assert float(outputs.std()) == pytest.approx(1)


def test_the_slope_is_the_derivative() -> None:
    warp = warps(scores(), STRENGTHS)[-1]
    y = scores().requires_grad_()
    warp.there(y).sum().backward()  # type: ignore[no-untyped-call]
    assert y.grad is not None
    assert torch.allclose(warp.slope(scores()), y.grad)


def test_no_output_is_without_a_score() -> None:
    warp = Warp(10.0, 1.0)
    found = warp.back(torch.tensor([-1e9, 0.0, 1e9]).double())
    assert found.isfinite().all()
    assert (found.diff() >= 0).all()


def free(scales: Sequence[Scale]) -> list[Scale]:
    """Scales that say nothing of what a score is worth."""
    return [replace(scale, anchored=False) for scale in scales]


def learnt(function, warp: bool = True):  # type: ignore[no-untyped-def]
    with (
        planted(plain_space(2), make_goals(1), function, 24) as archive,
        private_randomness(0),
    ):
        found = learn(archive.data(), free(archive.scales), Learning(50, warp=warp))
    assert found is not None
    return found


def cliff(unit) -> list[float]:  # type: ignore[no-untyped-def]
    """Saturates at 1 and falls off steeply, as merges do."""
    far = sum((u - 0.4) ** 2 for u in unit)
    return [1 - float(torch.tensor(6 * far).expm1())]


def test_scores_that_fall_off_a_cliff_are_warped_and_even_ones_are_not() -> None:
    assert learnt(cliff).warps[0].strength > 0
    assert learnt(cliff, warp=False).warps == (UNWARPED,)
    assert learnt(lambda unit: [unit[0] - unit[1] ** 2]).warps == (UNWARPED,)


def test_scores_are_not_warped_while_most_trials_are_worth_nothing() -> None:
    with planted(plain_space(2), make_goals(1), cliff, 24) as archive, private_randomness(0):
        data = archive.data()
        for share, warped in ((0.5, False), (0.8, True)):
            worst = float(np.quantile(data.Y, 1 - share))
            anchored = [Scale(s.goal, worst, 1.0, anchored=True) for s in archive.scales]
            on_scale = replace(data, Y=data.Y - worst + REFERENCE)
            found = learn(on_scale, anchored, Learning(50, warp=True))
            assert found is not None
            assert bool(found.warps[0].strength) is warped


def test_a_warped_surrogate_predicts_in_the_scores_units() -> None:
    found = learnt(cliff)
    mean, _ = found.predict(found.X)
    good = found.Y[:, 0] > 0
    assert (found.scores(mean) - found.Y)[good].abs().max() < 0.2


def test_a_threshold_is_warped_with_the_scores() -> None:
    goals = make_goals(1, [0.5])
    with planted(plain_space(2), goals, cliff, 24) as archive, private_randomness(0):
        found = learn(archive.data(), free(archive.scales), Learning(50, warp=True))
    assert found is not None
    ((column, least),) = found.bounds
    back = found.warps[column].back(torch.tensor(least).double())
    assert float(back) * found.width[0] + found.centre[0] == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("m", [1, 2])
def test_an_acquisition_judges_scores_and_not_their_warped_outputs(m: int) -> None:
    def function(unit: Sequence[float]) -> list[float]:
        return [*cliff(unit), *cliff([1 - u for u in unit])][:m]

    goals = make_goals(m)
    with planted(plain_space(2), goals, function, 24) as archive, private_randomness(0):
        found = learn(archive.data(), free(archive.scales), Learning(50, warp=True))
        assert found is not None
        assert any(warp.strength for warp in found.warps)
        acquisition = make_acquisition(found, [], 16, 0)
    assert acquisition is not None
    outputs = torch.linspace(-2, 1, 5 * m, dtype=torch.double).view(5, m)
    judged = acquisition.objective(outputs)
    assert torch.allclose(judged.view(5, m), found.scores(outputs))
    assert not torch.allclose(judged.view(5, m), outputs)

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergekit_mo.optimizers._acquisition import make_acquisition
from mergekit_mo.optimizers._cliff import LEVEL, Cliff, cliffs
from mergekit_mo.optimizers._surrogate import Learning, learn, private_randomness
from mergekit_mo.testing.planted import make_goals, plain_space, planted


def standardised(values: Sequence[float]) -> torch.Tensor:
    y = torch.tensor(values, dtype=torch.double)
    return (y - y.mean()) / y.std()


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=30, unique=True), st.floats(-2, 2))
def test_what_is_warped_comes_back_in_the_same_order(values: list[float], edge: float) -> None:
    y = standardised(values)
    for cliff in cliffs(y, edge):
        assert torch.allclose(cliff.back(cliff.there(y)), y, atol=1e-6)
        assert (cliff.there(y.sort().values).diff() >= 0).all()


def test_outputs_have_no_mean_and_a_spread_of_one() -> None:
    y = standardised([-50.0, -9.0, -2.0, 0.0, 0.5, 1.0, 1.2])
    for cliff in cliffs(y, 0.3):
        assert float(cliff.there(y).mean()) == pytest.approx(0, abs=1e-9)
        assert float(cliff.there(y).std()) == pytest.approx(1)


def test_above_the_edge_nothing_is_bent_and_below_it_ever_more() -> None:
    cliff = Cliff(3.0, 0.5, 0.1, 2.0)
    y = torch.linspace(-3, 3, 61, dtype=torch.double)
    steps = cliff.there(y).diff()
    assert torch.allclose(steps[y[:-1] >= 0.5], torch.tensor(0.1 / 2.0).double())
    assert (steps[y[1:] <= 0.5].diff() > 0).all()


def test_the_slope_is_the_derivative() -> None:
    y = torch.linspace(-3, 3, 8, dtype=torch.double, requires_grad=True)
    cliff = Cliff(30.0, 0.5, 0.1, 2.0)
    cliff.there(y).sum().backward()  # type: ignore[no-untyped-call]
    assert y.grad is not None
    assert torch.allclose(cliff.slope(y), y.grad)


def test_no_output_is_without_a_score_and_hope_has_no_bound() -> None:
    found = Cliff(30.0, 1.0).back(torch.tensor([-1e9, 0.0, 1e9]).double())
    assert found.isfinite().all()
    assert (found.diff() >= 0).all()
    assert float(found[-1]) == 1e9


def test_a_front_that_takes_up_all_scores_is_left_as_it_is() -> None:
    def function(unit: Sequence[float]) -> list[float]:
        return [unit[0] - 1e-3 * unit[1], 1 - unit[0] - 1e-3 * unit[1]]

    with (
        planted(plain_space(2), make_goals(2), function, 24) as archive,
        private_randomness(0),
    ):
        found = learn(archive.data(), archive.scales, Learning(50, warp=True))
    assert found is not None
    assert found.warps == (LEVEL, LEVEL)


def learnt(function, warp: bool = True):  # type: ignore[no-untyped-def]
    with (
        planted(plain_space(2), make_goals(1), function, 24) as archive,
        private_randomness(0),
    ):
        found = learn(archive.data(), archive.scales, Learning(50, warp=warp))
    assert found is not None
    return found


def cliff(unit) -> list[float]:  # type: ignore[no-untyped-def]
    """Saturates at 1 and falls off steeply, as merges do."""
    far = sum((u - 0.4) ** 2 for u in unit)
    return [1 - float(torch.tensor(6 * far).expm1())]


def test_scores_that_fall_off_a_cliff_are_warped_and_even_ones_are_not() -> None:
    assert learnt(cliff).warps[0].strength > 0
    assert learnt(cliff, warp=False).warps == (LEVEL,)
    assert learnt(lambda unit: [unit[0] - unit[1] ** 2]).warps == (LEVEL,)


def test_a_warped_surrogate_predicts_in_the_scores_units() -> None:
    found = learnt(cliff)
    mean, _ = found.predict(found.X)
    good = found.Y[:, 0] > 0
    assert (found.scores(mean) - found.Y)[good].abs().max() < 0.2


def test_a_threshold_is_warped_with_the_scores() -> None:
    goals = make_goals(1, [0.5])
    with planted(plain_space(2), goals, cliff, 24) as archive, private_randomness(0):
        found = learn(archive.data(), archive.scales, Learning(50, warp=True))
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
        found = learn(archive.data(), archive.scales, Learning(50, warp=True))
        assert found is not None
        assert any(warp.strength for warp in found.warps)
        acquisition = make_acquisition(found, [], 16, 0)
    assert acquisition is not None
    outputs = torch.linspace(-2, 1, 5 * m, dtype=torch.double).view(5, m)
    judged = acquisition.objective(outputs)
    assert torch.allclose(judged.view(5, m), found.scores(outputs))
    assert not torch.allclose(judged.view(5, m), outputs)

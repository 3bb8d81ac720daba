import math

import pytest
import torch

from mergekit_mo.optimizers import _ppo
from mergekit_mo.optimizers._ppo import Learning


def test_advantages_are_those_of_a_case_worked_by_hand() -> None:
    """gamma .5, lambda .5: delta = r + .5 v' - v, A_t = delta_t + .25 A_(t+1)."""
    rewards = torch.tensor([[1.0, 0.0, 2.0]])
    values = torch.tensor([[0.5, 1.0, 0.0]])
    alive = torch.ones(1, 3, dtype=torch.bool)
    found = _ppo.advantages(rewards, values, alive, 0.5, 0.5)
    # delta: 1 + .5 - .5 = 1; 0 + 0 - 1 = -1; 2 - 0 = 2. A: 2; -1 + .5 = -.5; 1 - .125 = .875
    assert found.tolist() == [[0.875, -0.5, 2.0]]


def test_what_lies_behind_an_episodes_end_counts_for_nothing() -> None:
    rewards = torch.tensor([[0.0, 1.0, 99.0]])
    values = torch.tensor([[0.25, 0.5, 77.0]])
    alive = torch.tensor([[True, True, False]])
    found = _ppo.advantages(rewards, values, alive, 1.0, 1.0)
    # With both factors 1 an advantage is the return less the value.
    assert found.tolist() == [[0.75, 0.5, 0.0]]


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope"),
    [
        (1.0, 2.0, 2.0),
        (1.1, 2.0, 2.0 * 1.1),
        (1.3, 2.0, 0.0),  # beyond the clip, and better: no reason to go on
        (0.7, 2.0, 2.0 * 0.7),  # beyond it on the worse side: the way back is open
        (0.7, -2.0, 0.0),
        (1.3, -2.0, -2.0 * 1.3),
    ],
)
def test_the_clipped_objectives_gradient_is_that_of_the_ratio_or_nothing(
    ratio: float, advantage: float, slope: float
) -> None:
    """By the log-probability: d ratio / d log p = ratio."""
    now = torch.tensor(math.log(ratio), requires_grad=True)
    _ppo.clipped(now.exp(), torch.tensor(advantage), 0.2).backward()  # type: ignore[no-untyped-call]
    assert float(now.grad) == pytest.approx(slope)  # type: ignore[arg-type]


def test_the_loss_is_its_parts_weighted_and_averaged_over_steps_taken() -> None:
    alive = torch.tensor([[True, True, False]])
    zeros = torch.zeros(1, 3)
    found = _ppo.loss(
        zeros,
        torch.tensor([[0.1, 0.0, 5.0]]),
        torch.tensor([[1.0, -1.0, 9.0]]),
        torch.tensor([[1.0, 2.0, 9.0]]),
        torch.tensor([[0.0, 2.0, 0.0]]),
        torch.tensor([[0.5, 0.5, 9.0]]),
        alive,
        Learning(value=0.5, entropy=0.1),
    )
    expected = (0.5 * 1 - math.exp(0.1) - 0.05 + 0 + 1 - 0.05) / 2
    assert float(found) == pytest.approx(expected)


def test_a_badly_judged_step_moves_the_value_towards_its_return() -> None:
    values = torch.tensor([[3.0]], requires_grad=True)
    zero, alive = torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)
    loss = _ppo.loss(zero, zero, zero, values, torch.tensor([[1.0]]), zero, alive, Learning())
    loss.backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert float(values.grad) == pytest.approx(0.5 * 2 * (3 - 1))

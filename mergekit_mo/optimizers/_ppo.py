"""Proximal policy optimisation (Schulman et al. 2017), its parts each by itself.

Rule: nothing here knows what a state or an action is; everything is `b x t`, episodes by steps, and
what lies behind an episode's end is marked and counts for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Learning:
    """How a policy learns.

    Attributes:
        clip: how far a probability ratio may move before it stops to count.
        discount: of later rewards, gamma.
        trace: the factor of generalised advantage estimation, lambda.
        value: the weight of the value loss.
        entropy: the weight of the entropy bonus, beside advantages of standard deviation 1.
        rate: Adam's step.
        epochs: how often each batch of episodes is gone through.
        norm: of the gradient, at most.
    """

    clip: float = 0.2
    discount: float = 1.0
    trace: float = 0.95
    value: float = 0.5
    entropy: float = 0.2
    rate: float = 5e-3
    epochs: int = 2
    norm: float = 1.0


def advantages(
    rewards: Tensor, values: Tensor, alive: Tensor, discount: float, trace: float
) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, equation 16).

    Args:
        rewards: `b x t`, after each step.
        values: `b x t`, of the state before each step; the state after the last is worth nothing.
        alive: `b x t` marks of steps that were taken.
        discount: gamma.
        trace: lambda.

    Returns:
        `b x t`, 0 where no step was taken.
    """
    found = torch.zeros_like(rewards)
    ahead = torch.zeros_like(rewards[:, 0])  # b
    later = torch.zeros_like(ahead)
    for t in range(rewards.shape[1] - 1, -1, -1):
        surprise = rewards[:, t] + discount * later - values[:, t]
        ahead = torch.where(alive[:, t], surprise + discount * trace * ahead, 0.0)
        later = torch.where(alive[:, t], values[:, t], 0.0)
        found[:, t] = ahead
    return found


def clipped(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """The clipped objective of each step, to be maximised (PPO, equation 7)."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def loss(
    before: Tensor,
    now: Tensor,
    advantage: Tensor,
    values: Tensor,
    returns: Tensor,
    entropy: Tensor,
    alive: Tensor,
    learning: Learning,
) -> Tensor:
    """What is minimised: value error less the clipped objective less the entropy bonus.

    Args:
        before: `b x t` log-probabilities of the actions when they were taken.
        now: the same under the policy that learns.
        advantage: `b x t`.
        values: `b x t` estimates that learn.
        returns: `b x t` targets of theirs.
        entropy: `b x t`, of the policy that learns.
        alive: `b x t` marks of steps that were taken.
        learning: the weights.
    """
    gain = clipped((now - before).exp(), advantage, learning.clip)
    missed = (values - returns) ** 2
    each = learning.value * missed - gain - learning.entropy * entropy
    return torch.where(alive, each, 0.0).sum() / alive.sum().clamp(min=1)

"""Warps of an objective: low scores are compressed, so that a ruined merge does not drown the good.

Rule: a warp is monotone and has an inverse everywhere; what it maps to has the mean and the spread
of standardised scores again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_LIFT = 0.2  # standard deviations between the best score and the top
_DEEPEST = 40.0  # the exponent beyond which a score is as bad as any


@dataclass(frozen=True)
class Warp:
    """`(-log(1 + strength (top - y)) - centre) / width`; with strength 0, `y` as it is.

    A merge's quality falls off a cliff at one side and saturates at the other: measured as the
    logarithm of what is missing to the best, it is nearly stationary.

    Attributes:
        strength: of the compression.
        top: a score just above the best.
        centre: mean of the logarithms.
        width: their standard deviation.
    """

    strength: float = 0.0
    top: float = 0.0
    centre: float = 0.0
    width: float = 1.0

    def there(self, y: Tensor) -> Tensor:
        """Warped scores; what lies above the inverse's limit counts as that."""
        if not self.strength:
            return y
        missing = (1 + self.strength * (self.top - y)).clamp(min=1e-9)
        return (-missing.log() - self.centre) / self.width

    def back(self, output: Tensor) -> Tensor:
        """Scores from warped ones."""
        if not self.strength:
            return output
        exponent = -(output * self.width + self.centre)
        return self.top - torch.expm1(exponent.clamp(max=_DEEPEST)) / self.strength

    def slope(self, y: Tensor) -> Tensor:
        """The derivative of `there`."""
        if not self.strength:
            return torch.ones_like(y)
        return self.strength / (1 + self.strength * (self.top - y)) / self.width


UNWARPED = Warp()


def warps(y: Tensor, strengths: Sequence[float]) -> list[Warp]:
    """The warps to choose from, the identity first.

    Args:
        y: `n` standardised scores.
        strengths: of the others: beyond some `1 / strength` below the best, scores are compressed
            by logarithm.
    """
    top = float(y.max()) + _LIFT
    found = [UNWARPED]
    for strength in strengths:
        bare = Warp(strength, top)
        outputs = bare.there(y)
        width = float(outputs.std())
        if width > 0:
            found.append(Warp(strength, top, float(outputs.mean()), width))
    return found

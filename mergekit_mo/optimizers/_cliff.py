"""A warp of scores at a cliff: what is worse than all of the front is compressed.

Rule: above the edge nothing is bent, so that what may be hoped for has no bound, and a front whose
trade-off takes up all of the scores is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_STRENGTHS = (3.0, 30.0)  # per standard deviation
_DEEPEST = 40.0  # the exponent beyond which a score is as bad as any


@dataclass(frozen=True)
class Cliff:
    """`y` above the edge, `edge - log(1 + strength (edge - y)) / strength` below it; standardised.

    How bad a ruined merge is says little of good ones, but a Gaussian process has one lengthscale
    for both.

    Attributes:
        strength: of the compression; with 0, `y` is left as it is.
        edge: the score below which it is compressed.
        centre: mean of the outputs before they are standardised.
        width: their standard deviation.
    """

    strength: float = 0.0
    edge: float = 0.0
    centre: float = 0.0
    width: float = 1.0

    def there(self, y: Tensor) -> Tensor:
        """Outputs from scores."""
        if not self.strength:
            return y
        deep = (self.edge - y).clamp(min=0.0)
        outputs = y.clamp(min=self.edge) - torch.log1p(self.strength * deep) / self.strength
        return (outputs - self.centre) / self.width

    def back(self, outputs: Tensor) -> Tensor:
        """Scores from outputs."""
        if not self.strength:
            return outputs
        y = outputs * self.width + self.centre
        exponent = (self.strength * (self.edge - y)).clamp(0.0, _DEEPEST)
        return y.clamp(min=self.edge) - torch.expm1(exponent) / self.strength

    def slope(self, y: Tensor) -> Tensor:
        """The derivative of `there`."""
        if not self.strength:
            return torch.ones_like(y)
        return 1 / (1 + self.strength * (self.edge - y).clamp(min=0.0)) / self.width


LEVEL = Cliff()


def cliffs(y: Tensor, edge: float) -> list[Cliff]:
    """The cliffs to choose from, none at all first, then steeper and steeper ones.

    Args:
        y: `n` standardised scores.
        edge: the worst of the front's.
    """
    found = [LEVEL]
    for strength in _STRENGTHS:
        outputs = Cliff(strength, edge).there(y)
        width = float(outputs.std())
        if width > 0:
            found.append(Cliff(strength, edge, float(outputs.mean()), width))
    return found

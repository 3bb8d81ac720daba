"""Where to search a number that somebody wrote down without saying where.

Rule: default bounds lie within the legal ranges of `methods` and always hold the number itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mergekit_mo.holes import number
from mergekit_mo.methods import Method


@dataclass(frozen=True)
class Bounds:
    """From `low` to `high`, on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False

    def items(self) -> tuple[tuple[str, str], ...]:
        """The keys of a hole, as YAML writes them."""
        ends = (("low", f"{self.low:.6g}"), ("high", f"{self.high:.6g}"))
        return (*ends, ("log", "true")) if self.log else ends


_DEFAULTS: dict[str, Bounds] = {
    "weight": Bounds(0, 1),
    "density": Bounds(0.1, 1),
    "t": Bounds(0, 1),
    "lambda": Bounds(0.5, 1.5),
    "gamma": Bounds(0, 0.1),
    "epsilon": Bounds(0.01, 0.15),
    "select_topk": Bounds(0.1, 1),
    "scale": Bounds(0, 1.5),
    "r": Bounds(0, 0.5),
    "alpha": Bounds(0, 0.5),
}
_OWN: dict[tuple[str, str], Bounds | None] = {
    ("nearswap", "t"): Bounds(1e-5, 0.1, log=True),
    ("ram", "epsilon"): None,  # a tolerance, which is not worth a search
    ("ramplus_tl", "epsilon"): None,
}
_MARGIN = 0.001  # between density ± epsilon and the ends of (0, 1)
_DELLA_EPSILON = 0.15  # DELLA's own


def default_bounds(method: Method, name: str, values: Sequence[float]) -> Bounds | None:
    """Bounds for a parameter whose values are known.

    Args:
        method: the merge method.
        name: the parameter.
        values: what is written: one number, or the anchors of a gradient.

    Returns:
        Bounds that hold every value, or None for what is not worth a search or is not legal.
    """
    parameter = method.parameters.get(name)
    bounds = _OWN.get((method.name, name), _DEFAULTS.get(name))
    if bounds is None or parameter is None or parameter.kind is not float:
        return None
    span = parameter.range
    if not all(math.isfinite(v) and span.holds(v) for v in values):
        return None
    low, high = bounds.low, bounds.high
    if min(values) < low:
        wider = math.floor(2 * min(values)) / 2
        low = wider if wider > span.low and not bounds.log else min(values)
    if max(values) > high:
        wider = math.ceil(2 * max(values)) / 2
        high = wider if span.holds(wider) else max(values)
    return Bounds(low, high, bounds.log)


@dataclass(frozen=True)
class DellaBounds:
    """DELLA's bounds: density - epsilon stays above 0 and density + epsilon below 1."""

    epsilon: float
    """The most that epsilon may become."""

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> DellaBounds:
        """The bounds that suit all densities and epsilons of a configuration."""
        densities = [d for d in _numbers(tree, "density") if 0 < d < 1]
        own = max(_numbers(tree, "epsilon"), default=None)
        if own is None:
            return cls(_DELLA_EPSILON)
        room = min((min(d, 1 - d) for d in densities), default=0.5) - _MARGIN
        return cls(max(own, min(_DELLA_EPSILON, math.floor(room * 1000 + 1e-6) / 1000)))

    def narrowed(self, name: str, values: Sequence[float], bounds: Bounds) -> Bounds | None:
        """The bounds of a density or an epsilon; None where there is no room for a search."""
        low, high = bounds.low, bounds.high
        if name == "epsilon":
            high = self.epsilon
        elif name == "density":
            low, high = max(low, self.epsilon + _MARGIN), min(high, 1 - self.epsilon - _MARGIN)
        fits = low < high and all(low <= value <= high for value in values)
        return Bounds(low, high) if fits else None


def anchors(value: Any) -> list[float] | None:
    """The numbers of a scalar or a gradient; None where it is neither."""
    values = value if isinstance(value, list) else [value]
    found = [n for v in values if (n := number(v)) is not None]
    return found if found and len(found) == len(values) else None


def _numbers(node: Any, name: str) -> list[float]:
    """Every number that a parameter is given anywhere below a node."""
    if isinstance(node, list):
        return [n for child in node for n in _numbers(child, name)]
    if not isinstance(node, Mapping):
        return []
    found = []
    for key, child in node.items():
        if key == name:
            settings = child if isinstance(child, list) else [child]
            for entry in settings:
                inner = entry.get("value") if isinstance(entry, Mapping) else entry
                found += anchors(inner) or []
        else:
            found += _numbers(child, name)
    return found

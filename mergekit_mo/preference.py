"""What a user wants of a search: goals weighted, or bounds that a trade-off has to keep.

Rule: a preference only says where the budget is spent; every trial still counts, and the front is
the front.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mergekit_mo.holes import number
from mergekit_mo.problems import Place, Problem, near, shown

_KEYS = ("weights", "at_least")
_HINT = "preference: {weights: {my_task: 0.7, other: 0.3}}, or {at_least: {my_task: 0.4}}"


@dataclass(frozen=True)
class Preference:
    """Where a search should spend its budget.

    Attributes:
        weights: what goals are worth, by name, not negative, of any positive sum; a goal without
            one is worth nothing. Empty for no weights.
        at_least: bounds by goal, in its own units: a least where more is better, else a most.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)

    def facts(self) -> dict[str, dict[str, float]]:
        """As plain JSON."""
        return {"weights": dict(self.weights), "at_least": dict(self.at_least)}

    def unknown(self, goals: Sequence[str]) -> list[Problem]:
        """Goals that it names and the recipe does not have."""
        return [
            Problem(("search", "preference", key, name), f"no goal is called {name!r}", hint)
            for key, block in zip(_KEYS, (self.weights, self.at_least), strict=True)
            for name in block
            if name not in goals and (hint := near(name, goals, what="the goals are"))
        ]


def read_preference(node: Any, place: Place) -> tuple[Preference | None, list[Problem]]:
    """A recipe's `preference:`, or None where it has none, with what is wrong with it."""
    if node is None:
        return None, []
    if not isinstance(node, Mapping) or not node:
        return None, [Problem(place, f"expected a mapping, got {shown(node)}", _HINT)]
    problems = [
        Problem((*place, key), f"preference has no key {key!r}", near(str(key), _KEYS))
        for key in node
        if key not in _KEYS
    ]
    weights, found = _numbers(node.get("weights"), (*place, "weights"))
    bounds, more = _numbers(node.get("at_least"), (*place, "at_least"))
    problems += [*found, *more]
    for name, weight in weights.items():
        if weight < 0:
            what = f"a weight is 0 or more, got {weight:g}: more is better on every scale already"
            problems.append(Problem((*place, "weights", name), what))
    if "weights" in node and not found and not sum(weights.values()) > 0:
        problems.append(Problem((*place, "weights"), "one weight at least must be above 0", _HINT))
    return Preference(weights, bounds), problems


def _numbers(node: Any, place: Place) -> tuple[dict[str, float], list[Problem]]:
    """Finite numbers by goal."""
    if node is None:
        return {}, []
    if not isinstance(node, Mapping):
        return {}, [Problem(place, f"expected numbers by goal, got {shown(node)}", _HINT)]
    values, problems = {}, []
    for name, value in node.items():
        amount = number(value)
        if amount is None or not math.isfinite(amount):
            problems.append(Problem((*place, name), f"expected a number, got {shown(value)}"))
        else:
            values[str(name)] = amount
    return values, problems

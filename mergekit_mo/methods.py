"""What mergekit's merge methods take: parameters, their types and scopes, and their legal ranges.

Rule: which parameters exist is asked of mergekit; what values make sense is in `RANGES`, because
mergekit's own specifications carry no ranges and accept, say, a density of 7 without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from mergekit_mo.problems import near


@dataclass(frozen=True)
class Range:
    """Legal values of a parameter: from `low` to `high`, the ends included where not `open`."""

    low: float = float("-inf")
    high: float = float("inf")
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value is legal."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        if self.low > float("-inf") and self.high < float("inf") and not self.open_high:
            return f"{'above' if self.open_low else 'from'} {self.low:g} to {self.high:g}"
        over = f"above {self.low:g}" if self.open_low else f"{self.low:g} or more"
        under = f"below {self.high:g}" if self.open_high else f"{self.high:g} or less"
        ends = [over] * (self.low > float("-inf")) + [under] * (self.high < float("inf"))
        return " and ".join(ends) or "any number"


ANY = Range()
RANGES: dict[str, Range] = {
    "density": Range(0, 1),
    "gamma": Range(0, 1, open_high=True),
    "select_topk": Range(0, 1, open_low=True),
    "max_iter": Range(low=1),
    "tol": Range(low=0, open_low=True),
    "eps": Range(low=0, open_low=True),
    "r": Range(0, 1),
}
_OWN_RANGES: dict[tuple[str, str], Range] = {
    ("della", "epsilon"): Range(0, 0.5, open_high=True),
    ("della_linear", "epsilon"): Range(0, 0.5, open_high=True),
    ("ram", "epsilon"): Range(low=0, open_low=True),
    ("ramplus_tl", "epsilon"): Range(low=0, open_low=True),
    ("nearswap", "t"): Range(low=0, open_low=True),
}

RANDOM_METHODS = frozenset({"dare_linear", "dare_ties", "della", "della_linear", "arcee_fusion"})
"""Methods whose result depends on the random seed."""

BASE_AMONG_MODELS = frozenset({"linear", "karcher", "passthrough"})
"""Methods that ignore `base_model`, but for which mergekit adds it to the models when it is not."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a merge method.

    Attributes:
        name: its key in the configuration.
        kind: `float`, `int` or `bool`.
        per_model: whether each model has its own value.
        for_base: whether the base model needs one too.
        required: whether it has no default.
        range: its legal values.
    """

    name: str
    kind: type
    per_model: bool
    for_base: bool
    required: bool
    range: Range


@dataclass(frozen=True)
class Method:
    """A merge method as a recipe needs to know it."""

    name: str
    parameters: dict[str, Parameter]
    needs_base: bool
    ignores_base: bool

    @property
    def is_random(self) -> bool:
        """Whether the merge depends on the random seed."""
        return self.name in RANDOM_METHODS

    def inputs_problem(self, models: Sequence[str], base: str | None) -> str:
        """What is wrong with a set of models for this method, in mergekit's own words."""
        from mergekit.merge_methods import get

        try:
            get(self.name).validate_inputs(list(models), base)
        except ValueError as error:
            return str(error).replace("Merge method", self.name).replace("inputs", "models")
        return ""


@cache
def methods() -> dict[str, Method]:
    """Every merge method that mergekit has registered, by name (imports mergekit: seconds)."""
    from mergekit.merge_methods import registered_methods

    return {m.spec.name: _describe(m.spec) for m in registered_methods()}


def unknown_method(name: object) -> str:
    """A hint for a name that is no merge method."""
    return near(name, methods(), what="mergekit has")


def _describe(spec: object) -> Method:
    from mergekit.merge_methods.base import BasePolicy, MergeMethodSpec, ParameterScope

    assert isinstance(spec, MergeMethodSpec)
    kinds = {bool: bool, int: int, float: float}
    parameters = {
        p.name: Parameter(
            name=p.name,
            kind=kinds.get(p.value_type, float),  # passthrough's `scale` is an optional float
            per_model=p.scope != ParameterScope.SHARED,
            for_base=p.scope == ParameterScope.INPUT,
            required=p.required,
            range=_OWN_RANGES.get((spec.name, p.name)) or RANGES.get(p.name, ANY),
        )
        for p in spec.parameters
    }
    policy = spec.contract.base
    return Method(
        spec.name, parameters, policy == BasePolicy.REQUIRED, policy == BasePolicy.IGNORED
    )

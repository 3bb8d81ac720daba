"""A hole: a place in a mergekit YAML where a number is marked as searchable.

Rule: a hole is a mapping with `value:` (the user's guess) and either `low:` and `high:` or
`choices:`; mergekit itself reads the `value:` alone, so a recipe merges as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mergekit_mo.problems import Place, Problem, near

Scalar = bool | int | float | str

_HOLE_KEYS = frozenset({"low", "high", "log", "choices"})
_KEYS = _HOLE_KEYS | {"value", "filter"}


@dataclass(frozen=True)
class Hole:
    """A searchable setting.

    Attributes:
        place: where its mapping stands in the recipe.
        parameter: the merge parameter that it sets.
        values: the user's guess, one entry for each anchor of a gradient, else one in all.
        gradient: whether `value:` is a list, interpolated over depth by mergekit.
        low: lower bound; None where `choices` are given.
        high: upper bound.
        log: whether the logarithm is searched.
        choices: the values to choose from; empty where bounds are given.
        filter: mergekit's tensor-name filter, if any.
    """

    place: Place
    parameter: str
    values: tuple[Scalar, ...]
    gradient: bool
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Scalar, ...] = ()
    filter: str | None = None


@dataclass(frozen=True)
class Setting:
    """A parameter's setting in a configuration: its fixed numbers and its holes, with places."""

    fixed: tuple[tuple[Place, Any], ...]
    holes: tuple[Hole, ...]
    covers_all: bool
    """Whether some entry has no filter, so that every tensor gets a value."""


def is_hole(node: object) -> bool:
    """Whether a mapping marks a searchable number."""
    return isinstance(node, Mapping) and bool(_HOLE_KEYS & node.keys())


def number(value: object) -> float | None:
    """A number as users write it, or None: `1e-4`, which PyYAML reads as a text, is one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | str):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return None
    return None


def read_setting(parameter: str, node: Any, place: Place) -> tuple[Setting, list[Problem]]:
    """Reads what stands behind a parameter's name: a scalar, gradient, mapping or list of these."""
    problems: list[Problem] = []
    fixed: list[tuple[Place, Any]] = []
    holes: list[Hole] = []
    entries: list[tuple[Place, Any]] = [(place, node)]
    conditional = isinstance(node, list) and any(isinstance(e, Mapping | list) for e in node)
    if conditional:
        entries = [((*place, i), entry) for i, entry in enumerate(node)]
    unfiltered: Place | None = None
    for at, entry in entries:
        if unfiltered is not None:
            what = "cannot be reached: an earlier entry without a filter matches every tensor"
            problems.append(Problem(at, what, "put the entry without a filter last"))
            break
        if conditional and not isinstance(entry, Mapping):
            what = "a list holds either plain numbers or mappings with value:, not both"
            hint = "a searchable gradient is {value: [0.2, 0.8], low: 0, high: 1}"
            problems.append(Problem(at, what, hint))
            break
        _read_entry(parameter, entry, at, fixed, holes, problems)
        has_filter = isinstance(entry, Mapping) and entry.get("filter") not in (None, "*")
        unfiltered = None if has_filter else at
    return Setting(tuple(fixed), tuple(holes), unfiltered is not None), problems


def _read_entry(
    parameter: str,
    entry: Any,
    at: Place,
    fixed: list[tuple[Place, Any]],
    holes: list[Hole],
    problems: list[Problem],
) -> None:
    if not isinstance(entry, Mapping):
        values = entry if isinstance(entry, list) else [entry]
        if not values:
            problems.append(Problem(at, "an empty list of anchors"))
        fixed += [((*at, i) if isinstance(entry, list) else at, v) for i, v in enumerate(values)]
        return
    unknown = sorted(entry.keys() - _KEYS, key=str)
    if unknown:
        where = [((*at, key), f"no key {key!r} beside value:", near(key, _KEYS)) for key in unknown]
        problems += [Problem(*parts) for parts in where]
        return
    if "value" not in entry:
        problems.append(Problem(at, "needs a value: to start from, and for mergekit to read"))
        return
    if not is_hole(entry):
        _read_entry(parameter, entry["value"], (*at, "value"), fixed, holes, problems)
        return
    hole, found = _read_hole(parameter, entry, at)
    problems += found
    if hole:
        holes.append(hole)


def _read_hole(
    parameter: str, entry: Mapping[str, Any], at: Place
) -> tuple[Hole | None, list[Problem]]:
    gradient = isinstance(entry["value"], list)
    values = tuple(entry["value"]) if gradient else (entry["value"],)
    if not values:
        return None, [Problem((*at, "value"), "an empty list of anchors")]
    if any(isinstance(v, Mapping | list) or v is None for v in values):
        what = "anchors are plain numbers; low: and high: stand beside value:"
        return None, [Problem((*at, "value"), what, "{value: [0.2, 0.8], low: 0, high: 1}")]
    if "choices" in entry:
        return _read_choices(parameter, entry, at, values, gradient)
    problems = []
    bounds: dict[str, float] = {}
    for key in ("low", "high"):
        bound = number(entry.get(key))
        if key not in entry:
            problems.append(
                Problem(at, f"has no {key}:", "a hole is {value: 0.5, low: 0, high: 1}")
            )
        elif bound is None or not math.isfinite(bound):
            problems.append(Problem((*at, key), f"expected a number, got {entry[key]!r}"))
        else:
            bounds[key] = bound
    numbers = [number(v) for v in values]
    problems += [
        Problem((*at, "value"), f"expected a number, got {v!r}")
        for v, n in zip(values, numbers, strict=True)
        if n is None or not math.isfinite(n)
    ]
    log = entry.get("log", False)
    if not isinstance(log, bool):
        problems.append(Problem((*at, "log"), f"expected true or false, got {log!r}"))
    if problems:
        return None, problems
    low, high = bounds["low"], bounds["high"]
    if low >= high:
        problems.append(Problem((*at, "low"), f"low {low:g} is not below high {high:g}"))
    elif log and low <= 0:
        problems.append(Problem((*at, "low"), f"log: true needs a low above 0, got {low:g}"))
    floats = tuple(float(n) for n in numbers if n is not None)
    problems += [
        Problem((*at, "value"), f"value {n:g} is not between low {low:g} and high {high:g}")
        for n in floats
        if low < high and not low <= n <= high
    ]
    if problems:
        return None, problems
    text = entry.get("filter")
    return Hole(at, parameter, floats, gradient, low, high, log, filter=text), []


def _read_choices(
    parameter: str,
    entry: Mapping[str, Any],
    at: Place,
    values: tuple[Scalar, ...],
    gradient: bool,
) -> tuple[Hole | None, list[Problem]]:
    choices = entry["choices"]
    problems = [
        Problem((*at, key), f"{key}: has no meaning beside choices:")
        for key in ("low", "high", "log")
        if key in entry
    ]
    if not isinstance(choices, list) or len(choices) < 2:
        problems.append(Problem((*at, "choices"), "expected a list of two values or more"))
    elif any(isinstance(c, Mapping | list) or c is None for c in choices):
        problems.append(Problem((*at, "choices"), "choices are plain values"))
    else:
        marks = {_typed(c) for c in choices}
        if len(marks) < len(choices):
            problems.append(Problem((*at, "choices"), "a choice stands twice"))
        problems += [
            Problem((*at, "value"), f"value {v!r} is not among the choices {choices}")
            for v in values
            if _typed(v) not in marks
        ]
    if problems:
        return None, problems
    text = entry.get("filter")
    return Hole(at, parameter, values, gradient, choices=tuple(choices), filter=text), []


def _typed(value: Scalar) -> tuple[bool, Scalar]:
    """Keeps `true` and `1` apart, which Python holds equal."""
    return isinstance(value, bool), value

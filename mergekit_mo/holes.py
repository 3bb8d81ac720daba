"""A hole: a place in a mergekit YAML where a number is marked as searchable.

Rule: a hole is a mapping with `value:` (the user's guess) and either `low:` and `high:` or
`choices:`; mergekit itself reads the `value:` alone, so a recipe merges as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mergekit_mo.problems import Place, Problem, near, shown

Scalar = bool | int | float | str

_HOLE_KEYS = frozenset({"low", "high", "log", "choices"})
_KEYS = _HOLE_KEYS | {"value", "filter"}
_FORM = "{value: 0.5, low: 0, high: 1}"
_GRADIENT = "{value: [0.2, 0.8], low: 0, high: 1}"


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
    if isinstance(node, list) and any(isinstance(entry, Mapping) for entry in node):
        entries = [((*place, i), entry) for i, entry in enumerate(node)]
        plain = [at for at, entry in entries if not isinstance(entry, Mapping)]
        if plain:
            odd = (
                plain[0]
                if isinstance(node[0], Mapping)
                else next(at for at, _ in entries if at not in plain)
            )
            what = "a list holds either plain numbers or mappings with value:, not both"
            problems.append(Problem(odd, what, f"a searchable gradient is {_GRADIENT}"))
            return Setting((), (), True), problems
    earlier: list[str] = []
    for at, entry in entries:
        pattern = _pattern(entry)
        by = next((e for e in earlier if e in pattern), None)
        earlier.append(pattern)
        if by is None:
            some_fixed, some_holes, found = _read_entry(parameter, entry, at)
            fixed += some_fixed
            holes += some_holes
            problems += found
        elif by:
            what = f"cannot be reached: the earlier filter {by!r} matches all that this one does"
            problems.append(Problem(at, what, "put the narrower filter first"))
        else:
            what = "cannot be reached: an earlier entry without a filter matches every tensor"
            problems.append(Problem(at, what, "put the entry without a filter last"))
    return Setting(tuple(fixed), tuple(holes), "" in earlier), problems


def _pattern(entry: Any) -> str:
    """The text that an entry looks for in a tensor's name; empty where it takes them all."""
    text = entry.get("filter") if isinstance(entry, Mapping) else None
    return text if isinstance(text, str) and text != "*" else ""


def _read_entry(
    parameter: str, entry: Any, at: Place
) -> tuple[list[tuple[Place, Any]], list[Hole], list[Problem]]:
    """The fixed numbers of an entry, its holes, and what is wrong with it."""
    if isinstance(entry, Mapping):
        if problems := _misread(entry, at):
            return [], [], problems
        if is_hole(entry):
            hole, problems = _read_hole(parameter, entry, at)
            return [], [hole] if hole else [], problems
        entry, at = entry["value"], (*at, "value")
        if isinstance(entry, Mapping):
            what = "expected a number, or a list of numbers, got a mapping"
            return [], [], [Problem(at, what, f"a hole is {_FORM}")]
    if not isinstance(entry, list):
        return [(at, entry)], [], []
    anchors = [((*at, i), value) for i, value in enumerate(entry)]
    problems = _check_anchors(anchors, at)
    return [] if problems else anchors, [], problems


def _misread(entry: Mapping[str, Any], at: Place) -> list[Problem]:
    """What keeps a mapping from being a value with or without a filter and bounds."""
    unknown = [key for key in entry if key not in _KEYS]
    if unknown:
        parts = [((*at, k), f"no key {k!r} beside value:", near(k, _KEYS)) for k in unknown]
        return [Problem(*part) for part in parts]
    if "value" not in entry:
        what = "has no value:, to start from and for mergekit to read"
        return [Problem(at, what, f"a hole is {_FORM}")]
    text = entry.get("filter")
    if text is not None and not isinstance(text, str):
        what = f"expected a part of a tensor's name, got {shown(text)}"
        return [Problem((*at, "filter"), what, "filter: self_attn")]
    return []


def _check_anchors(anchors: list[tuple[Place, Any]], at: Place) -> list[Problem]:
    """The anchors of a gradient are plain numbers, and there is one at least."""
    if not anchors:
        return [Problem(at, "an empty list of anchors", f"a searchable gradient is {_GRADIENT}")]
    what = "the anchors of a gradient are plain numbers; low: and high: stand beside value:"
    return [
        Problem(place, what, _GRADIENT)
        for place, value in anchors
        if isinstance(value, Mapping | list)
    ]


def _read_hole(
    parameter: str, entry: Mapping[str, Any], at: Place
) -> tuple[Hole | None, list[Problem]]:
    where: Place = (*at, "value")
    gradient = isinstance(entry["value"], list)
    starts = [(where, entry["value"])]
    if gradient:
        starts = [((*where, i), value) for i, value in enumerate(entry["value"])]
    problems = _check_anchors(starts, where)
    if problems:
        return None, problems
    if "choices" in entry:
        return _read_choices(parameter, entry, at, starts, gradient)
    bounds: dict[str, float] = {}
    for key in ("low", "high"):
        bound = number(entry.get(key))
        if key not in entry:
            problems.append(Problem(at, f"has no {key}:", f"a hole is {_FORM}"))
        elif bound is None or not math.isfinite(bound):
            what = f"expected a number, got {shown(entry[key])}"
            problems.append(Problem((*at, key), what, f"a hole is {_FORM}"))
        else:
            bounds[key] = bound
    numbers = [number(value) for _, value in starts]
    problems += [
        Problem(place, f"expected a number, got {shown(value)}")
        for (place, value), n in zip(starts, numbers, strict=True)
        if n is None or not math.isfinite(n)
    ]
    log = entry.get("log", False)
    if not isinstance(log, bool):
        problems.append(Problem((*at, "log"), f"expected true or false, got {shown(log)}"))
    if problems:
        return None, problems
    low, high = bounds["low"], bounds["high"]
    if problem := _misbound(low, high, log, at):
        return None, [problem]
    floats = tuple(float(n) for n in numbers if n is not None)
    what = f"between low {low:.10g} and high {high:.10g}"
    problems += [
        Problem(place, f"value {n:.10g} is not {what}", "the search starts from value:")
        for (place, _), n in zip(starts, floats, strict=True)
        if not low <= n <= high
    ]
    if problems:
        return None, problems
    text = entry.get("filter")
    return Hole(at, parameter, floats, gradient, low, high, log, filter=text), []


def _misbound(low: float, high: float, log: bool, at: Place) -> Problem | None:
    """What is wrong with two bounds, if anything."""
    here = (*at, "low")
    if low >= high:
        hint = f"low: {high:.10g}, high: {low:.10g}" if low > high else "a hole needs room"
        return Problem(here, f"low {low:.10g} is not below high {high:.10g}", hint)
    if log and low <= 0:
        what = f"log: true needs a low above 0, got {low:.10g}"
        return Problem(here, what, f"low: {high / 1000:.10g}" if high > 0 else "log: false")
    if not math.isfinite(high / low if log else high - low):
        return Problem(here, "low and high are too far apart to compute with")
    return None


def _read_choices(
    parameter: str,
    entry: Mapping[str, Any],
    at: Place,
    starts: list[tuple[Place, Any]],
    gradient: bool,
) -> tuple[Hole | None, list[Problem]]:
    choices = entry["choices"]
    problems = [
        Problem((*at, key), "has no meaning beside choices:", "take one of them out")
        for key in ("low", "high", "log")
        if key in entry
    ]
    if not isinstance(choices, list) or len(choices) < 2:
        what = f"expected a list of two values or more, got {shown(choices)}"
        problems.append(Problem((*at, "choices"), what, "{value: true, choices: [true, false]}"))
        return None, problems
    marks: set[tuple[bool, Scalar]] = set()
    for i, choice in enumerate(choices):
        if isinstance(choice, Mapping | list) or choice is None:
            what = f"a choice is a plain value, got {shown(choice)}"
            problems.append(Problem((*at, "choices", i), what))
        elif _typed(choice) in marks:
            problems.append(Problem((*at, "choices", i), f"{shown(choice)} stands twice"))
        else:
            marks.add(_typed(choice))
    hint = "the search starts from value:"
    problems += [
        Problem(place, f"value {shown(value)} is not among the choices {shown(choices)}", hint)
        for place, value in starts
        if value is None or _typed(value) not in marks
    ]
    if problems:
        return None, problems
    values = tuple(value for _, value in starts)
    text = entry.get("filter")
    return Hole(at, parameter, values, gradient, choices=tuple(choices), filter=text), []


def _typed(value: Scalar) -> tuple[bool, Scalar]:
    """Keeps `true` and `1` apart, which Python holds equal."""
    return isinstance(value, bool), value

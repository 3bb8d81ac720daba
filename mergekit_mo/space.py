"""The holes of a recipe as a box: a candidate is a point of the unit cube, and a configuration.

Rule: a value is rounded once, here, when a point becomes a configuration; what is scored is what
is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mergekit_mo.configuration import Configuration
from mergekit_mo.holes import Hole, Scalar
from mergekit_mo.layers import Layers, Path
from mergekit_mo.methods import Method
from mergekit_mo.problems import Place

DIGITS = 6
"""Significant digits of a value in a configuration."""

METHOD: Place = ("merge_method",)
"""The place of the axis that chooses the merge method."""


@dataclass(frozen=True)
class Candidate:
    """A point of the space.

    Attributes:
        unit: `d` coordinates in [0, 1], as `Space.snap` leaves them.
        origin: who proposed it.
        path: its layers; None where the space has none, or for the straight path.
    """

    unit: tuple[float, ...]
    origin: str
    path: Path | None = None


@dataclass(frozen=True)
class Axis:
    """One dimension: a number between bounds, or one of several choices.

    Attributes:
        name: what people call it.
        place: where its hole stands.
        parameter: the merge parameter.
        anchor: the position within a gradient; None for a plain value.
        start: the user's guess.
        low: lower bound; with choices, 0.
        high: upper bound; with choices, their number.
        log: whether the logarithm is uniform.
        integer: whether only whole numbers are legal.
        choices: the values to choose from, if these are given.
    """

    name: str
    place: Place
    parameter: str
    anchor: int | None
    start: Scalar
    low: float
    high: float
    log: bool = False
    integer: bool = False
    choices: tuple[Scalar, ...] = ()

    def decode(self, unit: float) -> Scalar:
        """The value at a coordinate in [0, 1]."""
        if self.choices:
            return self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]
        if self.log:
            value = math.exp(math.log(self.low) + unit * math.log(self.high / self.low))
        else:
            value = self.low + unit * (self.high - self.low)
        if self.integer:
            return round(min(max(value, math.ceil(self.low)), math.floor(self.high)))
        return min(max(round_value(value), self.low), self.high)

    def encode(self, value: Scalar) -> float:
        """The coordinate of a value; of a choice, the middle of its stretch."""
        if self.choices:
            marks = [(isinstance(c, bool), c) for c in self.choices]
            return (marks.index((isinstance(value, bool), value)) + 0.5) / len(self.choices)
        number = min(max(float(value), self.low), self.high)
        if self.log:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)


def round_value(value: float) -> float:
    """A number at the precision that configurations are written with."""
    return float(f"{value:.{DIGITS}g}")


class Space:
    """A configuration's holes as axes of the unit cube, and the paths over its layers.

    Args:
        configuration: with its holes.
        layers: the paths, where they are searched.
    """

    def __init__(self, configuration: Configuration, layers: Layers | None = None) -> None:
        self.configuration = configuration
        self.layers = layers
        self.axes: tuple[Axis, ...] = tuple(_axes(configuration))

    @property
    def dim(self) -> int:
        """The number of dimensions, `d`."""
        return len(self.axes)

    @cached_property
    def _parameters(self) -> dict[str, frozenset[str]]:
        return {m.name: frozenset(m.parameters) for m in self.configuration.methods}

    def values(self, unit: Sequence[float]) -> tuple[Scalar, ...]:
        """The `d` values at a point."""
        return tuple(axis.decode(u) for axis, u in zip(self.axes, unit, strict=True))

    def method(self, unit: Sequence[float]) -> str:
        """The merge method at a point."""
        for axis, u in zip(self.axes, unit, strict=True):
            if axis.place == METHOD:
                return str(axis.decode(u))
        return self.configuration.methods[0].name

    def active(self, unit: Sequence[float]) -> tuple[bool, ...]:
        """Which axes the merge method at a point knows; the others change nothing there."""
        known = self._parameters[self.method(unit)]
        return tuple(a.place == METHOD or a.parameter in known for a in self.axes)

    def snap(self, unit: Sequence[float]) -> tuple[float, ...]:
        """The point that stands for all that give the same configuration.

        Coordinates are those of the rounded values; inactive ones are those of the user's guess.
        """
        held = [min(max(float(u), 0.0), 1.0) for u in unit]
        active = self.active(held)
        return tuple(
            axis.encode(axis.decode(u)) if on else axis.encode(axis.start)
            for axis, u, on in zip(self.axes, held, active, strict=True)
        )

    def candidate(self, unit: Sequence[float], origin: str, path: Path | None = None) -> Candidate:
        """A candidate at a point of the unit cube, on the straight path if no other is given."""
        return self.settled(Candidate(self.snap(unit), origin, path))

    def settled(self, candidate: Candidate) -> Candidate:
        """A candidate with the one form of its path: all layers, also those of the straight one.

        Raises:
            ValueError: it has a path that the space does not allow.
        """
        if self.layers is None:
            if candidate.path is not None:
                raise ValueError("a path, where the layers are not searched")
            return candidate
        if candidate.path is None:
            return replace(candidate, path=self.layers.straight)
        if not self.layers.allowed(candidate.path):
            raise ValueError(f"no such path: {self.layers.text(candidate.path)}")
        return candidate

    def starts(self) -> tuple[Candidate, ...]:
        """The user's own values, then the uniform mix where it is another point.

        Both on the straight path.
        """
        own = self.candidate([axis.encode(axis.start) for axis in self.axes], "recipe")
        mix = self.candidate([axis.encode(self._uniform(axis)) for axis in self.axes], "uniform")
        return (own,) if own.unit == mix.unit else (own, mix)

    def _uniform(self, axis: Axis) -> Scalar:
        """A value of the uniform mix: weights 1/k, `t` one half, anything else as it is."""
        if axis.choices or axis.parameter not in ("weight", "t"):
            return axis.start
        wanted = 0.5 if axis.parameter == "t" else 1.0 / self._mixed()
        return min(max(wanted, axis.low), axis.high)

    def _mixed(self) -> int:
        """How many models share the weight."""
        method = self.configuration.methods[0]
        weight = method.parameters.get("weight")
        base = self.configuration.base
        models = [m for m in self.configuration.sources if m != base]
        listed = _listed(self.configuration.tree)
        if weight is not None and weight.for_base and base in listed:
            return len(models) + 1
        return max(len(models), 1)

    def config(self, unit: Sequence[float]) -> dict[str, Any]:
        """The mergekit configuration at a point: plain values where the holes were."""
        tree = deepcopy(dict(self.configuration.tree))
        method = self.method(unit)
        if len(self.configuration.methods) > 1:
            tree["merge_method"] = method
        known = self._parameters[method]
        filled: dict[Place, list[Scalar]] = {}
        for axis, value in zip(self.axes, self.values(unit), strict=True):
            filled.setdefault(axis.place, []).append(value)
        for hole in self.configuration.holes:
            _fill(tree, hole, filled[hole.place])
        if len(self.configuration.methods) > 1:
            _drop_unknown(tree, known)
        return tree


def _axes(configuration: Configuration) -> list[Axis]:
    axes = []
    names = [method.name for method in configuration.methods]
    if len(names) > 1:
        axes.append(
            Axis("method", METHOD, "merge_method", None, names[0], 0, len(names), choices=(*names,))
        )
    for hole in configuration.holes:
        label = hole_name(configuration.tree, hole)
        known = [m.parameters.get(hole.parameter) for m in configuration.methods]
        for i, start in enumerate(hole.values):
            low, high = (0.0, float(len(hole.choices))) if hole.choices else _bounds(hole)
            axes.append(
                Axis(
                    name=f"{label}[{i}]" if hole.gradient else label,
                    place=hole.place,
                    parameter=hole.parameter,
                    anchor=i if hole.gradient else None,
                    start=start,
                    low=low,
                    high=high,
                    log=hole.log,
                    integer=any(p is not None and p.kind is int for p in known),
                    choices=hole.choices,
                )
            )
    return axes


def _bounds(hole: Hole) -> tuple[float, float]:
    assert hole.low is not None
    assert hole.high is not None
    return hole.low, hole.high


def hole_name(tree: Mapping[str, Any], hole: Hole) -> str:
    """A short name: the model's last path component, the parameter and the filter."""
    owner, node = "", tree
    for key in hole.place:
        node = node[key]  # type: ignore[index]
        if isinstance(node, Mapping) and isinstance(node.get("model"), str):
            owner = str(node["model"]).partition("@")[0].rstrip("/").rpartition("/")[2]
    slice_number = next(
        (f"slice {at[1]} " for at in (hole.place,) if at[0] == "slices" and len(at) > 1), ""
    )
    return " ".join(
        part for part in (slice_number.strip(), owner, hole.parameter, hole.filter) if part
    )


def _fill(tree: dict[str, Any], hole: Hole, values: list[Scalar]) -> None:
    """Puts values where a hole is: a plain value or list, beside its filter if it has one."""
    node: Any = tree
    for key in hole.place[:-1]:
        node = node[key]
    value: Any = list(values) if hole.gradient else values[0]
    last = hole.place[-1]
    if isinstance(last, int):  # an entry of a list of conditions stays a mapping
        value = {"value": value} if hole.filter is None else {"filter": hole.filter, "value": value}
    elif hole.filter is not None:
        value = {"filter": hole.filter, "value": value}
    node[last] = value


def _drop_unknown(node: Any, known: frozenset[str]) -> None:
    """Takes out parameters that belong to other methods of the recipe."""
    if isinstance(node, dict):
        parameters = node.get("parameters")
        if isinstance(parameters, dict):
            node["parameters"] = {k: v for k, v in parameters.items() if k in known}
        for child in node.values():
            _drop_unknown(child, known)
    elif isinstance(node, list):
        for child in node:
            _drop_unknown(child, known)


def _listed(node: Any) -> set[str]:
    """Every model that is named as a `model:` anywhere below a node."""
    if isinstance(node, Mapping):
        own = {node["model"]} if isinstance(node.get("model"), str) else set()
        return own.union(*(_listed(child) for child in node.values()))
    if isinstance(node, list):
        return set().union(*(_listed(child) for child in node))
    return set()


__all__ = ["Axis", "Candidate", "Method", "Space", "hole_name", "round_value"]

"""The holes of a run as columns of the page: names, bounds, and what each of them belongs to.

Rule: they are read from the archive alone; sources and recipe may be gone. Where the archive does
not tell them, the coordinates of the unit cube take their place, and the page says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergekit_mo.archive import Archive
from mergekit_mo.configuration import read_configuration
from mergekit_mo.problems import Place
from mergekit_mo.space import METHOD, Axis, Space

EVERY = "all"
"""What a hole belongs to that holds for every model, layer or tensor."""


@dataclass(frozen=True)
class Column:
    """One dimension of the space.

    Attributes:
        axis: how a coordinate becomes a value; None where this is not known.
        name: what people call it.
        groups: what it belongs to, by the kind of group: model, parameter, layers, tensors.
    """

    axis: Axis | None
    name: str
    groups: Mapping[str, str]

    @property
    def count(self) -> int:
        """The number of choices; 0 where it is a number."""
        return len(self.axis.choices) if self.axis else 0

    def value(self, unit: float) -> Any:
        """The value at a coordinate."""
        return self.axis.decode(unit) if self.axis else unit

    def facts(self) -> dict[str, Any]:
        """What the page knows of it."""
        if self.axis is None:
            low, high, log, choices = 0.0, 1.0, False, []
        else:
            low, high, log = self.axis.low, self.axis.high, self.axis.log
            choices = [str(choice) for choice in self.axis.choices]
        own = {"name": self.name, "low": low, "high": high, "log": log, "choices": choices}
        return own | {"groups": dict(self.groups)}


def read_columns(archive: Archive) -> tuple[tuple[Column, ...], bool]:
    """The columns of a run's space, and whether they are its holes."""
    d = max((len(t.unit) for t in archive.candidates if t.unit is not None), default=0)
    space = _space(archive)
    if space is not None and (d in (0, space.dim)):
        return tuple(_column(space, axis) for axis in space.axes), True
    return tuple(Column(None, f"coordinate {i + 1}", {}) for i in range(d)), False


def _space(archive: Archive) -> Space | None:
    """The space that a run searched, as far as its archive tells."""
    facts = archive.fact("search")
    try:
        tree, methods = facts["configuration"], facts["methods"]
        choices = methods if len(methods) > 1 else None
        # Sources that are gone since are problems, and none of ours.
        configuration, _ = read_configuration(tree, Path("/"), choices, ("search", METHOD[0]))
        return Space(configuration) if configuration else None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, AssertionError):
        return None


def _column(space: Space, axis: Axis) -> Column:
    hole = next((h for h in space.configuration.holes if h.place == axis.place), None)
    groups = {
        "model": _owner(space.configuration.tree, axis.place) or EVERY,
        "parameter": axis.parameter,
        "layers": _layers(axis, len(hole.values) if hole and hole.gradient else 1),
        "tensors": (hole.filter if hole else None) or EVERY,
    }
    return Column(axis, axis.name, groups)


def _owner(tree: Mapping[str, Any], place: Place) -> str | None:
    """The model that a place belongs to, by its short name."""
    owner, node = None, tree
    for key in place:
        node = node[key]  # type: ignore[index]
        if isinstance(node, Mapping) and isinstance(node.get("model"), str):
            owner = short(node["model"])
    return owner


def _layers(axis: Axis, anchors: int) -> str:
    """Which layers an axis is for: a slice, a third of the depth, or all."""
    if axis.place[0] == "slices" and len(axis.place) > 1:
        return f"slice {axis.place[1]}"
    if axis.anchor is None or anchors < 2:
        return EVERY
    depth = axis.anchor / (anchors - 1)
    return "first third" if depth < 1 / 3 else "last third" if depth > 2 / 3 else "middle"


def short(model: str) -> str:
    """The last part of a model's name."""
    return model.partition("@")[0].rstrip("/").rpartition("/")[2] or model


def labels(models: Sequence[str]) -> dict[str, str]:
    """Short names by model; the whole name where two would be called the same."""
    names = [short(model) for model in models]
    return {m: n if names.count(n) == 1 else m for m, n in zip(models, names, strict=True)}

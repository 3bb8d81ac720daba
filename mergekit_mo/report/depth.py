"""How a configuration's numbers run over depth: gradients, slices and filters as lines.

Rule: mergekit's own reading holds. The anchors of a gradient are evenly spaced from the first layer
of its slice to the last, with straight lines between them; depth runs from 0 to 1 over the output's
layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mergekit_mo.report.columns import EVERY, short

Point = tuple[float, float | None]
"""Depth and value; no value where a line breaks off."""


@dataclass(frozen=True)
class Line:
    """One parameter of one model.

    Attributes:
        parameter: its name.
        tensors: the filter, or `EVERY`.
        model: the short name, or `EVERY`.
        points: depth and value; several stretches where slices give several.
    """

    parameter: str
    tensors: str
    model: str
    points: tuple[Point, ...]


def depth_lines(config: Mapping[str, Any]) -> list[Line]:
    """The lines of a configuration, those of one parameter and model joined over the slices."""
    joined: dict[tuple[str, str, str], list[Point]] = {}
    for line in _lines(config):
        points = joined.setdefault((line.parameter, line.tensors, line.model), [])
        if points and points[-1][0] < line.points[0][0]:  # slices between that know it not
            points.append((points[-1][0], None))
        points += line.points
    return [Line(*key, tuple(points)) for key, points in joined.items()]


def varies_over_depth(lines: list[Line]) -> bool:
    """Whether some line has more to tell than one value for all layers and tensors."""
    return any(line.tensors != EVERY or len(line.points) > 2 for line in lines)


def _lines(config: Mapping[str, Any]) -> Iterator[Line]:
    yield from _block(config, EVERY, 0.0, 1.0)
    for entry in _mappings(config.get("models")):
        yield from _block(entry, _owner(entry), 0.0, 1.0)
    slices = list(_mappings(config.get("slices")))
    depths = [_layers(piece) for piece in slices]
    total, done = sum(depths) or 1, 0
    for piece, depth in zip(slices, depths, strict=True):
        low, high = done / total, (done + depth) / total
        done += depth
        yield from _block(piece, EVERY, low, high)
        for source in _mappings(piece.get("sources")):
            yield from _block(source, _owner(source), low, high)


def _layers(piece: Mapping[str, Any]) -> int:
    """How many layers of the output a slice gives."""
    for source in _mappings(piece.get("sources")):
        match source.get("layer_range"):
            case [int(first), int(last)]:
                return max(last - first, 0)
    return 0


def _block(node: Mapping[str, Any], model: str, low: float, high: float) -> Iterator[Line]:
    parameters = node.get("parameters")
    for name, setting in parameters.items() if isinstance(parameters, Mapping) else ():
        for tensors, value in _entries(setting):
            points = _points(value, low, high)
            if points:
                yield Line(str(name), tensors, model, points)


def _entries(setting: Any) -> Iterator[tuple[str, Any]]:
    """A setting's values by filter."""
    if isinstance(setting, Mapping):
        yield str(setting.get("filter") or EVERY), setting.get("value")
    elif isinstance(setting, list) and any(isinstance(entry, Mapping) for entry in setting):
        for entry in _mappings(setting):
            yield str(entry.get("filter") or EVERY), entry.get("value")
    else:
        yield EVERY, setting


def _points(value: Any, low: float, high: float) -> tuple[Point, ...]:
    """A value as a line from one depth to another; nothing where it is no number."""
    anchors = value if isinstance(value, list) else [value]
    if not anchors or any(isinstance(v, bool) or not isinstance(v, int | float) for v in anchors):
        return ()
    if len(anchors) == 1:
        anchors = anchors * 2
    step = (high - low) / (len(anchors) - 1)
    return tuple((low + i * step, float(v)) for i, v in enumerate(anchors))


def _owner(entry: Mapping[str, Any]) -> str:
    return short(str(entry.get("model", EVERY)))


def _mappings(node: Any) -> Iterator[Mapping[str, Any]]:
    yield from (entry for entry in node or () if isinstance(entry, Mapping))

"""Where in a space the sources themselves lie: the reference trials there teach without a merge.

Rule: a point counts only if its configuration gives the source's own weights, rounding aside; a
method that trims or drops at every setting expresses no source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mergekit_mo.space import Axis, Space

ADDED = frozenset({"task_arithmetic", "ties", "dare_ties", "dare_linear"})
"""Methods that give the base plus weighted differences; weight 1 and density 1 leave one whole."""

_INTERPOLATED = "slerp"


def expressed(space: Space) -> dict[str, tuple[float, ...]]:
    """The snapped points at which the base and the sources lie, by the model's name.

    Only spaces over whole models (`models:`) are looked at, and only methods of which it is known
    what leaves a model as it is: those of `ADDED`, `linear` and `slerp`.
    """
    tree = space.configuration.tree
    entries = tree.get("models")
    if not isinstance(entries, list) or not space.dim:
        return {}
    names = [str(entry["model"]) for entry in entries]
    base = space.configuration.base
    found: dict[str, tuple[float, ...]] = {}
    for model in dict.fromkeys([*([base] if base else []), *names]):
        for method in space.configuration.methods:
            unit = _point(space, method.name, model, names)
            if unit is not None and _is_whole(space.config(unit), model, base):
                found.setdefault(model, unit)
    return found


def _point(space: Space, method: str, model: str, names: list[str]) -> tuple[float, ...] | None:
    """The point that is a model if any is: weight and density 1 there, weight 0 elsewhere."""
    values = []
    for axis in space.axes:
        wanted: Any = axis.start
        own = _owner(axis, names) == model
        if axis.parameter == "merge_method":
            wanted = method
        elif axis.parameter == "weight":
            wanted = 1.0 if own else 0.0
        elif axis.parameter == "density" and own:
            wanted = 1.0
        elif axis.parameter == "t":
            wanted = 0.0 if model == space.configuration.base else 1.0
        if not axis.choices and not axis.low <= float(wanted) <= axis.high:
            return None
        values.append(axis.encode(wanted))
    return space.snap(values)


def _owner(axis: Axis, names: list[str]) -> str | None:
    """The model whose parameter an axis is; None for one of all models."""
    at = axis.place
    return names[int(at[1])] if at[0] == "models" and len(at) > 1 else None


def _is_whole(config: Mapping[str, Any], model: str, base: str | None) -> bool:
    """Whether a configuration over `models:` gives a model's own weights."""
    method, shared = config["merge_method"], config.get("parameters") or {}
    if method == _INTERPOLATED:
        side = 0.0 if model == base else 1.0
        return len(config["models"]) == 2 and set(_numbers(shared.get("t"))) == {side}
    if method != "linear" and method not in ADDED:
        return False
    if set(_numbers(shared.get("lambda", 1.0))) != {1.0} or (method == "linear" and model == base):
        return False
    for entry in config["models"]:
        own = {**shared, **(entry.get("parameters") or {})}
        if entry["model"] == base and method in ADDED:
            continue  # its difference from itself is nothing
        wanted = 1.0 if entry["model"] == model else 0.0
        if set(_numbers(own.get("weight"))) != {wanted}:
            return False
        trimmed = method not in ("task_arithmetic", "linear") and wanted == 1.0
        if trimmed and set(_numbers(own.get("density", 1.0))) != {1.0}:
            return False
    return True


def _numbers(node: Any) -> Iterator[float | None]:
    """Every number of a parameter: of its gradient, and of all its filters; None for no value."""
    if isinstance(node, Mapping):
        yield from _numbers(node.get("value"))
    elif isinstance(node, list):
        for child in node:
            yield from _numbers(child)
    else:
        yield None if node is None else float(node)

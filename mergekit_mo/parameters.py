"""The `parameters:` blocks of a configuration: names, scopes, values and holes.

Rule: a value is checked against every merge method that may use it; a name is wrong only when no
such method knows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mergekit_mo.holes import Hole, Setting, number, read_setting
from mergekit_mo.methods import BASE_AMONG_MODELS, Method, Parameter
from mergekit_mo.problems import Place, Problem, near, shown

_EPSILON = 0.15  # DELLA's own


@dataclass(frozen=True)
class Block:
    """One `parameters:` mapping: where it stands, and the model that it belongs to, if to one."""

    place: Place
    node: Mapping[str, Any]
    model: str | None = None
    is_base: bool = False


@dataclass(frozen=True)
class Group:
    """The models that are merged together.

    Attributes:
        place: where they are listed.
        models: each model, and where its entry stands.
        base: their base model.
        complete: whether every model and the base could be read.
    """

    place: Place
    models: Mapping[str, Place]
    base: str | None
    complete: bool


def check_blocks(
    blocks: Sequence[Block], groups: Sequence[Group], methods: Sequence[Method]
) -> tuple[list[Hole], list[Problem]]:
    """Checks every block, and that every model has what its method requires.

    Args:
        blocks: all blocks of the configuration.
        groups: the sets of models that are merged together.
        methods: the merge methods that may be used.

    Returns:
        The holes in the order of the file, and the problems.
    """
    holes: list[Hole] = []
    problems: list[Problem] = []
    settings: dict[tuple[Place, str], Setting] = {}
    for block in blocks:
        for name, node in block.node.items():
            place = (*block.place, name)
            known = [m.parameters[name] for m in methods if name in m.parameters]
            if not known:
                problems.append(_unknown(name, place, methods))
                continue
            if block.model is not None and not any(p.per_model for p in known):
                what = f"{name} is one value for the whole merge, not one for each model"
                problems.append(Problem(place, what, "put it under the top-level parameters:"))
                continue
            setting, found = read_setting(name, node, place)
            problems += found
            problems += _check_values(setting, known)
            if block.is_base and setting.holes and not any(p.for_base for p in known):
                what = f"the {name} of the base model changes nothing: mergekit does not read it"
                problems.append(Problem(setting.holes[0].place, what, "take it out"))
            holes += setting.holes
            settings[(block.place, name)] = setting
    for method in methods:
        for group in groups:
            problems += _missing(method, blocks, group, settings)
            if method.name.startswith("della"):
                problems += _della(method, blocks, group, settings)
    return holes, list(dict.fromkeys(problems))


def _unknown(name: str, place: Place, methods: Sequence[Method]) -> Problem:
    known = {p for m in methods for p in m.parameters}
    who = " and ".join(m.name for m in methods)
    have = "has" if len(methods) == 1 else "have"
    return Problem(place, f"{who} {have} no parameter {name!r}", near(name, known, what="known"))


def _check_values(setting: Setting, known: Sequence[Parameter]) -> Iterator[Problem]:
    """Types and legal ranges of the fixed numbers and of the holes' bounds."""
    for place, value in setting.fixed:
        for parameter in known:
            yield from _check_value(place, value, parameter)
    for hole in setting.holes:
        for parameter in known:
            if hole.choices:
                for i, value in enumerate(hole.choices):
                    yield from _check_value((*hole.place, "choices", i), value, parameter)
                continue
            if parameter.kind is bool:
                what = f"{parameter.name} is true or false"
                yield Problem(hole.place, what, "{value: true, choices: [true, false]}")
                continue
            for key, bound in (("low", hole.low), ("high", hole.high)):
                yield from _check_value((*hole.place, key), bound, parameter)
            if parameter.kind is int:
                for value in hole.values:
                    yield from _check_value((*hole.place, "value"), value, parameter)
    for parameter in known:
        gradients = [hole.place for hole in setting.holes if hole.gradient]
        gradients += [place[:-1] for place, _ in setting.fixed if isinstance(place[-1], int)]
        for place in dict.fromkeys(gradients) if parameter.kind is int else ():
            what = f"{parameter.name} is a whole number, and takes no gradient"
            yield Problem(place, what, "give one number for all layers")


def _check_value(place: Place, value: Any, parameter: Parameter) -> Iterator[Problem]:
    name = parameter.name
    if value is None:
        yield Problem(place, f"{name} has no value", f"{name}: 0.5, or leave it out")
    elif parameter.kind is bool:
        if value not in (True, False, "true", "false"):
            yield Problem(place, f"{name} is true or false, got {shown(value)}")
    elif (n := number(value)) is None:
        yield Problem(place, f"{name} is a number, got {shown(value)}")
    elif not math.isfinite(n):
        yield Problem(place, f"{name} is a finite number, got {shown(value)}")
    elif parameter.kind is int and n != int(n):
        yield Problem(place, f"{name} is a whole number, got {n:.10g}")
    elif not parameter.range.holds(n):
        yield Problem(place, f"{name} is {parameter.range}, got {n:.10g}")


def _missing(
    method: Method,
    blocks: Sequence[Block],
    group: Group,
    settings: Mapping[tuple[Place, str], Setting],
) -> Iterator[Problem]:
    """Required parameters that some model of a group gets from nowhere."""
    for parameter in method.parameters.values():
        if not parameter.required:
            continue
        wanted: dict[str | None, Place] = {None: group.place}
        if parameter.per_model:
            wanted = {
                model: place
                for model, place in group.models.items()
                if parameter.for_base or model != group.base
            }
        for model, place in wanted.items():
            chain = _chain(blocks, group, model)
            found = [s for b in chain if (s := settings.get((b.place, parameter.name)))]
            if any(setting.covers_all for setting in found):
                continue
            # What was written but could not be read has been reported already.
            if not found and any(parameter.name in block.node for block in chain):
                continue
            name = parameter.name
            what = f"{model} has no {name}" if model else f"no {name}"
            what += " for what its filters leave over" if found else ""
            hint = f"parameters: {{{name}: {{value: 0.5, low: 0, high: 1}}}}"
            if found:
                hint = "a last entry without a filter takes what is left: - {value: 0.5}"
            yield Problem(place, f"{what}, which {method.name} requires", hint)


def _chain(blocks: Sequence[Block], group: Group, model: str | None) -> list[Block]:
    """The blocks in which mergekit looks for a parameter of a model, the nearest first."""
    own = [b for b in blocks if b.model is not None and b.model == model]
    chain = [b for b in own if b.place[: len(group.place)] == group.place]
    above = [b for b in blocks if b.model is None and _is_above(b.place, group.place)]
    return chain + sorted(above, key=lambda b: -len(b.place))


def check_group(group: Group, method: Method, method_at: Place) -> Iterator[Problem]:
    """Whether models that are merged together suit the merge method."""
    base, inputs = group.base, list(group.models)
    if not group.complete:
        return  # what could not be read has been reported
    if method.needs_base and base is None:
        what = f"{method.name} needs a base_model:"
        yield Problem(method_at, what, "name the model that the others were made from")
        return
    hint = ""
    if base and base not in inputs:
        in_slices = "slices" in group.place
        # mergekit adds the base to `models:` where it is missing, but not to slices.
        if in_slices and not method.ignores_base:
            what = f"its sources lack the base_model, {base}, which {method.name} works from"
            yield Problem(group.place, what, "add it to sources:, with a layer_range of its own")
            return
        if not in_slices and method.name in BASE_AMONG_MODELS:
            what = f"{method.name} takes its base_model only from among the models"
            yield Problem(("base_model",), what, f"one of: {', '.join(inputs)}")
            return
        if not in_slices:
            inputs.append(base)
            hint = "the base_model counts as one of them"
    if problem := method.inputs_problem(inputs, base):
        yield Problem(group.place, problem, hint)


def _is_above(block: Place, group: Place) -> bool:
    """Whether a block belongs to the group's slice, its module or the whole configuration."""
    holder = block[:-1]
    return group[: len(holder)] == holder


def _della(
    method: Method,
    blocks: Sequence[Block],
    group: Group,
    settings: Mapping[tuple[Place, str], Setting],
) -> Iterator[Problem]:
    """DELLA drops with probabilities density ± epsilon, which have to lie inside (0, 1)."""
    for model in group.models:
        if model == group.base:
            continue
        chain = _chain(blocks, group, model)
        epsilons = _spans(settings, chain, "epsilon")
        # Where filters give several, only what fails with each of them is a mistake for certain.
        epsilon = min((high for _, _, high in epsilons), default=_EPSILON)
        for place, low, high in _spans(settings, chain, "density"):
            if low == high and (low >= 1 or low <= 0):
                continue  # keeps everything or nothing: no probabilities are drawn
            if low - epsilon <= 0 or high + epsilon >= 1:
                span = f"{low:.10g}" if low == high else f"{low:.10g} to {high:.10g}"
                what = f"density {span} with epsilon {epsilon:.10g}: {method.name} needs "
                what += "density - epsilon above 0 and density + epsilon below 1"
                hint = f"density between {epsilon + 0.01:.4g} and {0.99 - epsilon:.4g}"
                hint = hint if epsilon < 0.48 else "take a smaller epsilon"
                yield Problem(place, what, hint)


def _spans(
    settings: Mapping[tuple[Place, str], Setting], chain: Sequence[Block], name: str
) -> list[tuple[Place, float, float]]:
    """Where a parameter's numbers stand in the nearest block, with the least and the largest."""
    found = (settings.get((block.place, name)) for block in chain)
    setting = next((s for s in found if s is not None), None)
    if setting is None:
        return []
    values: dict[Place, list[float]] = {}
    for place, value in setting.fixed:  # the anchors of a gradient count together
        at = place[:-1] if isinstance(place[-1], int) else place
        values.setdefault(at, []).extend(n for n in (number(value),) if n is not None)
    for hole in setting.holes:
        ends: list[Any] = [hole.low, hole.high, *hole.choices]
        values[hole.place] = [n for end in ends if (n := number(end)) is not None]
    return [(place, min(some), max(some)) for place, some in values.items() if some]

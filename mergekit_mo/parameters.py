"""The `parameters:` blocks of a configuration: names, scopes, values and holes.

Rule: a value is checked against every merge method that may use it; a name is wrong only when no
such method knows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mergekit_mo.holes import Hole, Setting, number, read_setting
from mergekit_mo.methods import Method, Parameter
from mergekit_mo.problems import Place, Problem, near


@dataclass(frozen=True)
class Block:
    """One `parameters:` mapping: where it stands, and the model that it belongs to, if to one."""

    place: Place
    node: Mapping[str, Any]
    model: str | None


Group = tuple[Place, list[str], str | None]


def check_blocks(
    blocks: Sequence[Block], groups: Sequence[Group], methods: Sequence[Method]
) -> tuple[list[Hole], list[Problem]]:
    """Checks every block, and that every model has what its method requires.

    Args:
        blocks: all blocks of the configuration.
        groups: the sets of models that are merged together: place, models, base.
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
            holes += setting.holes
            settings[(block.place, name)] = setting
    for method in methods:
        problems += _missing(method, blocks, groups, settings)
        if method.name.startswith("della"):
            problems += _della(method, blocks, settings)
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


def _check_value(place: Place, value: Any, parameter: Parameter) -> Iterator[Problem]:
    if value is None and not parameter.required:
        return
    if parameter.kind is bool:
        if value not in (True, False, "true", "false"):
            yield Problem(place, f"{parameter.name} is true or false, got {value!r}")
        return
    n = number(value)
    if n is None:
        yield Problem(place, f"expected a number for {parameter.name}, got {value!r}")
    elif n != n or n in (float("inf"), float("-inf")):
        yield Problem(place, f"{parameter.name} is not finite")
    elif parameter.kind is int and n != int(n):
        yield Problem(place, f"{parameter.name} is a whole number, got {n:g}")
    elif not parameter.range.holds(n):
        what = f"{parameter.name} {n:g} is outside its legal range {parameter.range}"
        yield Problem(place, what)


def _missing(
    method: Method,
    blocks: Sequence[Block],
    groups: Sequence[Group],
    settings: Mapping[tuple[Place, str], Setting],
) -> Iterator[Problem]:
    """Required parameters that some model of some group gets from nowhere."""
    for parameter in method.parameters.values():
        if not parameter.required:
            continue
        for place, models, base in groups:
            # A setting counts where its block is the model's own or stands above the group.
            def given(model: str | None, group: Place = place, name: str = parameter.name) -> bool:
                return any(
                    (block.place, name) in settings
                    and (_is_above(block.place, group) or _is_of(block, group, model))
                    for block in blocks
                )

            wanted: list[str | None] = [None]
            if parameter.per_model:
                wanted = [m for m in models if parameter.for_base or m != base]
            for model in wanted:
                if not given(model):
                    who = f"{model} has no {parameter.name}" if model else f"no {parameter.name}"
                    what = f"{who}, which {method.name} requires"
                    yield Problem(place, what, f"parameters: {{{parameter.name}: …}}")


def _is_above(block: Place, group: Place) -> bool:
    """Whether a block belongs to the group's slice, its module or the whole configuration."""
    holder = block[:-1]
    return group[: len(holder)] == holder and (not holder or len(holder) <= len(group))


def _is_of(block: Block, group: Place, model: str | None) -> bool:
    return block.model == model and block.place[: len(group)] == group


def _della(
    method: Method, blocks: Sequence[Block], settings: Mapping[tuple[Place, str], Setting]
) -> Iterator[Problem]:
    """DELLA drops with probabilities density ± epsilon, which have to lie inside (0, 1)."""
    default = 0.15
    everywhere = [e for b in blocks if b.model is None for e in _spans(settings, b, "epsilon")]
    for block in blocks:
        own = _spans(settings, block, "epsilon") or everywhere
        epsilon = max((high for _, _, high in own), default=default)
        for place, low, high in _spans(settings, block, "density"):
            if low == high and (low >= 1 or low <= 0):
                continue  # keeps everything or nothing: no probabilities are drawn
            if low - epsilon <= 0 or high + epsilon >= 1:
                span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
                what = f"density {span} with epsilon {epsilon:g}: {method.name} needs both "
                what += "density - epsilon and density + epsilon inside (0, 1)"
                hint = f"density between {epsilon + 0.01:g} and {0.99 - epsilon:g}"
                yield Problem(place, what, hint)


def _spans(
    settings: Mapping[tuple[Place, str], Setting], block: Block, name: str
) -> list[tuple[Place, float, float]]:
    """The places of a parameter's numbers in a block, with the least and largest value there."""
    setting = settings.get((block.place, name))
    if setting is None:
        return []
    spans = [(at, n, n) for at, v in setting.fixed if (n := number(v)) is not None]
    for hole in setting.holes:
        values = [n for c in hole.choices if (n := number(c)) is not None]
        if hole.low is not None and hole.high is not None:
            values = [hole.low, hole.high]
        if values:
            spans.append((hole.place, min(values), max(values)))
    return spans

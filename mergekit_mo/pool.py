"""What the layers of a recipe's models are: how many, how wide, of what kinds; whether they fit.

Rule: whatever path the rules allow has to make a whole model, so layers that do not fit one on the
other are refused here, before anything is merged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergekit.architecture import ModelArchitecture, arch_info_for_config
from mergekit.options import MergeOptions
from transformers import PretrainedConfig

from mergekit_mo.configuration import Configuration
from mergekit_mo.layer_rules import LayerRules
from mergekit_mo.layers import MERGE, Layers
from mergekit_mo.merging import parse_reference
from mergekit_mo.planning import plan_merge
from mergekit_mo.problems import Problem
from mergekit_mo.sizes import Header
from mergekit_mo.sources import architecture_of, header_only, read_header
from mergekit_mo.space import Space
from mergekit_mo.stack import depth_of, layer_kinds, layer_weights, source_config


@dataclass(frozen=True)
class _Model:
    """A source as the pool sees it."""

    name: str
    config: PretrainedConfig
    header: Header | None


def bind_layers(space: Space, options: MergeOptions) -> tuple[Layers | None, list[Problem]]:
    """The paths over the layers of a recipe's models.

    Args:
        space: of a recipe with rules for layers, whose sources have been checked.
        options: mergekit's.

    Returns:
        The paths, or None where something is wrong, and the problems.
    """
    configuration = space.configuration
    rules = configuration.layers
    assert rules is not None
    models = [_open(name, options) for name in configuration.sources]
    architecture = arch_info_for_config(models[0].config)
    if architecture is None or len(architecture.modules) != 1:
        what = f"mergekit cannot tell the layers of {architecture_of(models[0].config)} apart"
        return None, [Problem(rules.place, what, "leave layers: out")]
    problems = list(_misfits(configuration, models, architecture))
    if problems:
        return None, problems
    with header_only({model.name: model.header for model in models if model.header}):
        plan = plan_merge(space.config(space.starts()[0].unit), options)
    configs = {MERGE: plan.config} | {model.name: model.config for model in models}
    layers = rules.bind(
        {name: depth_of(config, architecture) for name, config in configs.items()},
        {name: layer_kinds(config) for name, config in configs.items()},
        plan.kinds,
    )
    return layers, list(_limits(rules, layers, searched=space.dim > 0))


def _open(name: str, options: MergeOptions) -> _Model:
    reference = parse_reference(name)
    return _Model(
        name, source_config(name, options.trust_remote_code), read_header(reference, options)
    )


def _misfits(
    configuration: Configuration, models: list[_Model], architecture: ModelArchitecture
) -> Iterator[Problem]:
    """Models with a layer that is not like the first one of the first model."""
    like: dict[int, tuple[str, tuple[int, ...] | None]] | None = None
    origin = ""
    for model in models:
        if model.header is None:
            continue  # pickled weights tell nothing; a merge that does not fit will fail
        for index in range(depth_of(model.config, architecture)):
            found = dict(enumerate(_layer(model, architecture, index)))
            if like is None:
                like, origin = found, model.name
            if found == like:
                continue
            yield _misfit(configuration, model.name, index, found, origin, like)
            break


def _layer(
    model: _Model, architecture: ModelArchitecture, index: int
) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    """The tensors of a layer: each one's name without its layer's number, and its shape."""
    assert model.header is not None
    for weight in layer_weights(model.config, architecture, index):
        names = (weight.name, *(weight.aliases or ()))
        shapes: Mapping[str, tuple[int, ...]] = model.header.shapes
        shape = next((shapes[n] for n in names if n in shapes), None)
        yield weight.name.replace(f".{index}.", ".*.", 1), shape


def _misfit(
    configuration: Configuration,
    name: str,
    index: int,
    found: Mapping[int, tuple[str, Any]],
    origin: str,
    like: Mapping[int, tuple[str, Any]],
) -> Problem:
    place = configuration.places[name]
    nothing = ("nothing", None)
    for i in range(max(len(found), len(like))):
        (own, shape), (other, expected) = found.get(i, nothing), like.get(i, nothing)
        if (own, shape) != (other, expected):
            break
    here, there = Path(name).name, Path(origin).name
    if own == other:
        what = f"{own} is {_shape(shape)} in {here}, and {_shape(expected)} in {there}"
    else:
        what = f"layer {index} of {here} has {own} where layers of {there} have {other}"
    return Problem(place, what, "layers can be exchanged between models of one width")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(shape)


def _limits(rules: LayerRules, layers: Layers, *, searched: bool) -> Iterator[Problem]:
    """Limits of length that leave out the straight path, or leave nothing else."""
    length = len(layers.straight)
    if not layers.low <= length <= layers.high:
        what = f"the straight path has {length} layers, outside of {layers.low} to {layers.high}"
        low, high = min(length, layers.low), max(length, layers.high)
        hint = f"the search starts there: length: {{low: {low}, high: {high}}}"
        yield Problem((*rules.place, "length"), what, hint)
    elif layers.count == 1:
        what = "these rules leave one path, the straight one"
        hint = "allow skip, repeat or swap" + (", or leave layers: out" if searched else "")
        yield Problem(rules.place, what, hint)

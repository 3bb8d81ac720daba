"""A walk over layers as mergekit configurations: what somebody else runs to get the same model.

Rule: embeddings, final norm and head are the merge's, and a source's own layer is copied bit for
bit. A slice without layers brings the former, because mergekit takes what is no layer from the
sources of the first slice and of the last; a slice of one source, its own base, brings the latter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from mergekit_mo.layers import MERGE, Walk
from mergekit_mo.methods import RANDOM_METHODS

Document = dict[str, Any]

_COPIES_ITS_BASE = frozenset(
    {"task_arithmetic", "ties", "breadcrumbs", "breadcrumbs_ties", "sce", "ram", "ramplus_tl"}
    | {"karcher", "passthrough"}
)
"""Deterministic methods that give a lone model, its own base, back bit for bit."""

_FORMS = frozenset({"models", "slices", "parameters"})


def documents(
    config: Mapping[str, Any], walk: Walk | None, depth: int, name: str = MERGE
) -> tuple[Document, ...]:
    """The configurations that make a model: one for `mergekit-yaml`, two for `mergekit-multi`.

    Args:
        config: the merge's own, whose layers the walk calls `merge`.
        walk: the layers from first to last; None for the merge as it is.
        depth: the number of the merge's layers.
        name: what the second configuration calls the merge that the first one makes.
    """
    if walk is None or walk == tuple((MERGE, layer) for layer in range(depth)):
        return (deepcopy(dict(config)),)
    if in_one(config, walk):
        return (_one(config, walk, depth),)
    return ({"name": name, **deepcopy(dict(config))}, _stacked(config, walk, name))


def in_one(config: Mapping[str, Any], walk: Walk) -> bool:
    """Whether a single configuration can give a walk.

    Not with a random method, whose masks are drawn from one generator for all layers in turn; not
    with one that cannot give a source back; and not where a filter names a layer by its number,
    which mergekit compares with the number that the layer has in the result.
    """
    method = config["merge_method"]
    own = any(name != MERGE for name, _ in walk)
    if method in RANDOM_METHODS or (own and method not in _COPIES_ITS_BASE | {"linear"}):
        return False
    pieces = config.get("slices") or ()
    shared = [config.get("parameters"), *(piece.get("parameters") for piece in pieces)]
    return not any(letter.isdigit() for text in _filters(shared) for letter in text)


def adds_zero(config: Mapping[str, Any], walk: Walk) -> bool:
    """Whether mergekit adds 0 to a source's own layers, which turns -0 into 0."""
    return config["merge_method"] == "linear" and in_one(config, walk)


def _filters(node: Any) -> Iterator[str]:
    """Every filter below a node."""
    if isinstance(node, Mapping):
        if isinstance(node.get("filter"), str):
            yield node["filter"]
        for child in node.values():
            yield from _filters(child)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for child in node:
            yield from _filters(child)


def _stacked(config: Mapping[str, Any], walk: Walk, name: str) -> Document:
    """The second configuration: layers of the named merge and of the sources, as they are."""
    ends = {"sources": [{"model": name, "layer_range": [0, 0]}]}
    layers = [
        {"sources": [_source(name if member == MERGE else member, layer)]} for member, layer in walk
    ]
    plain = {key: config[key] for key in ("dtype", "out_dtype") if config.get(key) is not None}
    slices = [ends, *_joined(layers), deepcopy(ends)]
    return {"merge_method": "passthrough", "base_model": name, **plain, "slices": slices}


def _one(config: Mapping[str, Any], walk: Walk, depth: int) -> Document:
    """The one configuration: slices of the merge and of single sources."""
    merged = list(_layers(config, depth))
    first, last = _ends(config)
    layers = [
        deepcopy(merged[layer]) if name == MERGE else _own(config["merge_method"], name, layer)
        for name, layer in walk
    ]
    rest = {key: deepcopy(value) for key, value in config.items() if key not in _FORMS}
    return {**rest, "slices": [first, *_joined(layers), last]}


def _source(model: str, layer: int, **parameters: float) -> Document:
    entry: Document = {"model": model, "layer_range": [layer, layer + 1]}
    return {**entry, "parameters": parameters} if parameters else entry


def _own(method: str, model: str, layer: int) -> Document:
    """A slice that gives a source's layer back."""
    if method == "linear":
        return {"sources": [_source(model, layer, weight=1.0)]}
    return {"sources": [_source(model, layer)], "base_model": model}


def _pieces(config: Mapping[str, Any], depth: int) -> list[Document]:
    """The merge's slices; a list of models is one slice over the whole depth."""
    if config.get("slices"):
        return list(config["slices"])
    entries = [{**entry, "layer_range": [0, depth]} for entry in config["models"]]
    base = config.get("base_model")
    if base and base not in [entry["model"] for entry in entries]:
        entries.append({"model": base, "layer_range": [0, depth]})  # as mergekit does
    return [{"sources": entries}]


def _layers(config: Mapping[str, Any], depth: int) -> Iterator[Document]:
    """A slice for each layer of the merge."""
    for piece in _pieces(config, depth):
        first, end = piece["sources"][0]["layer_range"]
        length = end - first
        for i in range(length):
            yield _resolved(config, piece, i, i / (length - 1) if length > 1 else 1.0)


def _ends(config: Mapping[str, Any]) -> tuple[Document, Document]:
    """Slices without layers, from whose sources mergekit takes what is no layer."""
    pieces = _pieces(config, 0)
    first, last = (_resolved(config, piece, None, 0.0) for piece in (pieces[0], pieces[-1]))
    return first, last


def _resolved(
    config: Mapping[str, Any], piece: Mapping[str, Any], offset: int | None, t: float
) -> Document:
    """One layer of a slice, or none, with plain values where gradients over its depth were.

    Args:
        config: the parameters at its top are folded into the slice.
        piece: the slice.
        offset: which of its layers; None for none.
        t: the layer's position within the slice, from 0 to 1.
    """
    sources = []
    for source in piece["sources"]:
        first = source["layer_range"][0] + (offset or 0)
        own = _settings(source.get("parameters"), None, t)
        span = [0, 0] if offset is None else [first, first + 1]
        sources.append({"model": source["model"], "layer_range": span} | own)
    base = {"base_model": piece["base_model"]} if piece.get("base_model") is not None else {}
    shared = _settings(piece.get("parameters"), config.get("parameters"), t)
    return {"sources": sources, **base, **shared}


def _settings(
    inner: Mapping[str, Any] | None, outer: Mapping[str, Any] | None, t: float
) -> dict[str, Any]:
    """The `parameters:` of two scopes as one, at a position; empty where there are none."""
    scopes = [scope for scope in (inner, outer) if scope]
    names = dict.fromkeys(name for scope in scopes for name in scope)
    found = {}
    for name in names:
        conditions = [c for scope in scopes for c in _conditions(scope.get(name), t)]
        if not conditions:
            continue
        ends = (i for i, c in enumerate(conditions, 1) if c.get("filter") in (None, "*"))
        used = conditions[: next(ends, len(conditions))]
        found[name] = used[0]["value"] if used[0].get("filter") in (None, "*") else used
    return {"parameters": found} if found else {}


def _conditions(setting: Any, t: float) -> list[Document]:
    """A setting as a list of filtered values at a position."""
    if setting is None:
        return []
    if isinstance(setting, Mapping):
        return [{**setting, "value": _value(setting["value"], t)}]
    if isinstance(setting, list) and setting and isinstance(setting[0], Mapping):
        return [{**entry, "value": _value(entry["value"], t)} for entry in setting]
    return [{"value": _value(setting, t)}]


def _value(value: Any, t: float) -> Any:
    """A plain value, or a gradient's at a position, in mergekit's own arithmetic."""
    if not isinstance(value, list):
        return value
    position = t * (len(value) - 1)
    if any(isinstance(anchor, bool | str) for anchor in value):
        return value[int(position)]
    low = int(position)
    high = min(len(value) - 1, low + 1)
    share = position - low
    return (1 - share) * value[low] + share * value[high]


def _joined(slices: Sequence[Document]) -> list[Document]:
    """The same slices, those that go on where the one before ends made one with it."""
    joined: list[Document] = []
    for piece in slices:
        if joined and _goes_on(joined[-1], piece):
            for source, following in zip(joined[-1]["sources"], piece["sources"], strict=True):
                source["layer_range"] = [source["layer_range"][0], following["layer_range"][1]]
        else:
            joined.append(deepcopy(piece))
    return joined


def _goes_on(one: Document, other: Document) -> bool:
    """Whether two slices differ in nothing but that the second goes on where the first ends."""

    def plain(piece: Document) -> Document:
        sources = [{k: v for k, v in s.items() if k != "layer_range"} for s in piece["sources"]]
        return {**piece, "sources": sources}

    return plain(one) == plain(other) and all(
        a["layer_range"][1] == b["layer_range"][0]
        for a, b in zip(one["sources"], other["sources"], strict=True)
    )

"""What matters before any trial: holes over weights that the sources hardly changed matter little.

Rule: it is a prior on lengthscales, never a bound; trials overrule it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mergekit_mo.space import Axis, Space

_SOFTNESS = 0.5  # a quarter of the difference doubles the lengthscale
_LEAST, _MOST = 0.5, 4.0
_TRIMMED = 0.5  # what a density is expected to matter, beside a weight
_LAYER = re.compile(r"\.(?:layers|h|blocks|block)\.(\d+)\.")
_LAST = re.compile(r"lm_head|(?:^|\.)(?:norm|ln_f|final_layernorm)\.")

Norms = Mapping[str, Mapping[str, float]]


def stretches(space: Space, norms: Norms) -> tuple[float, ...]:
    """Factors on the lengthscales that are expected of each of the `d` coordinates.

    A coordinate's share is the norm of the difference that it scales: of its model's, over the
    tensors that its filter lets through and near its anchor's depth. AP-BMM (arXiv 2512.09972)
    ranks layers so; here it is the share's root against the mean one.

    Args:
        space: the holes.
        norms: of the sources' differences from the base, by source and tensor.
    """
    shares = np.array([_share(space, axis, norms) for axis in space.axes])  # d, NaN where unknown
    known = np.isfinite(shares) & (shares > 0)
    if not known.any():
        return (1.0,) * space.dim
    ratio = np.where(known, shares[known].mean() / np.where(known, shares, 1.0), 1.0)
    factors = np.clip(ratio**_SOFTNESS, _LEAST, _MOST)
    none = np.isfinite(shares) & (shares == 0)
    return tuple(np.where(none, _MOST, factors).tolist())


def _share(space: Space, axis: Axis, norms: Norms) -> float:
    """The norm of what an axis scales; NaN where that cannot be told."""
    tree = space.configuration.tree
    if axis.parameter not in ("weight", "density", "t") or axis.place[0] != "models":
        return float("nan")
    own = norms.get(str(tree["models"][int(axis.place[1])]["model"]))
    if own is None:
        return float("nan")
    filters = _filters(tree, axis.place)
    anchors = (
        sum(other.place == axis.place for other in space.axes) if axis.anchor is not None else 1
    )
    layers = 1 + max((_layer(name) for name in own), default=0)
    total = 0.0
    for name, norm in own.items():
        if _passes(name, filters):
            total += (norm * _nearness(_depth(name, layers), axis.anchor, anchors)) ** 2
    return float(np.sqrt(total)) * (_TRIMMED if axis.parameter == "density" else 1.0)


def _filters(tree: Mapping[str, Any], place: Sequence[str | int]) -> tuple[list[str], str]:
    """The filters of the entries before a hole's own, which take their tensors first; and its own.

    An empty text is no filter.
    """
    node: Any = tree
    before: list[str] = []
    for key in place:
        if isinstance(node, list) and isinstance(key, int) and key and "filter" in node[0]:
            before = [str(entry.get("filter") or "") for entry in node[:key]]
        node = node[key]
    own = node.get("filter") if isinstance(node, Mapping) else None
    return before, str(own or "")


def _passes(name: str, filters: tuple[list[str], str]) -> bool:
    before, own = filters
    return own in name and not any(other and other in name for other in before)


def _layer(name: str) -> int:
    found = _LAYER.search(name)
    return int(found.group(1)) if found else 0


def _depth(name: str, layers: int) -> float:
    """A tensor's place in the model, from 0 to 1: embeddings first, norm and head last."""
    if _LAYER.search(name):
        return _layer(name) / max(layers - 1, 1)
    return 1.0 if _LAST.search(name) else 0.0


def _nearness(depth: float, anchor: int | None, anchors: int) -> float:
    """How much of an anchor's value a depth gets, as gradients are interpolated."""
    if anchor is None or anchors < 2:
        return 1.0
    return max(0.0, 1.0 - abs(depth * (anchors - 1) - anchor))

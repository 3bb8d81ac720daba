"""How large models and merges are, told by the headers of checkpoints.

Rule: nothing here reads weights, and what has no header has no size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mergekit.common import dtype_from_name

from mergekit_mo.planning import Plan


@dataclass(frozen=True)
class Header:
    """The tensors of a checkpoint: their files, shapes and numbers of bytes."""

    folder: str
    files: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class Size:
    """What a merge amounts to.

    Attributes:
        parameters: of the merged model.
        largest: bytes of the largest group of tensors that are merged together, as the sources
            have them.
        checkpoints: bytes of all sources.
        model: bytes of the merged model.
        group: bytes of the largest group while it is merged: each tensor in its own number format
            or in the merge's, whichever is wider.
        download: bytes of the sources that are on the Hub and not in a folder.
    """

    parameters: int
    largest: int
    checkpoints: int
    model: int = 0
    group: int = 0
    download: int = 0


def inputs(plan: Plan) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each tensor of a plan: its save task, and what it is made from, by source."""
    for save in plan.saves:
        task = save.tensor_task
        gathered = getattr(task.gather_tensors, "gather_tensors", task.gather_tensors)
        yield save, {str(model): info for model, info in gathered.weight_info.items()}


def size_of(plan: Plan, headers: Mapping[str, Header]) -> Size | None:
    """The size of a merge; None where no checkpoint has a header."""
    if not headers:
        return None
    width = _width(plan.merge.dtype)
    written = _width(plan.merge.out_dtype) or width
    parameters = largest = model = most = 0
    for _, infos in inputs(plan):
        stored = group = result = count = 0
        for source, info in infos.items():
            known = headers.get(source)
            names = (info.name, *(info.aliases or ()), *(info.tied_names or ()))
            name = next((n for n in names if known and n in known.shapes), None)
            if known is None or name is None:
                continue
            elements, size = math.prod(known.shapes[name]), known.sizes[name]
            count = count or elements
            stored += size
            group += max(size, elements * width)
            result = max(result, elements * written or size)
        parameters, model = parameters + count, model + result
        largest, most = max(largest, stored), max(most, group)
    total = sum(sum(header.sizes.values()) for header in headers.values())
    download = sum(sum(h.sizes.values()) for h in headers.values() if not h.folder)
    return Size(parameters, largest, total, model, most, download)


def _width(dtype: str | None) -> int:
    """Bytes of a number; 0 where no format is named."""
    return int(dtype_from_name(dtype).itemsize) if dtype else 0

"""How far sources lie from their base, tensor by tensor: what a search can know before any merge.

Rule: tensors are read one at a time, from the files as mergekit reads them; nothing is kept but
their norms.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mergekit.io.tasks import LoaderCache
from mergekit.options import MergeOptions

from mergekit_mo.merging import parse_reference


def differences(
    base: str, sources: Sequence[str], options: MergeOptions
) -> dict[str, dict[str, float]]:
    """The L2 norms of sources' differences from the base, by source and tensor name.

    Tensors that one of the two lacks, or that differ in shape (a grown vocabulary), are left out.

    Args:
        base: what differences are taken from.
        sources: the other models.
        options: where mergekit finds models.
    """
    cache = LoaderCache()
    cache.setup(options)
    origin = cache.get(parse_reference(base))
    found: dict[str, dict[str, float]] = {}
    for source in sources:
        other = cache.get(parse_reference(source))
        norms = {}
        for name in sorted(set(origin.index.tensor_paths) & set(other.index.tensor_paths)):
            first, second = origin.get_tensor(name), other.get_tensor(name)
            if first.shape == second.shape and first.is_floating_point():
                norms[name] = float(torch.linalg.vector_norm((second - first).double()))
        found[source] = norms
    cache.flush_all()
    return found

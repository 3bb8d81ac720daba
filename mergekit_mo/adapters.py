"""Sources with a LoRA, merged before several workers want them at once.

Rule: a merged adapter appears in the cache whole or not at all; mergekit takes whatever folder it
finds there for a model.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

from mergekit_mo.merging import parse_reference
from mergekit_mo.options import MergeFlags
from mergekit_mo.planning import merge_options


def merge_adapters(sources: Iterable[str], flags: MergeFlags, device: str) -> None:
    """Merges the adapters that are not in the cache yet; one process of a machine at a time.

    Args:
        sources: of the search, with or without a LoRA.
        flags: mergekit's; they name the cache.
        device: where merging happens.
    """
    wanted = [reference for source in sources if (reference := parse_reference(source)).lora]
    if not wanted or not flags.lora_merge_cache:
        return
    options, cache = merge_options(flags, device), Path(flags.lora_merge_cache)
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / ".lock"):
        for left in cache.glob(".*.new"):  # of a process that was killed: the lock is ours
            shutil.rmtree(left, ignore_errors=True)
        for reference in wanted:
            name = f"{reference.model._unique_id()}_{reference.lora._unique_id()}"  # mergekit's own
            if not (cache / name).exists():
                with tempfile.TemporaryDirectory(suffix=".new", prefix=".", dir=cache) as aside:
                    reference.merged(aside, options.trust_remote_code, options.lora_merge_dtype)
                    (Path(aside) / name).rename(cache / name)

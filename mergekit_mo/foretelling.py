"""What the search of a recipe will take of this machine, and whether that is there.

Rule: where others' machines do the work, or vLLM keeps the models, nothing is foretold.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mergekit_mo.asking import Asked
from mergekit_mo.memory import Forecast, Plans, forecast, shortage
from mergekit_mo.problems import Problem
from mergekit_mo.recipe import Recipe
from mergekit_mo.sizes import Size
from mergekit_mo.space import Space
from mergekit_mo.workers import INLINE, Settled

_TRIALS = 100  # of a budget that bounds the time alone


def foretold(
    recipe: Recipe, space: Space, size: Size | None, tasks: Sequence[Asked], settled: Settled
) -> Forecast | None:
    """What a search takes; None where it cannot be told."""
    workers = settled.workers
    if size is None or workers.ray_address or recipe.evaluation.backend == "vllm":
        return None
    layers, limits = space.layers, recipe.limits
    trials = (limits.trials if limits.counted else _TRIALS) + len(recipe.configuration.sources)
    items = sum(len(asked.items["search"]) for asked in tasks)
    return forecast(
        size,
        Plans(
            methods=[method.name for method in recipe.configuration.methods],
            gpu=settled.device != "cpu",
            load_in=recipe.evaluation.load_in,
            growth=layers.high / len(layers.straight) if layers else 0.0,
            adapters=sum("+" in source for source in recipe.configuration.sources),
            workers=0 if workers.executor == INLINE else workers.count or 1,
            answers=trials * items,
        ),
    )


def too_little(found: Forecast | None, device: str, folder: Path) -> list[Problem]:
    """What a search lacks here, if it lacks something."""
    if found is None:
        return []
    what, hint = shortage(found, _free_gpu(device), folder)
    return [Problem((), what, hint)] if what else []


def _free_gpu(device: str) -> int | None:
    """Bytes that are free on a GPU; None where it cannot be told."""
    import torch

    if not (device.startswith("cuda") and torch.cuda.is_available()):
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return int(free)

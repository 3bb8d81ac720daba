"""Ways of doing something, timed in turns: machines are noisy, and the noise meets them all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(turns: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, the ways taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, way in turns.items():
            begun = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in seconds.items()}

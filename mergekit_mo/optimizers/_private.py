"""torch for a block of code, with a seed and a thread of its own.

Rule: nothing of it is left behind, so that what a network learns depends on its seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mergekit_mo.machine import one_thread


@contextmanager
def private_torch(seed: int) -> Iterator[None]:
    """Seeds torch for a block and gives the caller's state back; gradients are on.

    One thread does all the work: sums of several threads come in another order. The accelerators'
    generators are left alone, since models may be scored there.
    """
    with (
        one_thread(),
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        torch.default_generator.manual_seed(seed)
        yield

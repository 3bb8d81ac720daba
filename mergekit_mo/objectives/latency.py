"""How fast a merge writes, on this machine and in this moment."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median, stdev
from typing import TYPE_CHECKING, ClassVar

from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.trial import Measurement

if TYPE_CHECKING:
    import torch

_MEDIAN_ERROR = 1.2533
"""The standard error of a median beside that of a mean, for normal values."""


@dataclass(frozen=True)
class Latency(Objective):
    """Tokens a second, the median of several runs: noisy, and true of this machine alone.

    Prompts of random tokens are continued greedily, always by the same number of tokens. It tells
    models of different depth apart; merges of one shape differ by noise. A trial's score is never
    measured twice, but a search that was interrupted goes on to other trials than it would have.

    Attributes:
        batch: prompts that are continued together.
        prompt: tokens of each.
        new: tokens that are written to each.
        repeats: runs that the median is taken of, after one that is not counted.
    """

    batch: int = 1
    prompt: int = 64
    new: int = 32
    repeats: int = 5

    repeatable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Checks the sizes."""
        for name, least in (("batch", 1), ("prompt", 1), ("new", 2), ("repeats", 3)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, not {getattr(self, name)}")

    @property
    def title(self) -> str:
        """The unit."""
        return "tokens_per_second"

    @property
    def maximize(self) -> bool:
        """Faster is better."""
        return True

    def score(self, subject: Subject) -> Measurement:
        """The median over the runs, with its standard error."""
        self._seconds(subject)  # caches are cold, and kernels unchosen
        rates = [self.batch * self.new / self._seconds(subject) for _ in range(self.repeats)]
        stderr = _MEDIAN_ERROR * stdev(rates) / self.repeats**0.5
        return Measurement(median(rates), stderr)

    def _seconds(self, subject: Subject) -> float:
        import torch

        model = subject.model
        draw = torch.Generator().manual_seed(0)
        size = (self.batch, self.prompt)
        prompts = torch.randint(model.config.get_text_config().vocab_size, size, generator=draw)
        tokens = prompts.to(model.device)
        _settle(model.device)
        start = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                do_sample=False,
                num_beams=1,
                min_new_tokens=self.new,
                max_new_tokens=self.new,
                pad_token_id=0,
            )
        _settle(model.device)
        return time.perf_counter() - start


def _settle(device: torch.device) -> None:
    """Waits until a device has done what it was told."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "xpu":
        torch.xpu.synchronize(device)

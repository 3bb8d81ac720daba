"""Which backend answers, and why: `evaluation.backend`, with `auto` settled.

Rule: log-likelihoods and CPUs are left to transformers; vLLM is for text that is written on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from mergekit_mo.backends import Backend
from mergekit_mo.evaluation import Evaluation
from mergekit_mo.optional import pip_line


@dataclass(frozen=True)
class Chosen:
    """A backend, settled for a run.

    Attributes:
        name: `hf` or `vllm`.
        reason: why `auto` means this one here; empty where the recipe names it.
    """

    name: str
    reason: str = ""

    def __str__(self) -> str:
        """The name, and why it was chosen where the recipe does not name it."""
        return f"{self.name}, since {self.reason}" if self.reason else self.name

    def made(
        self, evaluation: Evaluation, threads: int, *, trust_remote_code: bool = False
    ) -> Backend | None:
        """The backend; None for the one that every harness has, the live module."""
        if self.name == "hf":
            return None
        from mergekit_mo.backends.vllm import Vllm

        return Vllm(evaluation, threads, trust_remote_code=trust_remote_code)


LIVE = Chosen("hf")
"""What every harness has: the live module."""


def choose(evaluation: Evaluation, device: str, *, generates: bool) -> Chosen:
    """Settles the backend of a run.

    Args:
        evaluation: names it, or says `auto`.
        device: where merging happens.
        generates: whether there is a task to which models write their answers.
    """
    if evaluation.backend != "auto":
        return Chosen(evaluation.backend)
    if evaluation.load_in:
        return Chosen("hf", f"merges are loaded in {evaluation.load_in}")
    if not generates:
        return Chosen("hf", "no task has models write text")
    if not device.startswith("cuda"):
        return Chosen("hf", f"the device is {device}, and vLLM is for CUDA and ROCm")
    if find_spec("vllm") is None:
        return Chosen("hf", f"vllm is not installed ({pip_line('vllm')})")
    return Chosen("vllm", f"models write text, on {device}")

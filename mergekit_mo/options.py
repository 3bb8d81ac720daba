"""mergekit's own merge options under mergekit's own flag names.

Rule: `mergekit.options` imports torch, which would make `--help` take seconds, so the flags are
declared here a second time; a test holds them against `MergeOptions`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class MergeFlags:
    """What mergekit is told about every merge.

    Attributes:
        allow_crimes: allow mixing architectures.
        unsafe_truncate_embeddings: cut vocabularies to the smallest.
        transformers_cache: where downloaded models are kept.
        lora_merge_cache: where models merged with their LoRA are kept.
        lora_merge_dtype: number format for applying LoRAs.
        cuda: the same as `device: cuda`.
        device: where merging and scoring happen; `auto` is a GPU where there is one.
        low_cpu_memory: keep intermediate tensors on the accelerator.
        trust_remote_code: run Python code that comes with a model.
        random_seed: seeds the masks of random methods, for every merge alike.
        lazy_unpickle: read pickled weights piece by piece.
        read_to_gpu: read weights straight to the accelerator.
        multi_gpu: merge on several GPUs at once.
        num_threads: threads for merging and scoring; None for the cores that are free.
        gpu_rich: `cuda`, `low_cpu_memory`, `read_to_gpu` and `multi_gpu` together.
        allow_pickle: ours alone; take sources whose weights are pickled, which torch's loader of
            weights alone reads.
    """

    allow_crimes: bool = False
    unsafe_truncate_embeddings: bool = False
    transformers_cache: str | None = None
    lora_merge_cache: str | None = None
    lora_merge_dtype: str | None = None
    cuda: bool = False
    device: str | None = None
    low_cpu_memory: bool = False
    trust_remote_code: bool = False
    random_seed: int = 0
    lazy_unpickle: bool = False
    read_to_gpu: bool = False
    multi_gpu: bool = False
    num_threads: int | None = None
    gpu_rich: bool = False
    allow_pickle: bool = False

    def named_device(self, default: str) -> str:
        """The device that the flags ask for, or the default where they ask for none."""
        if self.device:
            return self.device
        return "cuda" if self.cuda or self.gpu_rich else default


OURS_ALONE = frozenset({"allow_pickle"})
"""Flags that mergekit has not: it loads pickled weights without being asked."""

OUTPUT_ONLY = frozenset(
    {
        "async_write",
        "clone_tensors",
        "copy_tokenizer",
        "out_shard_size",
        "quiet",
        "safe_serialization",
        "verbosity",
        "write_model_card",
        "write_threads",
    }
)
"""Options of mergekit that say how a model is written or what is printed, not what is merged."""

HELP = {
    "allow_crimes": "Allow mixing architectures.",
    "unsafe_truncate_embeddings": "UNSAFE: cut vocabularies to the smallest.",
    "transformers_cache": "Where downloaded models are kept.",
    "lora_merge_cache": "Where models merged with their LoRA are kept.",
    "lora_merge_dtype": "Number format for applying LoRAs.",
    "cuda": "The same as --device cuda.",
    "device": "Where merging and scoring happen: cpu, cuda, cuda:1, auto.",
    "low_cpu_memory": "Keep intermediate tensors on the accelerator.",
    "trust_remote_code": "Run Python code that comes with a model (danger).",
    "random_seed": "Seeds the masks of random merge methods, for every merge alike.",
    "lazy_unpickle": "Read pickled weights piece by piece.",
    "read_to_gpu": "Read weights straight to the accelerator.",
    "multi_gpu": "Merge on several GPUs at once (deterministic methods only).",
    "num_threads": "Threads for merging and scoring.  [default: the free cores]",
    "gpu_rich": "--cuda --low-cpu-memory --read-to-gpu --multi-gpu.",
    "allow_pickle": "Take pickled weights, read by torch's loader of weights alone (danger).",
}

# What a merge does not depend on, or what must not be carried along in an exported file.
_NOT_EXPORTED = OURS_ALONE | {"trust_remote_code", "device", "cuda", "gpu_rich", "num_threads"}


def command_line(flags: MergeFlags, *, device: str, threads: int) -> str:
    """The flags with which mergekit's own commands make the same merge, as a shell reads them."""
    words = [f"--random-seed {flags.random_seed}", f"-j {threads}"]
    if device != "cpu":
        words.append(f"--device {device}")
    for f in fields(flags):
        value: Any = getattr(flags, f.name)
        if f.name in _NOT_EXPORTED or f.name == "random_seed" or value == f.default:
            continue
        name = "--" + f.name.replace("_", "-")
        words.append(name if value is True else f"{name} {shlex.quote(str(value))}")
    if flags.gpu_rich:
        words += ["--low-cpu-memory", "--read-to-gpu", "--multi-gpu"]
    return " ".join(words)

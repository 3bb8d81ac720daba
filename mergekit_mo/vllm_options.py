"""Which options a vLLM engine is started with, told without importing vLLM.

Rule: options that the search itself must set are refused, and so are names that vLLM does not know.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mergekit_mo.evaluation import Evaluation
from mergekit_mo.optional import pip_line
from mergekit_mo.problems import Place, Problem, near

PLUGIN = "mergekit-mo"
"""What our way to take new weights is called among vLLM's plugins and in its register."""

CPU_DEFAULTS: Mapping[str, Any] = {"enforce_eager": True}
"""Without a GPU there is little to compile for, and compiling takes longer than small searches."""

CPU_CACHE = 1 << 30
"""Bytes of the key-value cache without a GPU; vLLM's own default is nine tenths of the machine."""

_MEMORY = ("kv_cache_memory_bytes", "gpu_memory_utilization")

_SEVERAL = ("tensor_parallel_size", "pipeline_parallel_size")

_OURS = {
    "model": "it is each candidate's own",
    "tokenizer": "it is each candidate's own",
    "hf_config_path": "the configuration is each candidate's own",
    "load_format": "the weights are handed over in memory",
    "weight_transfer_config": "the search hands over the weights",
    "trust_remote_code": "say --trust-remote-code",
    "data_parallel_size": "each worker of the search has one engine",
}


def engine_options(evaluation: Evaluation, dtype: str) -> dict[str, Any]:
    """What lm-eval's `VLLM` is made with, but for the model.

    Args:
        evaluation: how to ask.
        dtype: the model's own, by name: vLLM would run a float32 model in half precision.
    """
    # vLLM forms batches itself, out of all the requests that it is given.
    options = {"dtype": dtype, "batch_size": "auto", "max_length": evaluation.max_length}
    return options | dict(evaluation.vllm or {})


def on_a_cpu(options: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The options of an engine without a GPU: ours where the user said nothing."""
    ours = dict(CPU_DEFAULTS)
    if not any(name in options for name in _MEMORY) and "VLLM_CPU_KVCACHE_SPACE" not in environment:
        ours["kv_cache_memory_bytes"] = CPU_CACHE
    return ours | dict(options)


def engine_environment(
    given: Mapping[str, str], threads: int, device: str, options: Mapping[str, Any]
) -> dict[str, str]:
    """The environment of an engine: what the user has set stands.

    Args:
        given: the user's.
        threads: that it may use on a CPU.
        device: where the merge stands; an engine that needs one GPU gets the same.
        options: of the engine.
    """
    ours = {
        # One process schedules and computes, so the same requests make the same batches.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the threads below, on any core
        "VLLM_NO_USAGE_STATS": "1",
    }
    if cpu_build() and options.get("enforce_eager", True):
        # The first log-likelihood would compile a function, which takes a compiler and seconds.
        ours["TORCH_COMPILE_DISABLE"] = "1"
    found = {**ours, **given, "OMP_NUM_THREADS": str(threads)}
    if allowed := given.get("VLLM_PLUGINS"):
        found["VLLM_PLUGINS"] = f"{allowed},{PLUGIN}"
    kind, _, number = device.partition(":")
    alone = not any(options.get(name, 1) != 1 for name in _SEVERAL)
    if kind == "cuda" and number and alone:
        visible = given.get("CUDA_VISIBLE_DEVICES", "")
        listed = [name.strip() for name in visible.split(",")] if visible else []
        found["CUDA_VISIBLE_DEVICES"] = listed[int(number)] if listed else number
    return found


def cpu_build() -> bool:
    """Whether the installed vLLM is for CPUs; its version says so, as vLLM itself sees it."""
    try:
        return "cpu" in version("vllm")
    except PackageNotFoundError:
        return False


def known_options() -> frozenset[str]:
    """The names of the options of the installed vLLM; none where they cannot be told.

    They are read from its source: importing it takes many seconds.
    """
    spec = find_spec("vllm")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "engine" / "arg_utils.py"
        if path.is_file():
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and node.name == "EngineArgs":
                    fields = (n.target for n in node.body if isinstance(n, ast.AnnAssign))
                    return frozenset(f.id for f in fields if isinstance(f, ast.Name))
    return frozenset()


def vllm_problems(evaluation: Evaluation) -> list[Problem]:
    """What keeps a recipe from being scored by vLLM, as far as it can be told before."""
    place: Place = ("search", "evaluation")
    problems = []
    if evaluation.backend == "vllm" and find_spec("vllm") is None:
        what = "the package vllm is not installed"
        hint = f"{pip_line('vllm')}, in an environment of its own; or backend: hf"
        problems.append(Problem((*place, "backend"), what, hint))
    options = evaluation.vllm or {}
    known = known_options()
    for name in options:
        at = (*place, "vllm", name)
        if name in _OURS:
            problems.append(Problem(at, f"{name} cannot be set here", _OURS[name]))
        elif known and name not in known:
            problems.append(Problem(at, f"vLLM has no option {name!r}", near(name, known)))
    if evaluation.max_length is not None and "max_model_len" in options:
        what = "max_model_len is evaluation.max_length by another name, and both are given"
        problems.append(Problem((*place, "vllm", "max_model_len"), what, "leave one of them out"))
    return problems

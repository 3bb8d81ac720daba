from importlib.util import find_spec
from pathlib import Path

import pytest

from mergekit_mo.evaluation import Evaluation
from mergekit_mo.vllm_options import (
    CPU_CACHE,
    engine_environment,
    engine_options,
    known_options,
    on_a_cpu,
    vllm_problems,
)

SOURCE = '''
class EngineArgs:
    """Arguments."""

    model: str = ""
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None

    def create(self) -> None:
        local: int = 1
'''


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with vLLM's options; importing it is an error."""
    folder = tmp_path / "vllm" / "engine"
    folder.mkdir(parents=True)
    (tmp_path / "vllm" / "__init__.py").write_text("raise RuntimeError", encoding="utf-8")
    (folder / "arg_utils.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("vllm")
def test_options_are_read_from_the_installed_vllm_without_importing_it() -> None:
    names = {"model", "tensor_parallel_size", "gpu_memory_utilization", "max_model_len"}
    assert known_options() == names


@pytest.mark.usefixtures("vllm")
def test_options_that_vllm_does_not_know_or_that_are_ours_are_refused_with_their_place() -> None:
    options = {"tensor_paralel_size": 2, "model": "x", "max_model_len": 64, "gpu": 1}
    found = vllm_problems(Evaluation(backend="vllm", vllm=options, max_length=128))
    place = ("search", "evaluation", "vllm")
    assert {(p.place, p.what) for p in found} == {
        ((*place, "tensor_paralel_size"), "vLLM has no option 'tensor_paralel_size'"),
        ((*place, "model"), "model cannot be set here"),
        ((*place, "gpu"), "vLLM has no option 'gpu'"),
        (
            (*place, "max_model_len"),
            "max_model_len is evaluation.max_length by another name, and both are given",
        ),
    }
    hints = {p.place[-1]: p.hint for p in found}
    assert "'tensor_parallel_size'" in hints["tensor_paralel_size"]
    assert hints["model"] == "it is each candidate's own"


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_a_backend_that_is_not_installed_is_refused_with_the_line_that_installs_it() -> None:
    (problem,) = vllm_problems(Evaluation(backend="vllm"))
    assert problem.place == ("search", "evaluation", "backend")
    assert problem.what == "the package vllm is not installed"
    assert "pip install 'mergekit-mo[vllm]'" in problem.hint
    assert vllm_problems(Evaluation(backend="auto")) == []


def test_the_recipes_options_reach_the_engine_and_take_the_place_of_ours() -> None:
    plain = engine_options(Evaluation(max_length=96), "bfloat16")
    assert plain == {"dtype": "bfloat16", "batch_size": "auto", "max_length": 96}
    said = Evaluation(vllm={"dtype": "float16", "tensor_parallel_size": 2})
    assert engine_options(said, "bfloat16")["dtype"] == "float16"
    assert engine_options(said, "bfloat16")["tensor_parallel_size"] == 2


def test_without_a_gpu_the_cache_is_small_and_nothing_is_compiled_unless_the_recipe_says() -> None:
    assert on_a_cpu({}, {}) == {"enforce_eager": True, "kv_cache_memory_bytes": CPU_CACHE}
    assert on_a_cpu({"enforce_eager": False}, {})["enforce_eager"] is False
    assert "kv_cache_memory_bytes" not in on_a_cpu({"gpu_memory_utilization": 0.2}, {})
    assert "kv_cache_memory_bytes" not in on_a_cpu({}, {"VLLM_CPU_KVCACHE_SPACE": "2"})


def test_what_the_user_has_set_stands_in_the_engines_environment() -> None:
    plain = engine_environment({}, 3, "cpu", {})
    assert plain["OMP_NUM_THREADS"] == "3"
    assert plain["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert "CUDA_VISIBLE_DEVICES" not in plain
    given = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_PLUGINS": "mine", "HOME": "/h"}
    found = engine_environment(given, 1, "cpu", {})
    assert found["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1"
    assert found["VLLM_PLUGINS"] == "mine,mergekit-mo", "else it could take no new weights"
    assert found["HOME"] == "/h"


def test_an_engine_gets_the_gpu_that_the_merge_stands_on() -> None:
    def visible(device: str, given: dict[str, str], **options: int) -> str | None:
        return engine_environment(given, 1, device, options).get("CUDA_VISIBLE_DEVICES")

    assert visible("cuda:1", {}) == "1"
    assert visible("cuda:1", {"CUDA_VISIBLE_DEVICES": "4, 6"}) == "6"
    assert visible("cuda", {}) is None
    assert visible("cuda:1", {}, tensor_parallel_size=2) is None


@pytest.mark.parametrize(
    ("build", "options", "compiles"),
    [("0.32.0", {}, True), ("0.32.0+cpu", {}, False), ("0.32.0+cpu", {"enforce_eager": 0}, True)],
)
def test_a_build_for_cpus_compiles_nothing_unless_the_recipe_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: str,
    options: dict[str, int],
    compiles: bool,
) -> None:
    metadata = tmp_path / f"vllm-{build}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {build}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    environment = engine_environment({}, 1, "cpu", options)
    assert ("TORCH_COMPILE_DISABLE" not in environment) is compiles

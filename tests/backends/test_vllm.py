"""The backend vllm, on an engine that holds no model: what it is handed, and what becomes of it.

The same promises are tested on vLLM itself in tests/vllm.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from mergekit_mo.backends._checkpoint import mark, roomy_folder, write_model
from mergekit_mo.backends._engine import EngineError, root_cause
from mergekit_mo.backends.vllm import Vllm
from mergekit_mo.evaluation import Evaluation
from mergekit_mo.testing.untrained import untrained
from tests.backends.processes import gone
from tests.backends.stand_in import weights_digest

STAND_IN = "tests.backends.stand_in"

Made = Callable[..., tuple[Any, Any, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Makes a model, its tokenizer and the digest of its weights on disk."""

    def make(kind: str = "llama", **settings: Any) -> tuple[Any, Any, str]:
        folder = untrained(tmp_path_factory.mktemp("model"), kind, **settings)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return AutoModelForCausalLM.from_pretrained(folder), tokenizer, weights_digest(folder)

    return make


@pytest.fixture
def backend() -> Iterator[Vllm]:
    found = Vllm(Evaluation(backend="vllm"), 1, program=STAND_IN)
    yield found
    found.close()


def request(prompt: str) -> Instance:
    return Instance("generate_until", {}, (prompt, {}), 0)


def weights_in(backend: Vllm, model: Any, tokenizer: Any) -> str:
    """The digest of the weights that the engine answers with."""
    likelihood = Instance("loglikelihood", {}, ("so", " what"), 0)
    answers = backend.respond(model, tokenizer, [request("why"), likelihood, request("how")])
    digest = answers[0].split()[-1]
    kinds = ["generate_until why", "loglikelihood so", "generate_until how"]
    assert answers == [f"{kind} {digest}" for kind in kinds]
    return str(digest)


def test_one_engine_takes_the_weights_of_one_model_after_another(backend: Vllm, made: Made) -> None:
    for seed in (0, 1, 0):
        model, tokenizer, digest = made(seed=seed)
        assert weights_in(backend, model, tokenizer) == digest
    assert backend.started == 1
    assert backend._engine is not None
    kept = [p.name for p in backend._engine.folder.glob("model/*")]
    assert sorted(kept) == ["config.json", "generation_config.json"], "weights are not kept twice"


def test_another_depth_or_architecture_wants_another_engine(backend: Vllm, made: Made) -> None:
    settings: list[dict[str, Any]] = [{}, {"layers": 3}, {"kind": "qwen2", "dtype": "bfloat16"}]
    for number, setting in enumerate(settings, start=1):
        model, tokenizer, digest = made(**setting)
        before = backend._engine
        assert weights_in(backend, model, tokenizer) == digest
        assert backend.started == number
        assert before is None or (gone(before.pid) and not before.folder.exists())


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("raise", "RuntimeError: EngineCore encountered an issue (MemoryError: 3 GiB too few)"),
        ("die", "the engine's process ended with signal SIGKILL"),
    ],
)
def test_an_engine_that_fails_says_why_and_the_next_model_gets_a_new_one(
    backend: Vllm, made: Made, prompt: str, told: str
) -> None:
    model, tokenizer, digest = made()
    weights_in(backend, model, tokenizer)
    assert backend._engine is not None
    failed = backend._engine
    with pytest.raises(EngineError) as caught:
        backend.respond(model, tokenizer, [request(prompt)])
    assert str(caught.value) == f"vLLM: {told}"
    assert gone(failed.pid)
    assert not failed.folder.exists()
    assert weights_in(backend, model, tokenizer) == digest
    assert backend.started == 2


def test_an_engine_that_cannot_start_says_why(made: Made) -> None:
    backend = Vllm(Evaluation(backend="vllm", vllm={"seed": 13}), 1, program=STAND_IN)
    model, tokenizer, _ = made()
    with pytest.raises(EngineError, match="vLLM: ValueError: no luck with this seed"):
        backend.respond(model, tokenizer, [request("why")])
    missing = Vllm(Evaluation(backend="vllm"), 1, program="tests.backends.nowhere")
    with pytest.raises(EngineError, match="exit status 1"):
        missing.respond(model, tokenizer, [request("why")])


DRIVER = f"""
import os
import time
from pathlib import Path
from mergekit_mo.backends._engine import Engine
import sys
engine = Engine(Path(sys.argv[1]), os.environ, "{STAND_IN}")
print(engine.pid, engine.ask("children", None), flush=True)
time.sleep(600)
"""


def test_nothing_outlives_a_driver_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    folder.mkdir()
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    engine, child = map(int, driver.stdout.readline().split())
    os.kill(child, 0)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert gone(engine)
    assert gone(child)
    assert not folder.exists()


def test_the_mark_of_a_model_is_of_all_but_its_weights(tmp_path: Path, made: Made) -> None:
    marks = []
    for number, seed in enumerate((0, 1)):
        model, _, digest = made(seed=seed)
        write_model(model, tmp_path / str(number))
        assert weights_digest(tmp_path / str(number)) == digest
        marks.append(mark(tmp_path / str(number)))
    assert marks[0] == marks[1]
    model.generation_config.eos_token_id = [0, 5]
    write_model(model, tmp_path / "1")
    assert mark(tmp_path / "1") != marks[0], "other stops, other answers"


def test_generation_settings_are_written_though_transformers_would_refuse_them(
    tmp_path: Path, made: Made
) -> None:
    model, _, _ = made()
    strange = GenerationConfig(temperature=0.7, do_sample=False, eos_token_id=3)
    model.generation_config = strange
    write_model(model, tmp_path)
    written = json.loads((tmp_path / "generation_config.json").read_text("utf-8"))
    assert written["temperature"] == 0.7
    assert written["eos_token_id"] == 3
    assert model.generation_config is strange


def test_a_ram_disk_too_small_is_left_alone(tmp_path: Path) -> None:
    small, large = roomy_folder(10, tmp_path), roomy_folder(1 << 60, tmp_path)
    assert small.parent == tmp_path
    assert large.parent != tmp_path
    large.rmdir()


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("INFO 11-22 09:34:44 [a.py:1] all is well\n", ""),
        (
            "(EngineCore pid=5) ERROR 11-22 09:34:44 [core.py:9] Traceback (most recent call):\n"
            "(EngineCore pid=5) ERROR 11-22 09:34:44 [core.py:9]   File x\n"
            "(EngineCore pid=5) ERROR 11-22 09:34:44 [core.py:9] torch.OutOfMemoryError: CUDA out\n"
            "vllm.v1.EngineDeadError: EngineCore encountered an issue.\n",
            "torch.OutOfMemoryError: CUDA out",
        ),
        (
            "(EngineCore pid=5) ERROR 11-22 09:34:44 [multiproc_executor.py:315] Worker proc "
            "VllmWorker-0 died unexpectedly (exit code: -4), shutting down executor.\n"
            "(EngineCore pid=5) ERROR 11-22 09:34:44 [core.py:9] RuntimeError: cancelled\n",
            "Worker proc VllmWorker-0 died unexpectedly (exit code: -4), shutting down executor.",
        ),
    ],
)
def test_the_cause_of_a_failure_is_the_first_error_that_tells_of_no_other(
    log: str, cause: str
) -> None:
    assert root_cause(log) == cause

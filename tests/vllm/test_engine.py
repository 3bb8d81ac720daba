"""What the one file that touches an engine's weights promises, kept by vLLM itself."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergekit_mo.backends._engine import EngineError
from mergekit_mo.backends.vllm import Vllm
from mergekit_mo.evaluation import Evaluation
from mergekit_mo.testing.untrained import untrained
from tests.backends.processes import gone

WIDE = 128  # four heads of 32, the narrowest that vLLM's kernels for a CPU know
PROMPTS = ("def add", "the quick brown fox", "over the lazy", "return a", "jumps")
SHAPES: dict[str, dict[str, Any]] = {
    "float32": {"kind": "llama"},
    # Tied weights, biases and packed kernels: what a reload may leave behind.
    "bfloat16, tied": {"kind": "qwen2", "dtype": "bfloat16"},
}

Load = Callable[..., tuple[Any, Any]]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """A model with random biases, and its tokenizer."""

    def make(kind: str = "llama", seed: int = 0, **traits: Any) -> tuple[Any, Any]:
        at = tmp_path_factory.mktemp("model")
        folder = untrained(at, kind, hidden=WIDE, seed=seed, **traits)
        model = AutoModelForCausalLM.from_pretrained(folder)
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(seed)
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_()
        return model, AutoTokenizer.from_pretrained(folder)

    return make


def vllm() -> Vllm:
    return Vllm(Evaluation(backend="vllm", vllm={"max_model_len": 96}), 1)


@pytest.fixture(scope="module")
def live() -> Iterator[Vllm]:
    """One engine for as many tests as it can serve."""
    backend = vllm()
    yield backend
    backend.close()


def requests() -> list[Instance]:
    greedily = {"until": ["\n"], "do_sample": False, "max_gen_toks": 16}
    written = [Instance("generate_until", {}, (p, greedily), n) for n, p in enumerate(PROMPTS)]
    weighed = [Instance("loglikelihood", {}, (p, " over"), n) for n, p in enumerate(PROMPTS)]
    return [*written, *weighed]


def answers(backend: Vllm, model: Any, tokenizer: Any) -> list[Any]:
    return backend.respond(model, tokenizer, requests())


@pytest.mark.parametrize("shape", list(SHAPES))
def test_after_a_swap_an_engine_answers_as_one_that_was_started_on_the_model(
    load: Load, live: Vllm, shape: str
) -> None:
    traits = SHAPES[shape]
    first, second = load(seed=0, **traits), load(seed=1, **traits)
    fresh = vllm()
    truth = answers(fresh, *second)
    fresh.close()
    before = answers(live, *first)
    engines = live.started
    assert answers(live, *second) == truth
    assert answers(live, *first) == before != truth
    assert answers(live, *second) == truth, "nothing of earlier weights is left, in caches either"
    assert live.started == engines


def test_an_engine_that_cannot_start_says_why_in_its_own_words(load: Load) -> None:
    impossible = Vllm(Evaluation(backend="vllm", vllm={"max_model_len": 10**6}), 1)
    with pytest.raises(EngineError, match=r"max_model_len.*1000000"):
        answers(impossible, *load())


def test_an_engine_that_is_killed_is_replaced(load: Load, live: Vllm) -> None:
    model = load()
    before = answers(live, *model)
    assert live._engine is not None
    dead, engines = live._engine.pid, live.started
    os.kill(dead, signal.SIGKILL)
    with pytest.raises(EngineError, match="ended with signal SIGKILL"):
        answers(live, *model)
    assert gone(dead)
    assert answers(live, *model) == before
    assert live.started == engines + 1


DRIVER = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from mergekit_mo.backends.vllm import Vllm
from mergekit_mo.evaluation import Evaluation
backend = Vllm(Evaluation(backend="vllm"), 1)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
backend.take(model, AutoTokenizer.from_pretrained(sys.argv[1]))
print("engine", backend._engine.pid, backend._engine.folder, flush=True)
input()
"""


def test_nothing_outlives_a_driver_that_is_killed(tmp_path: Path) -> None:
    folder = untrained(tmp_path / "model", hidden=WIDE)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert driver.stdout is not None
    _, engine, files = next(li for li in driver.stdout if li.startswith("engine")).split()
    group = [p.parent.name for p in Path("/proc").glob("[0-9]*/stat") if in_group(p, engine)]
    assert engine in group
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert all(gone(int(pid)) for pid in group)
    assert not Path(files).exists()


def in_group(stat: Path, leader: str) -> bool:
    try:
        return stat.read_text("utf-8").rpartition(")")[2].split()[2] == leader
    except OSError:
        return False

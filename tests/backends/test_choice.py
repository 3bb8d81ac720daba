from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from mergekit_mo.backends.choice import LIVE, Chosen, choose
from mergekit_mo.backends.vllm import Vllm
from mergekit_mo.evaluation import Evaluation
from mergekit_mo.identity import check_folder, open_run
from mergekit_mo.preflight import prepare
from mergekit_mo.problems import UserError
from tests.toy import FLAGS, Toy

AUTO = Evaluation(backend="auto")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package called vllm, whatever is in it."""
    if find_spec("vllm") is None:
        (tmp_path / "vllm").mkdir()
        (tmp_path / "vllm" / "__init__.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path))


def test_a_backend_that_is_named_is_taken_without_a_word() -> None:
    assert choose(Evaluation(), "cuda", generates=True) == LIVE
    assert choose(Evaluation(backend="vllm"), "cpu", generates=False) == Chosen("vllm")
    assert str(Chosen("vllm")) == "vllm"


@pytest.mark.usefixtures("installed")
def test_auto_leaves_likelihoods_and_cpus_to_transformers_and_says_so() -> None:
    quiet = choose(AUTO, "cuda", generates=False)
    assert str(quiet) == "hf, since no task has models write text"
    small = choose(Evaluation(backend="auto", load_in="4bit"), "cuda", generates=True)
    assert str(small) == "hf, since merges are loaded in 4bit"
    slow = choose(AUTO, "cpu", generates=True)
    assert str(slow) == "hf, since the device is cpu, and vLLM is for CUDA and ROCm"
    assert choose(AUTO, "cuda:1", generates=True).name == "vllm"


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_auto_says_how_to_install_what_it_would_have_taken() -> None:
    without = choose(AUTO, "cuda", generates=True)
    assert str(without) == "hf, since vllm is not installed (pip install 'mergekit-mo[vllm]')"


def test_the_chosen_backend_is_made_for_the_run() -> None:
    assert LIVE.made(AUTO, 1) is None
    made = Chosen("vllm").made(Evaluation(backend="vllm"), 3, trust_remote_code=True)
    assert isinstance(made, Vllm)
    assert (made.threads, made.trust_remote_code, made.started) == (3, True, 0)


def test_a_run_keeps_its_backend(toy: Toy, tmp_path: Path) -> None:
    ready = prepare(toy.recipe("kept"), FLAGS)
    open_run(ready, tmp_path, resume=False).close()
    check_folder(ready, tmp_path, resume=True)
    with pytest.raises(UserError, match=r"backend \(hf then, vllm now\)"):
        check_folder(replace(ready, backend=Chosen("vllm")), tmp_path, resume=True)

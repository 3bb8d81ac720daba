from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from mergekit_mo.backends import hf
from mergekit_mo.backends.hf import Transformers, no_bars
from mergekit_mo.prefixes import Limits
from mergekit_mo.sharing import longest_shared, shares

Make = Callable[..., Path]

LONGEST = 96
LIMITS = Limits(row=40, stretch=1.0, gain=0.9, root=20)  # small, so that small tests have roots
WORDS = ("the", "quick", "brown", "fox", "jumps", "a", "lazy", "dog", "def", "add", "return")
MORE: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "qwen3": {"head_dim": 8},
    "gpt2": {},
    "gemma2": {"head_dim": 8, "sliding_window": 128},
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 64},
    "window": {"sliding_window": 16},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2},
    "mamba": {"state_size": 4},
}
SHARING = {"llama", "mistral", "qwen3", "gpt2", "gemma2", "opt"}


@pytest.fixture(scope="module")
def tokenizer(model: Make) -> Any:
    return AutoTokenizer.from_pretrained(model())


@pytest.fixture(scope="module")
def of_kind(tokenizer: Any) -> Callable[[str], Any]:
    """An untrained model of a kind, made once; the context moves its answers."""
    made: dict[str, Any] = {}

    def make(kind: str) -> Any:
        if kind not in made:
            shape = {
                "vocab_size": len(tokenizer),
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "max_position_embeddings": 256,
                "pad_token_id": tokenizer.pad_token_id,
            }
            name = "mistral" if kind == "window" else kind
            config = AutoConfig.for_model(name, **{"sliding_window": None, **shape, **MORE[kind]})
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = AutoModelForCausalLM.from_config(config).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim > 1:
                        parameter.mul_(4)
            made[kind] = model
        return made[kind]

    return make


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf, "Limits", lambda: LIMITS)


def ask(context: str, continuation: str | None = None) -> Instance:
    kind = "loglikelihood" if continuation is not None else "loglikelihood_rolling"
    arguments = (context,) if continuation is None else (context, continuation)
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def requests() -> list[Instance]:
    """Four answers to each of some questions after one block, and whatever else is strange."""
    draw = random.Random(0)

    def text(count: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(count))

    block = text(8)
    found = []
    for question in (f"{block}\n{text(2 + i % 3)}" for i in range(6)):
        answers = [" a", " a lazy", *(f" {text(2)}" for _ in range(3))]  # one begins another
        found += [ask(question, answer) for answer in answers]
    found += [ask(text(60), " " + text(2)) for _ in range(2)]  # cut off at the left
    found += [ask("", text(2)), ask("", "<|endoftext|> a"), ask(text(2) + " ", text(1))]
    found += [found[0]]  # twice
    return found + [ask(text(count)) for count in (3, 60, 90)]  # the longest in several windows


def answers_of_lm_eval(model: Any, tokenizer: Any, asked: list[Instance]) -> list[Any]:
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3, max_length=LONGEST)
    found: list[Any] = []
    with no_bars():
        for request in asked:
            found += getattr(lm, request.request_type)([request], disable_tqdm=True)
    return found


def assert_same(found: list[Any], expected: list[Any], tolerance: float = 1e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        value, truth = (one, other) if isinstance(one, float) else (one[0], other[0])
        assert value == pytest.approx(truth, rel=tolerance, abs=tolerance)
        if not isinstance(one, float):
            assert one[1] == other[1]


def calls(backend: Transformers) -> Iterator[Any]:
    for plan, _ in backend._plans.values():
        yield from plan.calls


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("kind", MORE)
def test_every_likelihood_is_that_of_lm_eval(
    kind: str, of_kind: Callable[[str], Any], tokenizer: Any
) -> None:
    model, asked = of_kind(kind), requests()
    backend = Transformers(batch_size=4, max_length=LONGEST)
    found = backend.respond(model, tokenizer, asked)
    assert_same(found, answers_of_lm_eval(model, tokenizer, asked))
    assert len({round(one[0], 3) for one in found if isinstance(one, tuple)}) > 20
    roots = {call.keeps for call in calls(backend)} - {-1}
    assert bool(roots) == (kind in SHARING)
    assert any(call.ends is not None for call in calls(backend)) == (kind in SHARING)


@pytest.mark.parametrize("kind", MORE)
def test_models_that_cannot_share_are_found_out(kind: str, of_kind: Callable[[str], Any]) -> None:
    model = of_kind(kind)
    assert (shares(model) and longest_shared(model.config) > LONGEST) == (kind in SHARING)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_batch_size_changes_nothing_beyond_rounding(
    size: int, of_kind: Callable[[str], Any], tokenizer: Any
) -> None:
    model, asked = of_kind("llama"), requests()
    found = Transformers(size, LONGEST).respond(model, tokenizer, asked)
    assert_same(found, Transformers(4, LONGEST).respond(model, tokenizer, asked), 1e-6)


@pytest.mark.usefixtures("small_limits")
def test_bfloat16_is_near_and_rounded_as_lm_eval_rounds(
    of_kind: Callable[[str], Any], tokenizer: Any, model: Make
) -> None:
    coarse = AutoModelForCausalLM.from_config(of_kind("llama").config).to(torch.bfloat16).eval()
    coarse.load_state_dict(of_kind("llama").state_dict())
    asked = [request for request in requests() if request.request_type == "loglikelihood"]
    found = Transformers(4, LONGEST).respond(coarse, tokenizer, asked)
    expected = answers_of_lm_eval(coarse, tokenizer, asked)
    for (value, _), (truth, _) in zip(found, expected, strict=True):
        assert value == pytest.approx(truth, rel=0.03, abs=0.1)
        assert float(torch.tensor(value, dtype=torch.bfloat16)) == value


def test_a_context_is_computed_once_for_its_answers(
    of_kind: Callable[[str], Any], tokenizer: Any
) -> None:
    context = " ".join(WORDS * 3)
    asked = [ask(context, f" {word} {word}") for word in ("fox", "dog", "def", "add")]
    backend = Transformers(4, 256)
    backend.respond(of_kind("llama"), tokenizer, asked)
    (call,) = calls(backend)
    length = len(tokenizer.encode(context))
    assert length < call.tokens.numel() < 1.5 * length


def test_plans_and_tokens_are_made_once_for_equal_tokenizers(
    of_kind: Callable[[str], Any], tokenizer: Any, model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, backend = requests(), Transformers(4, LONGEST)
    first = backend.respond(of_kind("llama"), tokenizer, asked)
    other = AutoTokenizer.from_pretrained(model())
    monkeypatch.setattr(hf, "plan_parts", None)
    monkeypatch.setattr(hf, "_encoded", None)
    assert backend.respond(of_kind("llama"), other, asked) == first


def test_neither_model_nor_hook_stays_behind(tokenizer: Any, model: Make) -> None:
    subject = AutoModelForCausalLM.from_pretrained(model(seed=4)).eval()
    backend = Transformers(4, LONGEST)
    backend.respond(subject, tokenizer, requests())
    assert not subject.get_output_embeddings()._forward_pre_hooks
    alive = weakref.ref(subject)
    del subject
    gc.collect()
    assert alive() is None


def test_an_answer_without_tokens_is_refused(of_kind: Callable[[str], Any], tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="an answer has no tokens"):
        Transformers(4, LONGEST).respond(of_kind("llama"), tokenizer, [ask("the", "")])

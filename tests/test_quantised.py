"""Scores of quantised merges, on bitsandbytes' own kernels for the processor."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mergekit_mo.archive import Archive
from mergekit_mo.evaluation import LoadIn
from mergekit_mo.preflight import prepare
from mergekit_mo.problems import RecipeError
from mergekit_mo.quantised import obstacle, quantised
from tests.conftest import Make
from tests.toy import FLAGS, Toy, run

pytest.importorskip("bitsandbytes")


@pytest.mark.parametrize("how", ["4bit", "8bit"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_it_is_the_model_that_transformers_loads_so(model: Make, kind: str, how: LoadIn) -> None:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    folder = model(kind, hidden=64)
    whole = AutoModelForCausalLM.from_pretrained(folder)
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    settings = (
        BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
        )
        if how == "4bit"
        else BitsAndBytesConfig(load_in_8bit=True)
    )
    loaded = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=settings, dtype=torch.float32
    )
    loaded.requires_grad_(False)  # else bitsandbytes takes other kernels
    found = quantised(whole, how, "cpu")
    tokens = torch.tensor([[5, 6, 7, 8, 9]])
    assert torch.equal(found(tokens).logits, loaded(tokens).logits)
    assert not torch.equal(found(tokens).logits, whole(tokens).logits)
    assert all(torch.equal(tensor, before[n]) for n, tensor in whole.state_dict().items())
    assert not found.training


def test_a_search_scores_the_quantised_merge_and_says_so(
    toy: Toy, model: Make, tmp_path: Path
) -> None:
    found = {}
    weight = {"value": 0.5, "low": 0, "high": 1}
    other = {"model": str(model(hidden=64, seed=1)), "parameters": {"weight": weight}}
    for name, extra in (("whole", {}), ("coarse", {"load_in": "4bit"})):
        recipe = toy.recipe(
            name,
            method="task_arithmetic",
            models=[other],
            head={"base_model": str(model(hidden=64, seed=0))},
            objectives=[{"task": "tasks/bits.yaml"}, "sparsity", "parameters"],
            evaluation={"limit": 8, "holdout": 4, **extra},
            budget=1,
        )
        run(recipe, tmp_path / name)
        with Archive.open(tmp_path / name, read_only=True) as archive:
            assert all(t.status == "done" for t in archive.trials)
            found[name] = archive.candidates[0]
    whole, coarse = found["whole"], found["coarse"]
    assert coarse.digest == whole.digest
    assert coarse.scores["toy_bits"].value != whole.scores["toy_bits"].value
    assert coarse.scores["toy_bits"].value == pytest.approx(whole.scores["toy_bits"].value, 0.05)
    for goal in ("sparsity", "parameters"):
        assert coarse.scores[goal] == whole.scores[goal]
    header = next((tmp_path / "coarse" / "front").glob("*.yaml")).read_text()
    assert "model quantised to 4 bits (bitsandbytes, NF4) after the merge" in header
    assert "quantised" not in next((tmp_path / "whole" / "front").glob("*.yaml")).read_text()


def test_what_cannot_run_is_told_with_its_place(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    what, hint = obstacle("8bit", "cuda:99")
    assert what.startswith("bitsandbytes cannot run in 8bit on cuda:99: ")
    assert hint == "leave load_in: out"
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else known(name)
    )
    recipe = toy.recipe("bitless", objectives=["sparsity"], evaluation={"load_in": "4bit"})
    with pytest.raises(RecipeError) as caught:
        prepare(recipe, FLAGS)
    told = str(caught.value)
    assert "search.evaluation.load_in: 4bit needs the package bitsandbytes" in told
    assert "pip install 'mergekit-mo[quantised]'" in told
    wrong = toy.recipe("bits_of_3", objectives=["sparsity"], evaluation={"load_in": "3bit"})
    with pytest.raises(RecipeError, match="load_in: expected 4bit or 8bit, got '3bit'"):
        prepare(wrong, FLAGS)

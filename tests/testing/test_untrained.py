"""Untrained folders load, differ by seed alone, and take the shape they are asked for."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergekit_mo.testing import untrained

KINDS = ("llama", "mistral", "qwen2", "gpt2")


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights in a folder, in the type they were saved in."""
    return dict(AutoModelForCausalLM.from_pretrained(folder, dtype="auto").state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_siblings_differ_in_weights_alone(tmp_path: Path, kind: str) -> None:
    first = _weights(untrained(tmp_path / "a", kind))
    again = _weights(untrained(tmp_path / "b", kind))
    other = _weights(untrained(tmp_path / "c", kind, seed=1))
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    assert {n: w.shape for n, w in first.items()} == {n: w.shape for n, w in other.items()}
    assert any(not torch.equal(weight, other[name]) for name, weight in first.items())
    assert AutoTokenizer.from_pretrained(tmp_path / "a").decode([40, 41])


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_is_near_its_base(tmp_path: Path, kind: str) -> None:
    base = untrained(tmp_path / "base", kind)
    child = _weights(untrained(tmp_path / "child", kind, seed=1, base=base))
    gaps = [float((w - child[name]).abs().max()) for name, w in _weights(base).items()]
    assert 0 < max(gaps) < 0.1


def test_shards_have_an_index(tmp_path: Path) -> None:
    untrained(tmp_path, shards=3)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) >= 3


@pytest.mark.parametrize("tied", [True, False])
def test_shape_and_type_are_as_asked(tmp_path: Path, tied: bool) -> None:
    untrained(tmp_path, layers=3, hidden=16, vocab=320, tied=tied, dtype="bfloat16")
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert model.dtype == torch.bfloat16
    assert len(model.model.layers) == 3
    assert model.get_input_embeddings().weight.shape == (320, 16)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied


def test_qwen2_is_tied_and_tells_its_layers(tmp_path: Path) -> None:
    config = json.loads((untrained(tmp_path, "qwen2") / "config.json").read_text())
    assert config["tie_word_embeddings"] is True
    assert config["layer_types"] == ["full_attention"] * 2


def test_global_chance_is_left_as_it_was(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    untrained(tmp_path)
    assert torch.equal(before, torch.get_rng_state())

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from mergekit_mo.digests import combined_digest, folder_digest, tensor_digest
from mergekit_mo.resident import (
    Collected,
    DistanceTo,
    IntoModel,
    MergeError,
    Resident,
    Tensors,
    generation_config,
)

Make = Callable[..., Path]


class Sink(Tensors):
    """Takes everything and keeps nothing."""

    def take(self, name: str, tensor: torch.Tensor) -> None:
        pass


def built(folder: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """A resident model of a folder's shape, and the folder's tensors."""
    model = Resident("cpu").prepare(AutoConfig.from_pretrained(folder), torch.float32)
    return model, load_file(folder / "model.safetensors")


def pour(tensors: dict[str, torch.Tensor], into: Tensors) -> None:
    for name, tensor in tensors.items():
        into.save_tensor(name, tensor)
    into.finalize()


def test_a_digest_tells_name_dtype_shape_and_bytes_apart() -> None:
    plain = torch.arange(6, dtype=torch.float32)
    changed = plain.clone()
    changed[3] = torch.nextafter(changed[3], torch.tensor(9.0))
    digests = [
        tensor_digest("a", plain),
        tensor_digest("b", plain),
        tensor_digest("a", plain.reshape(2, 3)),
        tensor_digest("a", plain.view(torch.int32)),
        tensor_digest("a", changed),
    ]
    assert len(set(digests)) == len(digests)
    assert tensor_digest("a", plain.reshape(2, 3).T.contiguous().T) == digests[2]
    assert tensor_digest("a", torch.tensor(1.5)) != tensor_digest("a", torch.tensor([1.5]))


def test_the_order_of_arrival_does_not_change_the_digest() -> None:
    one, other = Sink(), Sink()
    names = {name: torch.rand(3) for name in "abc"}
    pour(names, one)
    pour(dict(reversed(names.items())), other)
    assert one.digest == other.digest
    assert one.digest == combined_digest({n: tensor_digest(n, t) for n, t in names.items()})


def test_shards_do_not_change_the_digest(model: Make) -> None:
    whole, sharded = model(seed=0), model(seed=0, shards=3)
    assert len(list(sharded.glob("*.safetensors"))) > 1
    assert folder_digest(whole) == folder_digest(sharded)
    assert folder_digest(whole) != folder_digest(model(seed=1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_refused_by_name(value: float) -> None:
    with pytest.raises(MergeError, match="the merged lm_head has values that are not finite"):
        Sink().save_tensor("lm_head", torch.tensor([0.0, value]))
    Sink().save_tensor("positions", torch.arange(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finite_values_pass_even_where_their_sum_is_none(dtype: torch.dtype) -> None:
    Sink().save_tensor("lm_head", torch.full((9,), torch.finfo(dtype).max, dtype=dtype))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_tensors_poured_into_a_model_make_it_the_loaded_one(kind: str, model: Make) -> None:
    resident, tensors = built(model(kind))
    receiver = IntoModel(resident)
    pour(tensors, receiver)
    loaded = AutoModelForCausalLM.from_pretrained(model(kind))
    ids = torch.arange(20)[None]
    assert receiver.strange == []
    assert receiver.digest == folder_digest(model(kind))
    assert torch.equal(resident(ids).logits, loaded(ids).logits)


def test_a_tied_name_is_not_written_twice(model: Make) -> None:
    resident, tensors = built(model("qwen2"))
    receiver = IntoModel(resident)
    rows = tensors["model.embed_tokens.weight"]
    pour({**tensors, "lm_head.weight": torch.zeros_like(rows)}, receiver)
    assert torch.equal(resident.lm_head.weight, rows)
    assert receiver.strange == []


def test_a_merge_that_lacks_a_parameter_is_refused(model: Make) -> None:
    resident, tensors = built(model())
    del tensors["model.norm.weight"]
    with pytest.raises(MergeError, match=r"the merge has no model\.norm\.weight"):
        pour(tensors, IntoModel(resident))


def test_a_tensor_of_another_shape_is_refused(model: Make) -> None:
    resident, _ = built(model())
    with pytest.raises(MergeError, match=r"norm.weight has the shape \(7,\), where .* \(32,\)"):
        IntoModel(resident).save_tensor("model.norm.weight", torch.ones(7))


def test_names_of_a_checkpoint_that_are_not_the_modules_are_converted(
    model: Make, tmp_path: Path
) -> None:
    config = AutoConfig.for_model(
        "mixtral",
        **{"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 2},
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    resident, tensors = built(tmp_path)
    receiver, collected = IntoModel(resident), Collected()
    pour(tensors, receiver)
    assert any("experts" in name for name in receiver.strange)
    pour(tensors, collected)
    state = collected.build(AutoConfig.from_pretrained(tmp_path), torch.float32).state_dict()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert state.keys() == loaded.keys()
    assert all(torch.equal(state[name], loaded[name]) for name in loaded)


def test_the_module_is_made_again_only_for_another_shape_or_dtype(model: Make) -> None:
    resident = Resident("cpu")
    config = AutoConfig.from_pretrained(model())
    first = resident.prepare(config, torch.float32)
    assert resident.prepare(AutoConfig.from_pretrained(model()), torch.float32) is first
    half = resident.prepare(AutoConfig.from_pretrained(model()), torch.bfloat16)
    assert half.dtype == torch.bfloat16
    deeper = resident.prepare(AutoConfig.from_pretrained(model(layers=3)), torch.bfloat16)
    assert deeper.config.num_hidden_layers == 3
    assert not deeper.training
    assert not any(p.requires_grad for p in deeper.parameters())


def test_a_module_made_elsewhere_is_not_written_into(model: Make) -> None:
    resident = Resident("cpu")
    other = AutoModelForCausalLM.from_pretrained(model())
    assert resident.replace(other) is other
    assert resident.model is other
    assert resident.prepare(AutoConfig.from_pretrained(model()), torch.float32) is not other


def test_the_distance_counts_each_parameter_once(model: Make) -> None:
    resident, tensors = built(model("qwen2"))
    pour(tensors, IntoModel(resident))
    moved = {name: tensor + 0.5 for name, tensor in tensors.items()}
    distance = DistanceTo(resident)
    pour({**moved, "lm_head.weight": moved["model.embed_tokens.weight"]}, distance)
    numbers = sum(p.numel() for p in resident.parameters())
    assert distance.total == pytest.approx(0.5 * numbers, rel=1e-6)


def test_there_is_no_distance_from_another_shape_or_from_less(model: Make) -> None:
    resident, tensors = built(model())
    with pytest.raises(MergeError, match="another shape in the base"):
        DistanceTo(resident).save_tensor("model.norm.weight", torch.ones(7))
    del tensors["model.norm.weight"]
    with pytest.raises(MergeError, match=r"the base has no model\.norm\.weight"):
        pour(tensors, DistanceTo(resident))


@pytest.mark.parametrize("donated", [True, False])
def test_generation_settings_are_those_that_are_loaded_from_the_folder(
    donated: bool, model: Make, tmp_path: Path
) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(model())
    loaded.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    if donated:
        text = json.dumps({"repetition_penalty": 1.3, "max_new_tokens": 5})
        (tmp_path / "generation_config.json").write_text(text)
    found = generation_config(loaded.config, tmp_path if donated else None)
    expected = AutoModelForCausalLM.from_pretrained(tmp_path).generation_config
    assert found.to_dict() == expected.to_dict()


def test_a_spread_model_takes_weights_and_answers_as_one_in_one_place_does(model: Make) -> None:
    folder = model("llama")
    plain, tensors = built(folder)
    config = AutoConfig.from_pretrained(folder)
    spread: Any = Resident("cpu", spread=True).prepare(config, torch.float32)
    assert hasattr(spread.model.layers[0], "_hf_hook")
    for one in (plain, spread):
        pour(tensors, IntoModel(one))
    ids = torch.arange(12).reshape(1, 12)
    assert torch.equal(spread(ids).logits, plain(ids).logits)

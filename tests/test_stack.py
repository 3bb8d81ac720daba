"""Walks over a merge and its sources: mergekit's own bits, and nothing merged twice."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mergekit_mo.digests import folder_digest, tensor_digest
from mergekit_mo.layers import MERGE, Walk
from mergekit_mo.merging import Merged, Merger, as_it_is
from mergekit_mo.options import MergeFlags
from mergekit_mo.planning import merge_options
from mergekit_mo.resident import MergeError
from mergekit_mo.slicing import documents, in_one

Config = dict[str, Any]
Make = Callable[..., Path]
DEPTH = 3


@pytest.fixture(scope="module")
def merger(model: Make) -> Merger:
    return Merger(MergeFlags(), "cpu")


@pytest.fixture(scope="module")
def trio(model: Make) -> Callable[..., list[str]]:
    """A base and two models, with values that arithmetic would not leave alone."""

    def make(kind: str = "llama", **traits: Any) -> list[str]:
        folders = [model(kind, layers=DEPTH, seed=seed, **traits) for seed in range(3)]
        for folder in folders:
            spoil(folder / "model.safetensors")
        return [str(folder) for folder in folders]

    return make


def spoil(path: Path) -> None:
    """Puts in -0 and a value far smaller than its neighbours."""
    tensors = load_file(path)
    for tensor in tensors.values():
        if tensor.ndim == 2:
            tensor[0, 0], tensor[0, 1] = -0.0, 1e-9
    save_file(tensors, path, metadata={"format": "pt"})


def two(method: str, sources: list[str], **rest: Any) -> Config:
    base, one, other = sources
    gradient = {"weight": [0.2, 0.9], "density": [{"filter": "mlp", "value": [0.3, 0.8]}]}
    models = [
        {"model": one, "parameters": gradient},
        {"model": other, "parameters": {"weight": 0.4, "density": 0.6}},
    ]
    return {"merge_method": method, "base_model": base, "models": models, **rest}


def even(method: str, sources: list[str], **rest: Any) -> Config:
    models = [{"model": s, "parameters": {"weight": 0.3 + i}} for i, s in enumerate(sources)]
    return {"merge_method": method, "models": models, **rest}


CONFIGS: dict[str, Callable[[list[str]], Config]] = {
    "ties": lambda s: two("ties", s, parameters={"lambda": [0.5, 1.5]}),
    "ties in half": lambda s: two("ties", s, dtype="float32", out_dtype="bfloat16"),
    "task_arithmetic": lambda s: two("task_arithmetic", s, dtype="bfloat16"),
    "breadcrumbs": lambda s: two("breadcrumbs", s),
    "sce": lambda s: {**two("sce", s), "models": [{"model": m} for m in s[1:]]},
    "linear": lambda s: even("linear", s),
    "linear in half": lambda s: even("linear", s, dtype="bfloat16"),
    "karcher": lambda s: {"merge_method": "karcher", "models": [{"model": m} for m in s]},
    "slerp": lambda s: {
        "merge_method": "slerp",
        "base_model": s[0],
        "models": [{"model": m} for m in s[:2]],
        "parameters": {"t": [{"filter": "attn", "value": [0, 1]}, {"value": [0.2, 0.4]}]},
    },
    "slices": lambda s: {
        "merge_method": "slerp",
        "base_model": s[0],
        "slices": [
            {
                "sources": [{"model": m, "layer_range": [0, 2]} for m in s[:2]],
                "parameters": {"t": [0.1, 0.8]},
            },
            {"sources": [{"model": m, "layer_range": [2, 3]} for m in s[:2]]},
        ],
        "parameters": {"t": 0.5},
    },
    "passthrough": lambda s: {
        "merge_method": "passthrough",
        "slices": [
            {"sources": [{"model": s[0], "layer_range": [0, 2]}]},
            {"sources": [{"model": s[1], "layer_range": [2, 3]}]},
        ],
        "parameters": {"scale": 0.9},
        "base_model": s[0],
    },
    "dare_ties": lambda s: two("dare_ties", s, dtype="float32", out_dtype="bfloat16"),
    "della": lambda s: even("della", s[1:], base_model=s[0]),
    "arcee_fusion": lambda s: {
        "merge_method": "arcee_fusion",
        "base_model": s[0],
        "models": [{"model": m} for m in s[:2]],
    },
    "a vocabulary of their own": lambda s: even("linear", s, tokenizer={"source": "union"}),
    "a filter with a number": lambda s: two(
        "ties", s, parameters={"lambda": [{"filter": "layers.1.", "value": 0.5}]}
    ),
}


def walks(sources: list[str]) -> dict[str, Walk]:
    base, one, *_ = sources
    return {
        "straight": tuple((MERGE, i) for i in range(DEPTH)),
        "swapped": ((one, 0), (MERGE, 1), (base, 2)),
        "all another's": tuple((one, i) for i in range(DEPTH)),
        "skipped": ((MERGE, 0), (MERGE, 2)),
        "repeated": ((MERGE, 0), (one, 1), (one, 1), (MERGE, 1), (MERGE, 2)),
    }


def written(config: Config, walk: Walk, folder: Path) -> Path:
    """What mergekit makes of the documents, one after the other."""
    parts = documents(config, walk, DEPTH, name=str(folder / "first"))
    for part, name in zip(parts, ("first", "second") if len(parts) > 1 else ("one",), strict=True):
        plain = {key: value for key, value in part.items() if key != "name"}
        merge = MergeConfiguration.model_validate(deepcopy(plain))
        run_merge(merge, str(folder / name), merge_options(MergeFlags(), "cpu"))
    return folder / name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_walk_is_what_mergekit_writes(
    name: str, dtype: str, merger: Merger, trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    sources = trio(dtype=dtype)
    config = CONFIGS[name](sources)
    listed = [source for source in sources if source in str(config)]
    for label, walk in walks(listed).items():
        merged = merger.merge(config, walk)
        out = written(config, walk, tmp_path / label)
        assert merged.digest == folder_digest(out), label
        loaded = AutoModelForCausalLM.from_pretrained(out)
        assert merged.model.dtype == loaded.dtype
        same(merged.model, loaded)


def same(one: Any, other: Any) -> None:
    state, expected = one.state_dict(), other.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    ids = torch.arange(20)[None]
    assert torch.equal(one(ids).logits, other(ids).logits)
    assert one.generation_config.to_dict() == other.generation_config.to_dict()


@pytest.mark.parametrize("tied", [True, False])
def test_kinds_and_tied_embeddings_are_written_where_the_depth_stays(
    tied: bool, merger: Merger, trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    sources = trio("qwen2", tied=tied, dtype="bfloat16")
    for name in ("ties", "dare_ties"):
        config = CONFIGS[name](sources)
        walk = walks(sources)["swapped"]
        merged = merger.merge(config, walk)
        out = written(config, walk, tmp_path / name)
        assert merged.digest == folder_digest(out)
        same(merged.model, AutoModelForCausalLM.from_pretrained(out))


def test_the_kinds_of_layers_follow_the_walk(merger: Merger, model: Make, tmp_path: Path) -> None:
    import json

    sources = [tmp_path / str(seed) for seed in range(2)]
    kinds = ["sliding_attention", "full_attention", "full_attention"]
    for seed, source in enumerate(sources):
        shutil.copytree(model("qwen2", layers=DEPTH, seed=seed), source)
        config = json.loads((source / "config.json").read_text())
        config |= {"use_sliding_window": True, "sliding_window": 4, "layer_types": kinds}
        (source / "config.json").write_text(json.dumps(config))
        kinds = kinds[::-1]
    one, other = map(str, sources)
    merge = even("linear", [one, other], base_model=one)
    merged = merger.merge(merge, ((MERGE, 0), (other, 0), (MERGE, 0), (other, 2)))
    found = merged.model.config
    assert found.layer_types == [
        "sliding_attention", "full_attention", "sliding_attention", "sliding_attention",
    ]  # fmt: skip
    assert found.num_hidden_layers == 4


def test_another_walk_over_a_merge_merges_nothing(
    trio: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    merger, sources = Merger(MergeFlags(), "cpu"), trio()
    runs: list[Any] = []
    run = merger._run

    def counted(plan: Any, tensors: Any) -> None:
        runs.append(plan)
        run(plan, tensors)

    monkeypatch.setattr(merger, "_run", counted)
    config = CONFIGS["dare_ties"](sources)
    digests = [merger.merge(config, walk).digest for walk in walks(sources).values()]
    assert len(runs) == 1
    assert len(set(digests)) == len(digests)
    again = [merger.merge(deepcopy(config), walk).digest for walk in walks(sources).values()]
    assert (again, len(runs)) == (digests, 1)
    merger.merge(CONFIGS["ties"](sources), walks(sources)["straight"])
    assert len(runs) == 2


def test_a_merge_between_does_not_spoil_what_is_kept(
    merger: Merger, trio: Callable[..., list[str]]
) -> None:
    sources = trio()
    config, walk = CONFIGS["ties"](sources), walks(sources)["repeated"]
    before = merger.merge(config, walk).digest
    merger.merge(as_it_is(sources[1]))
    merger.merge(config)
    assert merger.merge(config, walk).digest == before


def test_the_straight_walk_is_the_merge(merger: Merger, trio: Callable[..., list[str]]) -> None:
    sources = trio()
    for make in CONFIGS.values():
        config = make(sources)
        walked = merger.merge(config, walks(sources)["straight"]).digest
        assert merger.merge(config).digest == walked


def test_the_module_is_made_anew_only_where_the_depth_changes(
    merger: Merger, trio: Callable[..., list[str]]
) -> None:
    sources = trio()
    config, found = CONFIGS["ties"](sources), walks(sources)

    def module(name: str) -> Any:
        merged: Merged = merger.merge(config, found[name])
        return merged.model

    first = module("straight")
    assert module("swapped") is first
    assert module("all another's") is first
    shorter = module("skipped")
    assert shorter is not first
    assert shorter.config.num_hidden_layers == 2
    assert module("straight") is first  # small ones are kept
    assert module("skipped") is shorter


def test_a_kept_module_holds_nothing_of_its_last_walk(
    merger: Merger, trio: Callable[..., list[str]]
) -> None:
    sources = trio()
    config, found = CONFIGS["ties"](sources), walks(sources)
    alone = merger.anew().merge(config, found["swapped"]).model.state_dict()
    for name in ("straight", "skipped", "swapped"):
        again: Any = merger.merge(config, found[name]).model
    own = again.state_dict()
    assert all(torch.equal(own[name], value) for name, value in alone.items())


def test_large_modules_are_not_kept(
    merger: Merger, trio: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mergekit_mo.resident._SHELF", 1000)
    sources = trio()
    config, found = CONFIGS["ties"](sources), walks(sources)
    held = weakref.ref(merger.merge(config, found["straight"]).model)
    merger.merge(config, found["skipped"])
    gc.collect()
    assert held() is None


def test_a_source_of_another_depth_lends_its_layers(
    merger: Merger, model: Make, tmp_path: Path
) -> None:
    short, long = str(model(layers=2, seed=0)), str(model(layers=4, seed=1))
    spans = [{"model": m, "layer_range": [0, 2]} for m in (short, long)]
    config = even("linear", [short, long])
    del config["models"]
    parameters = {"parameters": {"weight": 0.5}}
    config["slices"] = [{"sources": [span | deepcopy(parameters) for span in spans]}]
    walk: Walk = ((MERGE, 0), (long, 1), (long, 2), (long, 3))
    merged = merger.merge(config, walk)
    (document,) = documents(config, walk, 2)
    run_merge(
        MergeConfiguration.model_validate(document),
        str(tmp_path),
        merge_options(MergeFlags(), "cpu"),
    )
    assert in_one(config, walk)
    assert merged.digest == folder_digest(tmp_path)


def test_layers_of_a_merge_that_is_not_finite_fail_only_where_they_are_used(
    merger: Merger, trio: Callable[..., list[str]]
) -> None:
    sources = trio()
    weights = {"weight": [1.0, 1e39]}
    models = [{"model": m, "parameters": weights} for m in sources[1:]]
    config: Mapping[str, Any] = {
        "merge_method": "task_arithmetic", "base_model": sources[0], "models": models,
    }  # fmt: skip
    with pytest.raises(MergeError, match=r"layers\.1\..* not finite"):
        merger.merge(config, ((MERGE, 0), (MERGE, 1), (MERGE, 2)))
    own = merger.merge(config, ((MERGE, 0), (sources[1], 1), (sources[1], 2)))
    source = load_file(Path(sources[1]) / "model.safetensors")
    for name, tensor in own.model.state_dict().items():
        if "layers.1." in name or "layers.2." in name:
            assert tensor_digest(name, tensor) == tensor_digest(name, source[name])

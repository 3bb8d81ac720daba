from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergekit_mo.digests import folder_digest
from mergekit_mo.merging import Merger, as_it_is, parse_reference, seeded
from mergekit_mo.options import MergeFlags, command_line
from mergekit_mo.planning import merge_options, plan_merge
from mergekit_mo.resident import MergeError

Config = dict[str, Any]
Make = Callable[..., Path]

PROMPT = "the quick brown fox adds 12 and 34\n"


def write(config: Mapping[str, Any], out: Path, flags: MergeFlags | None = None) -> Path:
    """The truth: what mergekit itself writes."""
    merge = MergeConfiguration.model_validate(deepcopy(dict(config)))
    run_merge(merge, str(out), merge_options(flags or MergeFlags(), "cpu"))
    return out


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(tokenizer(PROMPT, return_tensors="pt").input_ids).logits
    return found


@pytest.fixture(scope="module")
def merger(model: Make) -> Merger:
    """One for all tests of the file: whatever a merge leaves behind, the next one meets."""
    return Merger(MergeFlags(), "cpu")


@pytest.fixture(scope="module")
def trio(model: Make) -> Callable[..., list[str]]:
    """A base and two models near it."""

    def make(kind: str = "llama", **traits: Any) -> list[str]:
        base = model(kind, seed=0, **traits)
        return [str(base), *(str(model(kind, seed=s, base=base, **traits)) for s in (1, 2))]

    return make


def two(method: str, sources: list[str], *entries: Mapping[str, Any], **rest: Any) -> Config:
    """Two models merged over a base."""
    base, *others = sources
    models = [
        {"model": name, "parameters": dict(given)}
        for name, given in zip(others, entries or ({}, {}), strict=True)
    ]
    return {"merge_method": method, "base_model": base, "models": models, **rest}


W, V = {"weight": 0.7, "density": 0.6}, {"weight": 0.4, "density": 0.3}

METHODS: dict[str, Callable[[list[str]], Config]] = {
    "ties": lambda s: two("ties", s, W, V),
    "dare_ties": lambda s: two("dare_ties", s, W, V),
    "dare_linear": lambda s: two("dare_linear", s, W, V),
    "della": lambda s: two("della", s, {**W, "epsilon": 0.1}, {**V, "epsilon": 0.1}),
    "della_linear": lambda s: two("della_linear", s, W, V, parameters={"lambda": 1.1}),
    "task_arithmetic": lambda s: two("task_arithmetic", s, {"weight": 0.7}, {"weight": -0.2}),
    "breadcrumbs": lambda s: two("breadcrumbs", s, {**W, "gamma": 0.02}, {**V, "gamma": 0.05}),
    "model_stock": lambda s: two("model_stock", s),
    "sce": lambda s: two("sce", s, parameters={"select_topk": 0.5}),
    "nuslerp": lambda s: two("nuslerp", s, {"weight": 0.7}, {"weight": 0.3}),
    "linear": lambda s: {
        "merge_method": "linear",
        "models": [{"model": m, "parameters": {"weight": 0.1 + i}} for i, m in enumerate(s)],
    },
    "karcher": lambda s: {"merge_method": "karcher", "models": [{"model": m} for m in s]},
    "slerp": lambda s: {
        "merge_method": "slerp",
        "base_model": s[0],
        "models": [{"model": s[0]}, {"model": s[1]}],
        "parameters": {"t": 0.3},
    },
    "arcee_fusion": lambda s: {
        "merge_method": "arcee_fusion",
        "base_model": s[0],
        "models": [{"model": s[0]}, {"model": s[1]}],
    },
    "gradients and filters": lambda s: {
        "merge_method": "slerp",
        "base_model": s[0],
        "models": [{"model": s[0]}, {"model": s[1]}],
        "parameters": {
            "t": [
                {"filter": "self_attn", "value": [0, 0.5, 1]},
                {"filter": "mlp", "value": [1, 0.2]},
                {"value": 0.5},
            ]
        },
    },
    "a number format": lambda s: two("ties", s, W, V, dtype="float32", out_dtype="bfloat16"),
    "layers up": lambda s: slices(s, [0, 2], [1, 3], [0, 1]),
    "layers down": lambda s: slices(s, [0, 1], [2, 3]),
}


def slices(sources: list[str], *ranges: list[int], **rest: Any) -> Config:
    """Layers of the sources in turn, stacked."""
    names = (sources[i % len(sources)] for i in range(len(ranges)))
    entries = [{"model": n, "layer_range": r} for n, r in zip(names, ranges, strict=True)]
    pieces = [{"sources": [entry]} for entry in entries]
    return {"merge_method": "passthrough", "base_model": sources[0], "slices": pieces, **rest}


def assert_same(merger: Merger, config: Config, out: Path) -> None:
    """A merge is the one that mergekit writes, and the one that is loaded from there."""
    merged = merger.merge(config)
    write(config, out, merger.flags)
    assert merged.digest == folder_digest(out)
    loaded = AutoModelForCausalLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert merged.model.dtype == loaded.dtype
    assert_equal_state(merged.model, loaded)
    assert torch.equal(logits(merged.model, merged.tokenizer), logits(loaded, tokenizer))
    assert merged.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert merged.tokenizer.chat_template == tokenizer.chat_template
    assert settings(merged.model) == settings(loaded)


def assert_equal_state(one: Any, other: Any) -> None:
    state, expected = one.state_dict(), other.state_dict()
    assert state.keys() == expected.keys()
    unequal = [n for n in expected if not torch.equal(state[n], expected[n])]
    assert unequal == []


def settings(model: Any) -> Config:
    found: Config = model.generation_config.to_dict()
    return {
        k: v for k, v in found.items() if k not in ("transformers_version", "_from_model_config")
    }


@pytest.mark.parametrize("name", METHODS)
def test_a_merge_is_the_one_that_mergekit_writes(
    name: str, merger: Merger, trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    assert_same(merger, METHODS[name](trio(layers=3)), tmp_path / "out")


@pytest.mark.parametrize("kind", ["mistral", "qwen2", "gpt2"])
def test_other_architectures_and_tied_embeddings_too(
    kind: str, merger: Merger, trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    assert_same(merger, METHODS["dare_ties"](trio(kind, layers=3)), tmp_path / "out")


@pytest.mark.parametrize("ranges", [([0, 2], [1, 3]), ([0, 1], [2, 3])])
def test_the_depth_of_qwen2_changes_though_mergekit_cannot_write_its_config(
    ranges: tuple[list[int], ...],
    merger: Merger,
    trio: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    config = slices(trio("qwen2", layers=3), *ranges)
    merged = merger.merge(config)
    with pytest.raises(Exception, match="layer_types"):
        write(config, tmp_path / "out")
    assert merged.digest == folder_digest(tmp_path / "out")
    merged.model.save_pretrained(tmp_path / "whole")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    assert torch.equal(logits(merged.model, merged.tokenizer), logits(loaded, merged.tokenizer))


def test_sharded_sources_are_merged_whole(
    merger: Merger, trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    sources = trio(layers=3, shards=3)
    assert len(list(Path(sources[0]).glob("*.safetensors"))) > 1
    assert_same(merger, METHODS["dare_ties"](sources), tmp_path / "out")


def test_bfloat16_sources_are_merged_in_bfloat16(
    merger: Merger, trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    config = METHODS["ties"](trio(dtype="bfloat16"))
    assert_same(merger, config, tmp_path / "out")
    assert merger.merge(config).model.dtype == torch.bfloat16


@pytest.mark.parametrize("method", ["dare_ties", "arcee_fusion"])
def test_masks_of_a_large_tensor_are_those_of_mergekit(
    method: str, merger: Merger, trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    config = METHODS[method](trio(hidden=512, layers=1, dtype="bfloat16", vocab=2048))
    assert max(p.numel() for p in merger.merge(config).model.parameters()) > 1_000_000
    assert_same(merger, config, tmp_path / "out")


def test_vocabularies_are_united_as_mergekit_unites_them(
    merger: Merger, model: Make, tmp_path: Path
) -> None:
    base, other = model(seed=0), tmp_path / "other"
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<new>", "<newer>"])
    shutil.copytree(model(seed=1, vocab=len(tokenizer)), other)
    tokenizer.save_pretrained(other)
    config: Config = {
        "merge_method": "linear",
        "base_model": str(base),
        "models": [{"model": str(m), "parameters": {"weight": 0.5}} for m in (base, other)],
        "tokenizer_source": "union",
    }
    assert_same(merger, config, tmp_path / "out")
    assert "<newer>" in merger.merge(config).tokenizer.get_vocab()
    padded = {**config, "tokenizer": {"source": "union", "pad_to_multiple_of": 64}}
    del padded["tokenizer_source"]
    assert_same(merger, padded, tmp_path / "padded")


def test_a_source_with_a_lora_is_merged_once_into_the_cache(model: Make, tmp_path: Path) -> None:
    base, lora = model(seed=0), tmp_path / "lora"
    adapted = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    )
    adapted.save_pretrained(lora)
    config = two("task_arithmetic", [str(base), f"{base}+{lora}"], {"weight": 0.5})
    own = Merger(MergeFlags(lora_merge_cache=str(tmp_path / "ours")), "cpu")
    theirs = MergeFlags(lora_merge_cache=str(tmp_path / "theirs"))
    digest = own.merge(config).digest
    assert list((tmp_path / "ours").iterdir())
    assert digest != own.merge(as_it_is(str(base))).digest
    as_it_stands = own.merge(as_it_is(f"{base}+{lora}"))  # its folder in the cache has no tokenizer
    vocabulary = as_it_stands.tokenizer.get_vocab()
    assert vocabulary == AutoTokenizer.from_pretrained(base).get_vocab()
    Merger(theirs, "cpu")  # forgets the loaders, and with them where the adapted weights lie
    assert digest == folder_digest(write(config, tmp_path / "out", theirs))
    assert_same(Merger(theirs, "cpu"), as_it_is(f"{base}+{lora}"), tmp_path / "as it is")


def test_a_chat_template_is_the_one_that_mergekit_sets(
    merger: Merger, trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    config = {**METHODS["linear"](trio(layers=3)), "chat_template": "chatml"}
    assert_same(merger, config, tmp_path / "out")
    assert "im_start" in merger.merge(config).tokenizer.chat_template


def test_generation_settings_are_the_donors(merger: Merger, model: Make, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(model(seed=0), base)
    given = {"repetition_penalty": 1.7, "do_sample": True, "temperature": 0.6}
    (base / "generation_config.json").write_text(json.dumps(given))
    config = two("task_arithmetic", [str(base), str(model(seed=1))], {"weight": 0.5})
    assert_same(merger, config, tmp_path / "out")
    assert merger.merge(config).model.generation_config.repetition_penalty == 1.7
    # With a template of its own, mergekit writes the tokenizer anew and copies nothing.
    assert_same(merger, {**config, "chat_template": "chatml"}, tmp_path / "templated")


def test_no_merge_leaves_anything_to_the_next(
    merger: Merger, trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    sources = trio(layers=3)
    tied = trio("qwen2", layers=3)
    configs = {
        "random": METHODS["dare_ties"](sources),
        "deeper": METHODS["layers up"](sources),
        "tied": METHODS["ties"](tied),
        "untied": METHODS["ties"](trio("qwen2", layers=3, tied=False)),
        "short": METHODS["a number format"](sources),
    }
    truth = {name: folder_digest(write(c, tmp_path / name)) for name, c in configs.items()}
    order = ["random", "random", "deeper", "random", "tied", "untied", "tied", "short", "random"]
    for name in order:
        merged = merger.merge(configs[name])
        assert merged.digest == truth[name]
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / name)
        assert_equal_state(merged.model, loaded)


def with_filters(sources: list[str], method: str, attention: float, **density: Any) -> Config:
    """A merge in which one number touches the attention alone."""
    weight = [{"filter": "self_attn", "value": attention}, {"value": 0.4}]
    given = {"weight": weight, **density}
    return two(method, sources, given, given)


@pytest.mark.parametrize("method", ["ties", "dare_ties", "arcee_fusion"])
def test_what_did_not_change_is_not_merged_again(
    method: str, trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    sources, merger = trio(layers=3), Merger(MergeFlags(), "cpu")
    if method == "arcee_fusion":
        one, other = METHODS[method](sources), METHODS[method](sources[::-1])
    else:
        one, other = (with_filters(sources, method, w, density=0.6) for w in (0.3, 0.5))
    merger.merge(one)
    everything = len(plan_merge(one, merger.options).saves)
    assert merger.memory.reused == 0
    assert_same(merger, one, tmp_path / "again")
    assert merger.memory.reused == everything
    assert_same(merger, other, tmp_path / "other")
    # The masks of a random method depend on the number of draws, which a weight does not change.
    assert merger.memory.reused == (0 if method == "arcee_fusion" else everything - 3 * 4)
    assert_same(merger, one, tmp_path / "back")


def test_a_density_that_draws_nothing_moves_every_later_mask(
    trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    sources, merger = trio(layers=3), Merger(MergeFlags(), "cpu")
    entries: list[Any] = [{"filter": "layers.0", "value": 0.5}, {"value": 0.5}]
    one, other = (
        with_filters(
            sources, "dare_ties", 0.3, density=[{"filter": "layers.0", "value": d}, entries[1]]
        )
        for d in (0.5, 1.0)
    )
    assert_same(merger, one, tmp_path / "one")
    assert_same(merger, other, tmp_path / "other")
    assert 0 < merger.memory.reused < 9  # those before the first layer


def test_a_model_that_walks_or_fails_leaves_nothing_to_reuse_wrongly(
    trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    sources, merger = trio(), Merger(MergeFlags(), "cpu")
    good = METHODS["task_arithmetic"](sources)
    broken = two("task_arithmetic", sources, {"weight": 1e39}, {"weight": 1e39})
    merger.merge(good)
    with pytest.raises(MergeError, match="not finite"):
        merger.merge(broken)
    assert_same(merger, good, tmp_path / "good")
    merger.merge(good, (("merge", 1), ("merge", 0)))
    assert_same(merger, good, tmp_path / "straight")


def counted(function: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return function(*args, **kwargs)

    return called


@pytest.mark.parametrize("method", ["ties", "breadcrumbs", "della"])
def test_orders_that_are_kept_change_no_bit(
    method: str, trio: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With bfloat16 many magnitudes are equal: the order among them counts too."""
    sources = trio(layers=1, hidden=64, dtype="bfloat16")
    merger = Merger(MergeFlags(), "cpu", orders=2**22)
    one, other = METHODS[method](sources), METHODS[method](sources)
    for entry in other["models"]:
        entry["parameters"] |= {"weight": 0.9, "density": 0.45}
    merger.merge(one)
    assert 0 < merger.orders.kept <= 2**22
    sorts: list[int] = []
    for name in ("argsort", "sort"):
        monkeypatch.setattr(torch, name, counted(getattr(torch, name), sorts))
    digest = merger.merge(other).digest
    assert not sorts
    assert digest == folder_digest(write(other, tmp_path / "out"))
    assert len(sorts) > 5
    none = Merger(MergeFlags(), "cpu", orders=8)
    assert none.merge(other).digest == digest
    assert none.orders.kept == 0


def test_the_module_is_kept_while_the_shape_stays(
    merger: Merger, trio: Callable[..., list[str]]
) -> None:
    sources = trio(layers=3)
    first = merger.merge(METHODS["ties"](sources)).model
    assert merger.merge(METHODS["dare_ties"](sources)).model is first
    assert merger.merge(METHODS["layers up"](sources)).model is not first


def test_a_merge_neither_moves_the_global_generators_nor_depends_on_them(
    merger: Merger, trio: Callable[..., list[str]]
) -> None:
    config = METHODS["dare_ties"](trio())

    def states() -> tuple[Any, ...]:
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    before = states()
    digest = merger.merge(config).digest
    assert states() == before
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    assert merger.merge(config).digest == digest


def test_a_failing_block_leaves_the_generators_as_they_were() -> None:
    def fail() -> None:
        torch.rand(3)
        raise ZeroDivisionError

    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(3):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_draws_other_masks(trio: Callable[..., list[str]], tmp_path: Path) -> None:
    config = METHODS["dare_ties"](trio())
    flags = MergeFlags(random_seed=7)
    digest = Merger(flags, "cpu").merge(config).digest
    assert digest == folder_digest(write(config, tmp_path / "out", flags))
    assert digest != Merger(MergeFlags(), "cpu").merge(config).digest


@pytest.mark.parametrize("fault", ["overflow", "zero sum"])
def test_values_that_are_not_finite_fail_the_merge_and_spare_the_next(
    fault: str, merger: Merger, trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    sources = trio()
    if fault == "overflow":
        broken = two("task_arithmetic", sources, {"weight": 1e39}, {"weight": 1e39})
    else:
        broken = METHODS["linear"](sources)
        for entry, weight in zip(broken["models"], (1.0, -1.0, 0.0), strict=True):
            entry["parameters"]["weight"] = weight
    good = METHODS["dare_ties"](sources)
    merger.merge(good)
    with pytest.raises(MergeError, match=r"the merged (model|lm_head)\S* has values that are not"):
        merger.merge(broken)
    merged = merger.merge(good)
    assert merged.digest == folder_digest(write(good, tmp_path / "out"))
    assert_equal_state(merged.model, AutoModelForCausalLM.from_pretrained(tmp_path / "out"))


def test_a_merge_that_is_not_whole_is_refused(merger: Merger, model: Make, tmp_path: Path) -> None:
    """transformers would load it, and make up what is missing."""
    base = tmp_path / "base"
    shutil.copytree(model("qwen2", seed=0), base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    merger.merge(as_it_is(str(model("qwen2", seed=0, tied=False))))
    with pytest.raises(MergeError, match=r"the merge has no lm_head\.weight"):
        merger.merge(
            two("task_arithmetic", [str(base), str(model("qwen2", seed=1))], {"weight": 1})
        )


def test_a_merge_that_mergekit_cannot_run_spares_the_next(
    merger: Merger, trio: Callable[..., list[str]]
) -> None:
    sources = trio()
    good = METHODS["della"](sources)
    digest = merger.merge(good).digest
    beyond = {"weight": 1.0, "density": 0.95, "epsilon": 0.3}
    with pytest.raises(Exception, match="epsilon"):
        merger.merge(two("della", sources, beyond, beyond))
    assert merger.merge(good).digest == digest


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_the_distance_is_the_sum_of_absolute_differences(
    kind: str, merger: Merger, trio: Callable[..., list[str]]
) -> None:
    sources = trio(kind)
    merged = merger.merge(METHODS["ties"](sources))
    digest = {n: p.clone() for n, p in merged.model.named_parameters()}
    base = dict(AutoModelForCausalLM.from_pretrained(sources[0]).named_parameters())
    expected = sum((p.double() - base[n].double()).abs().sum().item() for n, p in digest.items())
    assert merger.distance(merged.model, sources[0]) == pytest.approx(expected, rel=1e-12)
    assert all(torch.equal(p, digest[n]) for n, p in merged.model.named_parameters())
    assert merger.distance(merger.merge(as_it_is(sources[0])).model, sources[0]) == 0


def test_there_is_no_distance_where_layers_are_missing(
    merger: Merger, trio: Callable[..., list[str]]
) -> None:
    sources = trio(layers=3)
    for ranges in ([0, 2],), ([0, 3], [1, 3]):
        merged = merger.merge(slices(sources, *ranges))
        with pytest.raises(MergeError, match="there is no distance"):
            merger.distance(merged.model, sources[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_a_source_as_it_is_is_the_source(
    kind: str, dtype: str, merger: Merger, model: Make
) -> None:
    source = model(kind, dtype=dtype, seed=1)
    merged = merger.merge(as_it_is(str(source)))
    assert merged.digest == folder_digest(source)
    loaded = AutoModelForCausalLM.from_pretrained(source)
    assert merged.model.dtype == loaded.dtype
    assert_equal_state(merged.model, loaded)


def test_planning_leaves_the_configuration_alone(trio: Callable[..., list[str]]) -> None:
    config = METHODS["gradients and filters"](trio(layers=3))
    before = deepcopy(config)
    plan_merge(config, merge_options(MergeFlags(), "cpu"))
    assert config == before


@pytest.mark.slow
def test_the_printed_command_writes_what_was_scored(
    trio: Callable[..., list[str]], tmp_path: Path
) -> None:
    flags = MergeFlags(random_seed=3)
    config = METHODS["dare_ties"](trio())
    digest = Merger(flags, "cpu").merge(config).digest
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(config))
    words = command_line(flags, device="cpu", threads=1).split()
    tool = Path(sys.executable).with_name("mergekit-yaml")
    paths = [str(path) for path in (tool, tmp_path / "recipe.yaml", tmp_path / "out")]
    command = [*paths, "--no-write-model-card", *words]
    subprocess.run(command, check=True, capture_output=True)
    assert digest == folder_digest(tmp_path / "out")


def test_mergekit_has_the_private_names_that_we_lean_on(trio: Callable[..., list[str]]) -> None:
    """A release that renames them must fail here, by name, and not in the middle of a search."""
    import mergekit.merge
    from mergekit.io.tasks import FinalizeModel, SaveTensor
    from mergekit.plan import MergePlanner

    for name in ("_get_donor_model", "_model_out_config", "_set_chat_template"):
        assert callable(getattr(mergekit.merge, name))
    assert callable(mergekit.merge._update_config_vocab)
    options = merge_options(MergeFlags(), "cpu")
    plan = plan_merge(METHODS["ties"](trio()), options)
    architecture, merge = plan.architecture, plan.merge.model_copy(deep=True)
    *saves, finalize = MergePlanner(merge, architecture, options, plan.config).plan_to_disk("")
    assert all(isinstance(task, SaveTensor) for task in saves)
    assert isinstance(finalize, FinalizeModel)
    assert finalize.tensor_save_tasks == tuple(saves)
    assert [task.tensor_name for task in saves] == [task.tensor_name for task in plan.saves]
    assert set(SaveTensor.model_fields) >= {"tensor_name", "tensor_task", "writer_task"}
    assert parse_reference("a/b@main+c/d").lora is not None

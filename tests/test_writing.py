"""A trial's model on disk: the one that was scored, or none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergekit_mo.archive import Archive
from mergekit_mo.digests import folder_digest
from mergekit_mo.merging import Merger
from mergekit_mo.options import MergeFlags
from mergekit_mo.problems import UserError
from mergekit_mo.testing import untrained
from mergekit_mo.writing import Caches, check_digest, done_trial, recorded_flags, write_model
from tests.finished import archive_of, finished
from tests.toy import Toy

Make = Callable[..., Path]
FACTS: dict[str, Any] = {"threads": 1, "flags": {"random_seed": 7}}


@pytest.fixture(scope="module")
def archive(toy: Toy) -> Archive:
    return Archive.open(finished(toy) / "archive.db", read_only=True)


def scored(config: dict[str, Any], digest: str | None = None, **facts: Any) -> Archive:
    """An archive whose last trial was merged in memory, as a search would."""
    known = FACTS | facts
    merger = Merger(MergeFlags(**known["flags"]), "cpu")
    digest = digest or merger.merge(config).digest
    archive = archive_of(config, [], **known)
    archive._trials[0] = _with(archive._trials[0], digest)
    return archive


def _with(trial: Any, digest: str) -> Any:
    from dataclasses import replace

    return replace(trial, digest=digest)


def test_every_finished_trial_of_a_run_is_written_as_it_was_scored(
    archive: Archive, tmp_path: Path
) -> None:
    done = [t for t in archive.trials if t.status == "done"]
    for trial in done:
        out = tmp_path / str(trial.number)
        assert write_model(archive, trial, out) == trial.digest == folder_digest(out)
        assert yaml.safe_load((out / "mergekit_config.yml").read_text()) == dict(trial.config)
    assert {t.role for t in done} == {"reference", "candidate"}
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(str(t.number) for t in done)


def test_a_written_model_loads_with_its_tokenizer(archive: Archive, tmp_path: Path) -> None:
    write_model(archive, archive.candidates[0], tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")("the fox", return_tensors="pt")
    assert torch.isfinite(model(tokens.input_ids).logits).all()
    assert (tmp_path / "out" / "generation_config.json").is_file()


def test_random_masks_are_drawn_from_the_recorded_seed(model: Make, tmp_path: Path) -> None:
    base, one = str(model(seed=0)), str(model(seed=1))
    entry = {"model": one, "parameters": {"weight": 0.7, "density": 0.5}}
    config = {"merge_method": "dare_ties", "base_model": base, "models": [entry]}
    archive = scored(config)
    assert recorded_flags(archive).random_seed == 7
    write_model(archive, done_trial(archive, 0), tmp_path / "out")
    other = scored(config, done_trial(archive, 0).digest, flags={"random_seed": 8})
    with pytest.raises(UserError, match="other weights"):
        write_model(other, done_trial(other, 0), tmp_path / "other")


def test_nothing_of_the_process_is_changed(archive: Archive, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    torch.manual_seed(5)
    expected = torch.get_rng_state()
    try:
        write_model(archive, archive.candidates[0], tmp_path / "out")
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), expected)
    finally:
        torch.set_num_threads(1)


def test_other_depths_are_written_where_layers_have_kinds(model: Make, tmp_path: Path) -> None:
    base = str(model("qwen2", layers=3, seed=0))
    sources = [{"model": base, "layer_range": [0, 2]}]
    again = [{"model": base, "layer_range": [1, 3]}]
    config = {"merge_method": "passthrough", "slices": [{"sources": s} for s in (sources, again)]}
    archive = scored(config)
    write_model(archive, done_trial(archive, 0), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["num_hidden_layers"] == len(written["layer_types"]) == 4
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.num_hidden_layers == 4


def test_tokenizers_that_mergekit_builds_are_written(model: Make, tmp_path: Path) -> None:
    sources = [str(model(seed=seed)) for seed in (0, 1)]
    models = [{"model": source, "parameters": {"weight": 0.5}} for source in sources]
    config = {"merge_method": "linear", "models": models, "tokenizer": {"source": "union"}}
    archive = scored(config)
    write_model(archive, done_trial(archive, 0), tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("the fox").input_ids
    texts = [p.read_text() for p in (tmp_path / "out").glob("*.json")]
    assert not [text for text in texts if any(source in text for source in sources)]


def test_adapters_are_merged_in_the_named_cache(model: Make, tmp_path: Path) -> None:
    base = model(seed=0)
    found = AutoModelForCausalLM.from_pretrained(base)
    lora = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(found, lora).save_pretrained(tmp_path / "lora")
    entry = {"model": f"{base}+{tmp_path / 'lora'}", "parameters": {"weight": 1}}
    config = {"merge_method": "linear", "models": [entry], "dtype": "float32"}
    flags = {"random_seed": 7, "lora_merge_cache": str(tmp_path / "search")}
    archive = scored(config, flags=flags)
    caches = Caches(lora=tmp_path / "cache")
    write_model(archive, done_trial(archive, 0), tmp_path / "out", caches=caches)
    assert (tmp_path / "cache").is_dir()


def test_a_changed_source_is_found_out_and_leaves_nothing(tmp_path: Path) -> None:
    source = untrained(tmp_path / "source", seed=0)
    config = {
        "merge_method": "linear",
        "models": [{"model": str(source), "parameters": {"weight": 1}}],
    }
    config["dtype"] = "float32"
    archive = scored(config)
    trial = done_trial(archive, 0)
    shutil.rmtree(source)
    untrained(source, seed=1)
    with pytest.raises(UserError) as caught:
        write_model(archive, trial, tmp_path / "out")
    assert str(trial.digest) in str(caught.value)
    assert folder_digest(source) in str(caught.value)
    assert "a source may have changed" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_a_missing_source_is_told(tmp_path: Path) -> None:
    config = {"merge_method": "linear", "models": [{"model": str(tmp_path / "gone")}]}
    archive = archive_of(config, [], **FACTS)
    with pytest.raises(UserError, match="are all of its sources where they were"):
        write_model(archive, done_trial(archive, 0), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_other_versions_are_among_the_suspects(archive: Archive, tmp_path: Path) -> None:
    write_model(archive, archive.candidates[0], tmp_path / "out")
    old = archive_of({}, [], versions={"mergekit": "0.0.1"})
    with pytest.raises(UserError, match=r"mergekit was 0\.0\.1 then"):
        check_digest(old, done_trial(old, 0), tmp_path / "out", "it holds")


@pytest.mark.parametrize("make", ["file", "folder"])
def test_what_is_there_is_not_overwritten(archive: Archive, tmp_path: Path, make: str) -> None:
    out = tmp_path / "out"
    if make == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    with pytest.raises(UserError, match="empty or new"):
        write_model(archive, archive.candidates[0], out)
    assert [p.read_text() for p in tmp_path.rglob("*") if p.is_file()] == ["mine"]


def test_an_empty_folder_is_filled(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_model(archive, archive.candidates[0], tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_code_of_others_runs_only_when_it_is_said_again(tmp_path: Path, model: Make) -> None:
    config = {
        "merge_method": "linear",
        "models": [{"model": str(model()), "parameters": {"weight": 1}}],
    }
    archive = scored(config, flags={"random_seed": 7, "trust_remote_code": True})
    trial = done_trial(archive, 0)
    with pytest.raises(UserError, match="--trust-remote-code"):
        write_model(archive, trial, tmp_path / "out")
    write_model(archive, trial, tmp_path / "out", trust_remote_code=True)


def test_a_device_that_is_not_here_is_named(tmp_path: Path) -> None:
    archive = archive_of({}, [], device="cuda:7")
    with pytest.raises(UserError, match="'cuda:7'"):
        write_model(archive, done_trial(archive, 0), tmp_path / "out")


def test_a_trial_without_a_model_is_refused_with_the_reason(tmp_path: Path) -> None:
    from mergekit_mo.archive import Outcome
    from mergekit_mo.space import Candidate

    archive = archive_of({}, [])
    archive.propose(
        "candidate", [(Candidate((0.1,), "sobol"), {}), (Candidate((0.2,), "sobol"), {})]
    )
    archive.finish(1, Outcome({}, {}, None, "MergeError: not finite\nmore", 1.0), 0.0)
    with pytest.raises(UserError, match=r"failed: MergeError: not finite$"):
        done_trial(archive, 1)
    with pytest.raises(UserError, match="has not been run yet"):
        done_trial(archive, 2)
    with pytest.raises(UserError, match="no trial 9; this run has the trials 0 to 2"):
        done_trial(archive, 9)


def test_the_configuration_is_not_changed_by_writing(archive: Archive, tmp_path: Path) -> None:
    trial = archive.candidates[0]
    before = deepcopy(dict(trial.config))
    write_model(archive, trial, tmp_path / "out")
    assert dict(trial.config) == before

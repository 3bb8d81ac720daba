from __future__ import annotations

import inspect
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from mergekit.options import MergeOptions, add_merge_options
from mergekit.scripts.run_yaml import main

from mergekit_mo.options import HELP, OURS_ALONE, OUTPUT_ONLY, MergeFlags, command_line
from mergekit_mo.planning import merge_options

OURS = {f.name: f.default for f in fields(MergeFlags)}


def parsed(line: str) -> MergeOptions:
    """What mergekit's own command makes of a line."""
    context = main.make_context("mergekit-yaml", ["recipe.yaml", "out", *shlex.split(line)])
    known = {k: v for k, v in context.params.items() if k in MergeOptions.model_fields}
    return MergeOptions(**known)


def facts(options: MergeOptions) -> dict[str, Any]:
    """What a merge depends on; alone or with `gpu_rich`, `cuda` is only a word for the device."""
    found: dict[str, Any] = options.model_dump()
    left_out = {*OUTPUT_ONLY, "cuda", "gpu_rich", "trust_remote_code"}
    return {name: value for name, value in found.items() if name not in left_out}


def test_every_option_of_mergekit_is_a_flag_or_concerns_the_output() -> None:
    theirs = OURS.keys() - OURS_ALONE
    assert theirs | OUTPUT_ONLY == MergeOptions.model_fields.keys()
    assert not OURS.keys() & OUTPUT_ONLY


def test_defaults_are_those_of_mergekit() -> None:
    theirs = {name: field.default for name, field in MergeOptions.model_fields.items()}
    differing = {n for n in OURS.keys() - OURS_ALONE if OURS[n] != theirs[n]}
    assert differing == {"random_seed"}


def test_flags_are_called_as_mergekit_calls_them() -> None:
    command = click.command()(add_merge_options(lambda **_: None))
    theirs = {o for p in command.params for o in p.opts if o.startswith("--")}
    assert {"--" + name.replace("_", "-") for name in OURS.keys() - OURS_ALONE} <= theirs


def test_every_flag_has_a_help_text_and_is_described() -> None:
    assert list(HELP) == list(OURS)
    described = inspect.getdoc(MergeFlags) or ""
    assert all(f"{name}:" in described for name in OURS)


@pytest.mark.parametrize(
    ("flags", "device", "expected"),
    [
        (MergeFlags(), "cpu", "cpu"),
        (MergeFlags(device="cuda:1", cuda=True), "cpu", "cuda:1"),
        (MergeFlags(cuda=True), "cpu", "cuda"),
        (MergeFlags(gpu_rich=True), "auto", "cuda"),
        (MergeFlags(), "auto", "auto"),
    ],
)
def test_a_flag_for_the_device_comes_before_the_recipe(
    flags: MergeFlags, device: str, expected: str
) -> None:
    assert flags.named_device(device) == expected


@pytest.mark.parametrize(
    ("flags", "device"),
    [
        (MergeFlags(), "cpu"),
        (MergeFlags(random_seed=7, allow_crimes=True, unsafe_truncate_embeddings=True), "cpu"),
        (MergeFlags(device="cuda:1", read_to_gpu=True, low_cpu_memory=True), "cuda:1"),
        (MergeFlags(cuda=True), "cuda"),
        (MergeFlags(gpu_rich=True), "cuda"),
        (MergeFlags(multi_gpu=True, lazy_unpickle=True), "cuda"),
        (MergeFlags(trust_remote_code=True, lora_merge_dtype="float32"), "cpu"),
        (MergeFlags(transformers_cache="a b/c", lora_merge_cache="it's; here"), "cpu"),
    ],
)
def test_the_command_line_gives_mergekit_the_same_options(flags: MergeFlags, device: str) -> None:
    expected = facts(merge_options(flags, device)) | {"num_threads": 3}
    assert facts(parsed(command_line(flags, device=device, threads=3))) == expected


def test_trust_is_not_carried_along() -> None:
    line = command_line(MergeFlags(trust_remote_code=True), device="cpu", threads=1)
    assert line == "--random-seed 0 -j 1"
    assert parsed(line).trust_remote_code is False


def test_our_own_runs_write_no_card_and_no_progress(tmp_path: Path) -> None:
    options = merge_options(MergeFlags(lora_merge_cache=str(tmp_path)), "cpu")
    assert options.quiet
    assert not options.write_model_card
    assert (options.device, options.lora_merge_cache) == ("cpu", str(tmp_path))

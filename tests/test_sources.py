from __future__ import annotations

import json
import math
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mergekit.io.tasks import LoaderCache
from safetensors.torch import load_file
from transformers import AutoTokenizer

from mergekit_mo.merging import Merger, parse_reference
from mergekit_mo.options import MergeFlags
from mergekit_mo.planning import merge_options
from mergekit_mo.problems import Problem
from mergekit_mo.sizes import Size
from mergekit_mo.sources import check_sources, read_header
from mergekit_mo.testing.planted import small_space

Make = Callable[..., Path]
HOLE = {"value": 0.5, "low": 0, "high": 1}


def check(config: dict[str, Any], **flags: Any) -> tuple[Size | None, list[Problem]]:
    space = small_space(yaml.safe_dump(config))
    own = MergeFlags(**flags)
    return check_sources(space, merge_options(own, "cpu"), allow_pickle=own.allow_pickle)


def linear(*sources: Path, **rest: Any) -> dict[str, Any]:
    models = [{"model": str(s), "parameters": {"weight": HOLE}} for s in sources]
    return {"merge_method": "linear", "base_model": str(sources[0]), "models": models, **rest}


def copy(source: Path, to: Path) -> Path:
    shutil.copytree(source, to)
    return to


def told(found: tuple[Size | None, list[Problem]]) -> str:
    """The one problem that was found."""
    ((problem,),) = (found[1],)
    return problem.what


@pytest.fixture
def pair(model: Make) -> tuple[Path, Path]:
    return model(seed=0), model(seed=1)


def test_sources_that_fit_have_a_size_and_no_problems(pair: tuple[Path, Path]) -> None:
    size, problems = check(linear(*pair))
    assert problems == []
    tensors = load_file(pair[0] / "model.safetensors")
    numbers = [t.numel() for t in tensors.values()]
    total, most = sum(numbers), 2 * 4 * max(numbers)
    assert size == Size(total, most, 2 * 4 * total, model=4 * total, group=most, download=0)


@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])
def test_tied_weights_count_once(kind: str, model: Make, pair: tuple[Path, Path]) -> None:
    one, two = model(kind, seed=0, dtype="bfloat16"), model(kind, seed=1, dtype="bfloat16")
    size, problems = check(linear(one, two))
    assert problems == []
    merged = Merger(MergeFlags(), "cpu").merge(linear(one, two) | {"models": plain(one, two)})
    numbers = sum(p.numel() for p in merged.model.parameters())
    assert size is not None
    assert (size.parameters, size.checkpoints) == (numbers, 2 * 2 * numbers)


def plain(*sources: Path) -> list[dict[str, Any]]:
    return [{"model": str(s), "parameters": {"weight": 0.5}} for s in sources]


def test_the_size_is_that_of_the_layers_that_are_stacked(model: Make) -> None:
    source = model(layers=3)
    pieces = [{"sources": [{"model": str(source), "layer_range": r}]} for r in ([0, 2], [1, 3])]
    config = {"merge_method": "passthrough", "base_model": str(source), "slices": pieces}
    size, problems = check({**config, "parameters": {"scale": {"value": 1, "low": 0, "high": 2}}})
    assert problems == []
    assert size is not None
    tensors = load_file(source / "model.safetensors")
    extra = sum(t.numel() for n, t in tensors.items() if "layers.1." in n)
    assert size.parameters == sum(t.numel() for t in tensors.values()) + extra


def test_no_weights_are_read(model: Make, tmp_path: Path) -> None:
    rows = 10**7  # 1.3 GB of embeddings, and as much that leads back to tokens
    huge = [copy(model(seed=2), tmp_path / name) for name in ("one", "two")]
    for folder in huge:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"vocab_size": rows}))
        path = folder / "model.safetensors"
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        end = 0
        for name, entry in header.items():
            if name != "__metadata__":
                entry["shape"][0] = rows if entry["shape"][0] == 300 else entry["shape"][0]
                start, end = end, end + 4 * math.prod(entry["shape"])
                entry["data_offsets"] = [start, end]
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text)
        os.truncate(path, 8 + len(text) + end)  # a hole in the file: nothing is there to be read
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size, problems = check(linear(*huge))
    assert problems == []
    assert size is not None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert size.largest == 2 * 4 * rows * 32
    assert size.parameters > 2 * rows * 32


@pytest.mark.parametrize("shards", [1, 3])
def test_a_checkpoint_that_is_cut_short_is_reported(
    shards: int, pair: tuple[Path, Path], model: Make, tmp_path: Path
) -> None:
    short = copy(model(seed=2, shards=shards), tmp_path / "short")
    path = sorted(short.glob("*.safetensors"))[-1]
    os.truncate(path, path.stat().st_size - 1)
    assert f"{short} cannot be opened: " in told(check(linear(pair[0], short)))


def test_a_header_holds_every_tensor_of_every_shard(model: Make) -> None:
    options = merge_options(MergeFlags(), "cpu")
    whole, sharded = (
        read_header(parse_reference(str(model(seed=2, shards=n))), options) for n in (1, 3)
    )
    assert whole is not None
    assert sharded is not None
    assert (whole.shapes, whole.sizes) == (sharded.shapes, sharded.sizes)
    assert len(set(sharded.files.values())) > 1


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_that_is_no_whole_model_is_reported_where_it_is_named(
    missing: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    broken = copy(pair[1], tmp_path / "broken")
    (broken / missing).unlink()
    size, problems = check(linear(pair[0], broken))
    assert size is None
    (problem,) = problems
    assert problem.what.startswith(f"{broken} cannot be opened: ")
    assert problem.place == ("models", 1, "model")


def test_all_broken_sources_are_reported_together(pair: tuple[Path, Path], tmp_path: Path) -> None:
    broken = [copy(pair[1], tmp_path / name) for name in ("x", "y")]
    for folder in broken:
        (folder / "config.json").unlink()
    assert len(check(linear(pair[0], *broken))[1]) == 2


def test_another_width_is_reported_with_both_shapes(pair: tuple[Path, Path], model: Make) -> None:
    what = told(check(linear(pair[0], model(hidden=64))))
    assert "differs in shape" in what
    assert "32)" in what
    assert "64)" in what


def test_another_number_of_layers_is_reported(pair: tuple[Path, Path], model: Make) -> None:
    assert "same number of layers" in told(check(linear(pair[0], model(layers=3))))


def test_layers_beyond_the_last_are_reported_at_their_range(pair: tuple[Path, Path]) -> None:
    sources = [{"model": str(pair[0]), "layer_range": [0, 5]}]
    config = {"merge_method": "passthrough", "slices": [{"sources": sources}]}
    size, problems = check({**config, "parameters": {"scale": HOLE}, "base_model": str(pair[0])})
    (problem,) = problems
    assert size is None
    assert problem.what == f"ends at 5, but {pair[0]} has 2 layers"
    assert problem.place == ("slices", 0, "sources", 0, "layer_range")


class TestTokenizers:
    @pytest.fixture
    def other(self, pair: tuple[Path, Path], tmp_path: Path) -> Path:
        """A model of the same shape, two of whose tokens have changed places."""
        folder = copy(pair[1], tmp_path / "other")
        content = json.loads((folder / "tokenizer.json").read_text())
        vocabulary = content["model"]["vocab"]
        vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
        (folder / "tokenizer.json").write_text(json.dumps(content))
        return folder

    def test_that_disagree_are_refused(self, pair: tuple[Path, Path], other: Path) -> None:
        _, problems = check(linear(pair[0], other))
        (problem,) = problems
        assert "other tokenizer: token" in problem.what
        assert str(pair[0]) in problem.what
        assert "tokenizer_source" in problem.hint
        assert problem.place == ("models", 1, "model")

    def test_that_disagree_are_allowed_where_mergekit_is_told(
        self, pair: tuple[Path, Path], other: Path
    ) -> None:
        assert check(linear(pair[0], other, tokenizer_source="union"))[1] == []
        assert check(linear(pair[0], other, tokenizer={"source": "base"}))[1] == []

    def test_one_of_which_has_more_tokens_need_a_source(
        self, pair: tuple[Path, Path], model: Make, tmp_path: Path
    ) -> None:
        tokenizer = AutoTokenizer.from_pretrained(pair[0])
        tokenizer.add_tokens(["<new>"])
        longer = copy(model(seed=1, vocab=len(tokenizer)), tmp_path / "longer")
        tokenizer.save_pretrained(longer)
        _, (problem,) = check(linear(pair[0], longer))
        assert "embed_tokens.weight differs in shape" in problem.what
        assert "tokenizer_source" in problem.hint
        assert check(linear(pair[0], longer, tokenizer_source="union"))[1] == []
        assert check(linear(pair[0], longer), unsafe_truncate_embeddings=True)[1] == []

    def test_that_cannot_be_read_are_not_guessed_at(
        self, pair: tuple[Path, Path], other: Path
    ) -> None:
        (other / "tokenizer.json").write_text("{")
        assert check(linear(pair[0], other))[1] == []


def test_other_architectures_are_refused_unless_crimes_are_allowed(
    pair: tuple[Path, Path], model: Make
) -> None:
    config = linear(pair[0], model("mistral", seed=1))
    assert "mergekit cannot plan this merge" in told(check(config))
    assert check(config, allow_crimes=True)[1] == []


def test_pickled_weights_are_taken_only_where_they_are_allowed(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    pickled = copy(pair[1], tmp_path / "pickled")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    listing = told(check(linear(pair[0], pickled)))
    assert "pickled has its weights in pickles alone (pytorch_model.bin)" in listing
    size, problems = check(linear(pair[0], pickled), allow_pickle=True)
    assert problems == []
    assert size is not None
    assert size.parameters == (check(linear(*pair))[0] or size).parameters
    alone = copy(pickled, tmp_path / "alone")
    assert check(linear(alone, pickled), allow_pickle=True) == (None, [])


@pytest.mark.parametrize("sound", [True, False])
def test_the_loaders_of_mergekit_are_left_as_they_were(
    sound: bool, pair: tuple[Path, Path], model: Make
) -> None:
    merger = Merger(MergeFlags(), "cpu")
    config = linear(*pair) | {"models": plain(*pair)}
    digest = merger.merge(config).digest
    before = dict(LoaderCache().loaders)
    assert before
    check(linear(*pair) if sound else linear(pair[0], model(hidden=64)))
    assert LoaderCache().loaders == before
    assert merger.merge(config).digest == digest

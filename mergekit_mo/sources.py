"""What the sources' configurations and safetensors headers tell, before any weight is read.

Rule: nothing here downloads or reads weights; shapes come from headers, of local files or of the
Hub's, and the merge is planned by mergekit itself, so that what it would refuse is refused now.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import get_safetensors_metadata, hf_hub_download, list_repo_files
from mergekit.common import ModelReference
from mergekit.io.lazy_tensor_loader import LazyTensorLoader, ShardedTensorIndex
from mergekit.io.tasks import LoaderCache
from mergekit.options import MergeOptions

from mergekit_mo.configuration import Configuration
from mergekit_mo.merging import parse_reference
from mergekit_mo.planning import Plan, plan_merge
from mergekit_mo.problems import Problem
from mergekit_mo.sizes import Header, Size, inputs, size_of
from mergekit_mo.space import Space

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def check_sources(
    space: Space,
    options: MergeOptions,
    wrong: Sequence[Problem] = (),
    *,
    allow_pickle: bool = False,
) -> tuple[Size | None, list[Problem]]:
    """Checks that the sources are there, alike, and that mergekit can plan the recipe's merge.

    Args:
        space: its first candidates are planned.
        options: mergekit's.
        wrong: what is wrong with the recipe's text; then nothing is planned, but the sources that
            it does not concern are opened.
        allow_pickle: take sources whose weights are pickled.

    Returns:
        The size of the merge, where it could be told, and the problems.
    """
    configuration = space.configuration
    headers: dict[str, Header] = {}
    kinds: dict[str, str] = {}
    problems: list[Problem] = []
    for source in configuration.sources:
        place = configuration.places[source]
        if any(problem.place == place for problem in wrong):
            continue
        try:
            reference = parse_reference(source)
            config = reference.config(options.trust_remote_code)
            if not allow_pickle and (pickled := pickled_weights(reference)):
                problems.append(Problem(place, f"{source}: {pickled}", PICKLE_HINT))
                continue
            header = read_header(reference, options)
        except Exception as error:  # transformers and the Hub client raise many kinds
            what = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            hint = (
                "a model's folder holds its config.json and its weights"
                if Path(source).is_dir()
                else "is the name right, and the Hugging Face Hub within reach?"
            )
            problems.append(Problem(place, f"{source} cannot be opened: {what}", hint))
            continue
        if header:
            headers[source] = header
        kinds[source] = architecture_of(config)
        problems += [] if wrong else _layers(configuration, source, config)
    if configuration.layers and not wrong:
        problems += _strangers(configuration, kinds)
    if problems or wrong:
        return None, problems
    problems += _tokenizers(configuration)
    with header_only(headers):
        try:
            plan = plan_merge(space.config(space.starts()[0].unit), options)
        except Exception as error:
            what = " ".join(str(error).split())
            return None, [*problems, Problem((), f"mergekit cannot plan this merge: {what}")]
        problems += _shapes(plan, headers, options)
    return size_of(plan, headers), problems


def read_header(reference: ModelReference, options: MergeOptions) -> Header | None:
    """The header of a model's checkpoint; None where its weights are pickled and have none.

    Raises:
        Exception: there is no such checkpoint, or it is out of reach.
    """
    path = Path(reference.model.path)
    if not path.is_dir():
        found = get_safetensors_metadata(reference.model.path, revision=reference.model.revision)
        infos = {n: i for f in found.files_metadata.values() for n, i in f.tensors.items()}
        return Header(
            "",
            dict(found.weight_map),
            {n: tuple(i.shape) for n, i in infos.items()},
            {n: i.data_offsets[1] - i.data_offsets[0] for n, i in infos.items()},
        )
    index = ShardedTensorIndex.from_disk(str(path))
    if not index.is_safetensors:
        return None
    shapes: dict[str, tuple[int, ...]] = {}
    sizes: dict[str, int] = {}
    for shard in index.shards:
        for name, entry in _read_local_header(path / shard.filename).items():
            shapes[name] = tuple(entry["shape"])
            sizes[name] = math.prod(entry["shape"]) * _BYTES.get(entry["dtype"], 1)
    del options
    return Header(str(path), dict(index.tensor_paths), shapes, sizes)


PICKLE_HINT = "a pickle can run code: save the model as safetensors, or say --allow-pickle"


def pickled_weights(reference: ModelReference) -> str:
    """That a model, or its LoRA, has its weights in pickles alone; empty where it has not.

    Raises:
        Exception: the Hub is out of reach.
    """
    for part in (reference.model, reference.lora):
        if part is None:
            continue
        if Path(part.path).is_absolute() and not Path(part.path).exists():
            continue  # whoever reads it says that it is gone
        if Path(part.path).is_dir():
            names = [path.name for path in Path(part.path).iterdir()]
        else:
            names = list_repo_files(part.path, revision=part.revision)
        pickles = [name for name in names if name.endswith(_PICKLES)]
        if pickles and not any(name.endswith(".safetensors") for name in names):
            return f"{Path(part.path).name} has its weights in pickles alone ({min(pickles)})"
    return ""


def _read_local_header(path: Path) -> dict[str, Any]:
    """The JSON at the beginning of a safetensors file.

    Raises:
        ValueError: the file does not hold all that its header promises.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    if path.stat().st_size < 8 + length + end:
        raise ValueError(f"{path.name} is cut short")
    return tensors


class header_only:  # noqa: N801 (reads as a statement)
    """Lets mergekit see the tensors' names without opening, downloading or merging anything."""

    def __init__(self, headers: Mapping[str, Header]) -> None:
        self.headers = headers

    def __enter__(self) -> None:
        self.before = dict(LoaderCache().loaders)
        for source, header in self.headers.items():
            index = ShardedTensorIndex(header.folder, True, dict(header.files), [])
            LoaderCache().loaders[parse_reference(source)] = LazyTensorLoader(index)

    def __exit__(self, *_: object) -> None:
        LoaderCache().loaders.clear()
        LoaderCache().loaders.update(self.before)


def architecture_of(config: Any) -> str:
    """The class of a model, as its configuration names it."""
    return str((config.architectures or [config.model_type])[0])


def _strangers(configuration: Configuration, kinds: Mapping[str, str]) -> Iterator[Problem]:
    """Models of another architecture than the first, whose layers are to be exchanged."""
    first = next(iter(kinds), "")
    for source, kind in kinds.items():
        if kind != kinds[first]:
            what = f"{source} is a {kind}, {first} a {kinds[first]}"
            hint = "layers can be exchanged between models of one architecture"
            yield Problem(configuration.places[source], what, hint)


def _layers(configuration: Configuration, source: str, config: Any) -> Iterator[Problem]:
    """Slices that reach beyond a source's last layer."""
    depth = getattr(config.get_text_config(), "num_hidden_layers", None)
    if depth is None:
        return
    for i, piece in enumerate(configuration.tree.get("slices") or ()):
        for j, entry in enumerate(piece["sources"]):
            if entry["model"] == source and entry["layer_range"][1] > depth:
                end = entry["layer_range"][1]
                place = ("slices", i, "sources", j, "layer_range")
                yield Problem(place, f"ends at {end}, but {source} has {depth} layers")


def _tokenizers(configuration: Configuration) -> Iterator[Problem]:
    """Sources that give one token number two meanings, with nothing said of tokenizers."""
    if configuration.tree.get("tokenizer_source") or configuration.tree.get("tokenizer"):
        return
    known: dict[int, tuple[str, str]] = {}
    for source in configuration.sources:
        for token, number in _vocabulary(source).items():
            other, where = known.setdefault(number, (token, source))
            if other != token:
                what = f"token {number} is {token!r} here and {other!r} in {where}"
                hint = "say tokenizer_source: union (or base), so that mergekit aligns them"
                yield Problem(configuration.places[source], f"other tokenizer: {what}", hint)
                break


def other_vocabulary(first: str, second: str) -> str:
    """Where two models give a token two meanings; empty where they do not, or it cannot be told."""
    known = {number: token for token, number in _vocabulary(first).items()}
    for token, number in _vocabulary(second).items() if known else ():
        if known.get(number, token) != token:
            what = f"token {number} is {known[number]!r} in {Path(first).name}"
            return f"{what} and {token!r} in {Path(second).name}"
    return ""


def _vocabulary(source: str) -> dict[str, int]:
    """A source's tokens, where its tokenizer.json can be had; else nothing."""
    model = parse_reference(source).model
    try:
        folder = Path(model.path)
        path = folder / "tokenizer.json"
        if not folder.is_dir():
            path = Path(hf_hub_download(model.path, "tokenizer.json", revision=model.revision))
        content = json.loads(path.read_text(encoding="utf-8"))
        tokens = content["model"]["vocab"]
        added = {entry["content"]: entry["id"] for entry in content.get("added_tokens", [])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if isinstance(tokens, list):  # unigram models list [token, score]
        tokens = {entry[0]: i for i, entry in enumerate(tokens)}
    return {**tokens, **added}


def has_chat_template(source: str) -> bool:
    """Whether a source's tokenizer has a chat template; also where that cannot be told."""
    model = parse_reference(source).model
    folder = Path(model.path)
    if not folder.is_dir():
        return True  # transformers looks in several files on the Hub; the first trial will tell
    if any((folder / f"chat_template.{kind}").is_file() for kind in ("jinja", "json")):
        return True
    try:
        text = (folder / "tokenizer_config.json").read_text(encoding="utf-8")
        return bool(json.loads(text).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


def _shapes(plan: Plan, headers: Mapping[str, Header], options: MergeOptions) -> Iterator[Problem]:
    """Tensors that a source lacks, or that differ in shape between sources."""
    for save, infos in inputs(plan):
        found: dict[str, tuple[int, ...]] = {}
        for source, info in infos.items():
            if source not in headers:
                continue
            names = (info.name, *(info.aliases or ()), *(info.tied_names or ()))
            shape = next(
                (headers[source].shapes[n] for n in names if n in headers[source].shapes), None
            )
            if shape is not None:
                found[source] = shape
        axis = next(iter(infos.values())).vocabulary_axis
        rest = {s if axis is None else s[:axis] + s[axis + 1 :] for s in found.values()}
        vocabulary = axis is not None and len(rest) == 1  # else the models' widths differ
        aligned = plan.build_tokenizer is not None or options.unsafe_truncate_embeddings
        if len(set(found.values())) > 1 and not (vocabulary and aligned):
            listing = ", ".join(f"{Path(s).name} {shape}" for s, shape in found.items())
            hint = (
                "say tokenizer_source: base or union" if vocabulary else "merge models of one width"
            )
            yield Problem((), f"{save.tensor_name} differs in shape: {listing}", hint)
            return

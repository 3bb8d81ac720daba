"""Six independent families of tiny models, a base and three sources each, for real merges.

Rule: `HELD_OUT` families are for the final comparison alone; nothing is tuned on them.

    python benchmarks/families.py                 # trains those that are missing
    python benchmarks/families.py --scores        # and scores base, sources and uniform merges
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, only this folder is on the path
    sys.path.insert(0, str(ROOT))

FAMILIES_FOLDER = ROOT / ".cache" / "families"
LAYERS = 6
ITEMS = 128
"""Passages of each goal."""

CONTEXT = 256
_VERSION = 1  # of the texts and of the training, for what the fields of a family do not say
_CHARACTERS = (110, 190)  # of a passage
_BATCH = (12, 112)  # windows of so many tokens: a passage is seldom longer
_OWN = 0.7  # of what a source learns is its own domain; without the rest it would forget it
_HEAD = 16  # width of an attention head; odd ones train three times as slowly
_MARK = "family.json"


@dataclass(frozen=True)
class Family:
    """How a family is made.

    Attributes:
        name: a plain word.
        domains: what its three sources learn, see `_texts`.
        goals: on which of the domains merges are judged.
        seed: of text, split and weights.
        width: of the residual stream.
        inner: width of the MLPs.
        vocab: size of the tokenizer's vocabulary.
        base_steps: of training on all domains.
        source_steps: of finetuning each source on its own.
        rate: peak learning rate of the finetuning.
        kind: `llama` or `qwen2`.
    """

    name: str
    domains: tuple[str, str, str]
    goals: tuple[str, ...]
    seed: int
    width: int
    inner: int
    vocab: int
    base_steps: int = 300
    source_steps: int = 200
    rate: float = 2e-3
    kind: str = "llama"

    @property
    def folder(self) -> Path:
        """Where it lies once it is trained."""
        return FAMILIES_FOLDER / self.name

    @property
    def models(self) -> tuple[str, ...]:
        """Its models' names, as recipes have them: the base first."""
        return (f"{self.name}/base", *(f"{self.name}/{domain}" for domain in self.domains))

    @property
    def digest(self) -> str:
        """A fingerprint of all that settles it."""
        facts = [_VERSION, asdict(self), LAYERS, ITEMS, CONTEXT, _CHARACTERS, _BATCH, _OWN]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


_FORMATS = ("records", "logs", "stories")
_SIGNS = ("glyphs", "settings", "code")
_TALKS = ("markup", "queries", "clocks")
FAMILIES = {
    f.name: f
    for f in (
        Family("wren", ("code", "prose", "sums"), ("code", "prose"), 11, 48, 128, 640),
        Family("lark", _FORMATS, _FORMATS, 23, 32, 96, 512),
        Family("finch", ("romans", "brackets", "sorts"), ("romans", "brackets"), 37, 32, 112, 384),
        Family("crow", _SIGNS, ("glyphs", "code"), 41, 48, 112, 576, kind="qwen2"),
        Family("heron", ("dates", "mails", "prose"), ("dates", "prose"), 59, 64, 112, 576),
        Family("owl", _TALKS, _TALKS, 67, 32, 80, 448),
    )
}
"""By name. Each has its own texts, sizes and seed."""

HELD_OUT = ("heron", "owl")
"""Families that no setting was chosen on."""

TUNING = tuple(name for name in FAMILIES if name not in HELD_OUT)
"""The others."""

SPACES = ("global", "layered")


def recipe(family: Family, space: str) -> str:
    """A recipe's text without its `search:` block; its models are named `family/model`.

    `global` has 6 dimensions, a weight and a density for each source of a DARE-TIES merge;
    `layered` has 16, gradients over depth, for attention apart from the rest, of a TIES merge.
    """
    base, *sources = family.models
    if space == "global":
        method = "dare_ties"
        parameters = [
            "weight: {value: 0.5, low: 0.0, high: 1.2}, density: {value: 0.6, low: 0.1, high: 1.0}"
        ] * 3
    elif space == "layered":
        method = "ties"
        hole = "low: 0.0, high: 1.2"
        split = (
            f"weight: [{{filter: self_attn, value: [0.5, 0.5, 0.5], {hole}}}, "
            f"{{value: [0.5, 0.5, 0.5], {hole}}}], density: 0.7"
        )
        parameters = [
            split,
            split,
            f"weight: {{value: [0.5, 0.5, 0.5, 0.5], {hole}}}, density: 0.7",
        ]
    else:
        raise ValueError(f"no space is called {space!r}: there are {', '.join(SPACES)}")
    entries = "".join(
        f"  - {{model: {source}, parameters: {{{text}}}}}\n"
        for source, text in zip(sources, parameters, strict=True)
    )
    head = f"merge_method: {method}\nbase_model: {base}\ndtype: float32\n"
    return f"{head}parameters: {{normalize: false}}\nmodels:\n{entries}"


def grid(family: Family) -> str:
    """The recipe's text that a hand-tuner's grid walks: three methods at their own defaults.

    The base stands among the models with no weight, because `linear` takes no other base.
    """
    base, *sources = family.models
    hole = "low: 0.0, high: 1.0"
    entries = "".join(
        f"  - {{model: {source}, parameters: {{weight: {{value: 0.33, {hole}}}, "
        f"density: {{value: 0.5, {hole}}}}}}}\n"
        for source in sources
    )
    return (
        f"merge_method: ties\nbase_model: {base}\ndtype: float32\nmodels:\n"
        f"  - {{model: {base}, parameters: {{weight: 0}}}}\n{entries}"
        "search: {merge_method: [ties, linear, dare_ties]}\n"
    )


def located(node: Any, family: Family) -> Any:
    """A configuration with the family's models named by their folders."""
    if isinstance(node, dict):
        return {key: located(value, family) for key, value in node.items()}
    if isinstance(node, list):
        return [located(value, family) for value in node]
    return str(FAMILIES_FOLDER / node) if node in family.models else node


def trained(family: Family, progress: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of a family, trained first if it is absent or was made otherwise."""
    from filelock import FileLock

    if _mark(family) != family.digest:
        FAMILIES_FOLDER.mkdir(parents=True, exist_ok=True)
        with FileLock(FAMILIES_FOLDER / f".{family.name}.lock"):
            if _mark(family) != family.digest:  # no other process built it while this one waited
                _build(family, progress)
    return family.folder


def weights_digest(family: Family) -> str:
    """A fingerprint of a trained family's weights, which differ from machine to machine."""
    return str(json.loads((family.folder / _MARK).read_text(encoding="utf-8"))["weights"])


def _mark(family: Family) -> str | None:
    try:
        return str(json.loads((family.folder / _MARK).read_text(encoding="utf-8"))["digest"])
    except FileNotFoundError:
        return None


def _build(family: Family, progress: Callable[[str], None]) -> None:
    """Trains a family aside and puts it in its place: it is whole or absent."""
    aside = family.folder.with_name(f".{family.name}.building")
    for leftover in (aside, family.folder):
        shutil.rmtree(leftover, ignore_errors=True)
    begun = time.monotonic()
    _train(family, aside, progress)
    digest = hashlib.sha256()
    for path in sorted(aside.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    mark = {
        "digest": family.digest,
        "weights": digest.hexdigest(),
        "python": platform.python_version(),
        "seconds": round(time.monotonic() - begun),
    }
    (aside / _MARK).write_text(json.dumps(mark), encoding="utf-8")
    aside.rename(family.folder)


def _train(family: Family, folder: Path, progress: Callable[[str], None]) -> None:
    """Writes base, sources and tasks."""
    import torch

    from benchmarks._texts import texts
    from mergekit_mo.testing.training import Course, stream, tokenizer_of
    from mergekit_mo.testing.training import trained as taught

    text = texts(family.domains, family.seed)
    learnt = [document for split in text.values() for document in split.train]
    tokenizer = tokenizer_of(learnt, vocab=family.vocab, context=CONTEXT)
    streams = {name: stream(split.train, tokenizer) for name, split in text.items()}
    model = _fresh(family, tokenizer)
    size = sum(p.numel() for p in model.parameters())
    progress(f"{family.name}: {size:,} parameters; {', '.join(family.domains)}")

    def course(model: Any, name: str, course: Course, number: int) -> Any:
        begun = time.monotonic()
        made = taught(model, streams, course, seed=family.seed + number)
        made.to(torch.float32).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        progress(f"{family.name}: {name} in {time.monotonic() - begun:.0f} s")
        return made

    everything = Course(family.base_steps, 4e-3, dict.fromkeys(family.domains, 1 / 3), *_BATCH)
    base = course(model, "base", everything, 0)
    for number, name in enumerate(family.domains, start=1):
        mixture = {d: _OWN if d == name else (1 - _OWN) / 2 for d in family.domains}
        course(base, name, Course(family.source_steps, family.rate, mixture, *_BATCH), number)
    for goal in family.goals:
        _write_task(folder / "tasks", goal, _items(family, text[goal].held_out))


def _fresh(family: Family, tokenizer: Any) -> Any:
    """An untrained model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    llama = family.kind == "llama"
    config = (LlamaConfig if llama else Qwen2Config)(
        vocab_size=len(tokenizer),
        hidden_size=family.width,
        intermediate_size=family.inner,
        num_hidden_layers=LAYERS,
        num_attention_heads=family.width // _HEAD,
        num_key_value_heads=family.width // _HEAD,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(family.seed)
        model = (LlamaForCausalLM if llama else Qwen2ForCausalLM)(config)
    model.set_attn_implementation("eager")  # its backward pass is the fastest on a CPU
    return model


def _items(family: Family, documents: Sequence[str]) -> list[str]:
    """The passages of a goal, drawn by the family's seed."""
    import random

    from mergekit_mo.testing.corpus import passages

    shortest, longest = _CHARACTERS
    found = passages(documents, shortest=shortest, longest=longest)
    found = list(dict.fromkeys(found))
    return random.Random(f"items {family.seed}").sample(found, ITEMS)


def _write_task(folder: Path, goal: str, items: Sequence[str]) -> None:
    """A task of lm-eval that scores passages by bits per byte."""
    folder.mkdir(parents=True, exist_ok=True)
    data = "".join(f"{json.dumps({'text': item})}\n" for item in items)
    (folder / f"{goal}.json").write_text(data, encoding="utf-8")
    metric = "{metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}"
    text = (
        f"task: {goal}\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{validation: {goal}.json}}}}\n"
        "validation_split: validation\noutput_type: loglikelihood_rolling\n"
        f"doc_to_text: ''\ndoc_to_target: text\nmetric_list: [{metric}]\n"
        "metadata: {version: 1.0}\n"
    )
    (folder / f"{goal}.yaml").write_text(text, encoding="utf-8")


def read_items(path: Path) -> list[str]:
    """The passages of a goal."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["text"]) for line in lines]


def main() -> None:
    """Trains what is missing and, if asked, scores it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(FAMILIES), help="families")
    parser.add_argument("--scores", action="store_true", help="score base, sources, uniform merge")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    for name in arguments.names:
        trained(FAMILIES[name], lambda line: print(line, flush=True))
    if arguments.scores:
        from benchmarks._merges import describe

        for name in arguments.names:
            print(describe(FAMILIES[name]), flush=True)


if __name__ == "__main__":
    main()

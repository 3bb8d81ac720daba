"""A genome file of mergekit-evolve, read with that program's own defaults.

Rule: `mergekit.evo` is not imported, for beside a current lm-eval it no longer imports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergekit_mo.mark import relocated
from mergekit_mo.problems import Place, Problem, UserError, near, shown
from mergekit_mo.references import existing_folder, reference_text

PARAMETERS = {
    "linear": ("weight",),
    "task_arithmetic": ("weight",),
    "ties": ("weight", "density"),
    "dare_ties": ("weight", "density"),
    "slerp": ("t",),
}
_NORMALIZED = frozenset({"ties", "dare_ties", "linear"})
_GENOME: dict[str, tuple[type, ...]] = {
    "models": (list,),
    "merge_method": (str,),
    "base_model": (str, dict),
    "tokenizer_source": (str,),
    "layer_granularity": (int,),
    "normalize": (bool,),
    "allow_negative_weights": (bool,),
    "filters": (list,),
    "smooth": (bool,),
}
_TOP: dict[str, tuple[type, ...]] = {
    "genome": (dict,),
    "tasks": (list,),
    "limit": (int,),
    "num_fewshot": (int,),
    "shuffle": (bool,),
    "random_init": (bool,),
    "apply_chat_template": (bool,),
    "fewshot_as_multiturn": (bool,),
}
_KINDS = {list: "a list", str: "a text", dict: "a mapping", int: "a whole number"}


@dataclass(frozen=True)
class GenomeTask:
    """A task, with its share in the sum that is maximised."""

    name: str
    weight: float
    metric: str


@dataclass
class Genome:
    """What is merged and how; `notes` is what a recipe cannot say of it."""

    method: str
    models: list[str]
    base: str | None
    layers: int | None
    granularity: int
    filters: list[str]
    smooth: bool
    normalize: bool
    negative: bool
    tokenizer: str | None
    notes: list[str] = field(default_factory=list)

    @property
    def groups(self) -> int:
        """How many groups of layers have numbers of their own."""
        return self.layers // self.granularity if self.layers and self.granularity > 0 else 1


def mistakes(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """What keeps a file from being a genome, and a genome from being a recipe."""
    if "genome" not in tree:
        hint = "a mergekit configuration becomes a recipe by:  mergekit-mo init"
        what = "is no genome file of mergekit-evolve: it has no genome:"
        yield Problem((), what, hint if "merge_method" in tree else "genome: {models: …}")
        return
    yield from _mistyped(tree, _TOP, ())
    genome, place = tree["genome"], ("genome",)
    if not isinstance(genome, dict):
        return
    yield from _mistyped(genome, _GENOME, place)
    method = genome.get("merge_method")
    if method not in PARAMETERS:
        hint = near(method, PARAMETERS, what="mergekit-evolve has")
        what = f"{shown(method)} is no merge method of mergekit-evolve"
        yield Problem((*place, "merge_method"), what, hint)
    models = genome.get("models")
    names = [reference_text(m) for m in models] if isinstance(models, list) else []
    if not names or None in names:
        what = f"expected a list of models, got {shown(models)}"
        yield Problem((*place, "models"), what, "models: [organisation/name, …]")
    if method == "slerp" and len(names) != 2:
        what = f"slerp mixes two models, and there are {len(names)}: mergekit-evolve picks two of "
        what += "them anew for every group of layers, which no mergekit YAML can say"
        yield Problem((*place, "models"), what, "name two models, or take merge_method: linear")
    if method == "slerp" and (genome.get("smooth") or genome.get("filters")):
        what = "mergekit-evolve's slerp has neither smooth nor filters"
        yield Problem(place, what, "take them out")
    if method in ("ties", "dare_ties", "task_arithmetic") and not genome.get("base_model"):
        yield Problem(place, f"{method} needs a base_model:", "base_model: organisation/name")
    if not tree.get("tasks"):
        yield Problem((), "has no tasks:", "tasks: [{name: my_task, metric: 'acc,none'}]")
    elif isinstance(tree["tasks"], list):
        for i, entry in enumerate(tree["tasks"]):
            if read_task(entry) is None:
                what = f"expected a task, got {shown(entry)}"
                yield Problem(
                    ("tasks", i), what, "{name: my_task, weight: 1.0, metric: 'acc,none'}"
                )


def _mistyped(
    node: Mapping[str, Any], known: Mapping[str, tuple[type, ...]], place: Place
) -> Iterator[Problem]:
    for key, kinds in known.items():
        value = node.get(key)
        fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if value is not None and not fits:
            wanted = _KINDS.get(kinds[0], "true or false")
            yield Problem((*place, key), f"expected {wanted}, got {shown(value)}")


def unread(tree: Mapping[str, Any]) -> Iterator[str]:
    """Keys that mergekit-evolve passes over."""
    for node, known in ((tree, _TOP), (tree["genome"], _GENOME)):
        for key in node:
            if key not in known:
                yield f"{key}: mergekit-evolve does not read it; left out"


def read_task(entry: Any) -> GenomeTask | None:
    """A task, or None for what is none."""
    if isinstance(entry, str):
        return GenomeTask(entry, 1.0, "acc,none")
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        return None
    weight, metric = entry.get("weight", 1.0), entry.get("metric", "acc,none")
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        return None
    return GenomeTask(entry["name"], float(weight), metric) if isinstance(metric, str) else None


def read_genome(
    node: Mapping[str, Any], layers: int | None, folder: Path, elsewhere: Sequence[Path]
) -> Genome:
    """A genome without mistakes.

    Raises:
        UserError: the number of layers is needed and cannot be told.
    """

    def place(model: Any) -> str:
        return relocated(reference_text(model) or "", folder, elsewhere)

    models = [place(model) for model in node["models"]]
    granularity = node.get("layer_granularity") or 0
    if granularity > 0 and layers is None:
        layers = model_layers(models[0], folder)
        if layers is None:
            what = f"layer_granularity {granularity} needs the number of layers, and"
            raise UserError(f"{what} the config.json of {models[0]} cannot be had", status=2)
    method, normalize = node["merge_method"], node.get("normalize")
    tokenizer = node.get("tokenizer_source")
    return Genome(
        method=method,
        models=models,
        base=place(node["base_model"]) if node.get("base_model") else None,
        layers=layers,
        granularity=granularity,
        filters=[str(f) for f in node.get("filters") or ()],
        smooth=bool(node.get("smooth")),
        normalize=method in _NORMALIZED if normalize is None else normalize,
        negative=bool(node.get("allow_negative_weights")),
        tokenizer=tokenizer if tokenizer in (None, "union", "base") else place(tokenizer),
    )


def model_layers(reference: str, start: Path) -> int | None:
    """The number of layers of a model, from its `config.json`; None where it cannot be told."""
    from huggingface_hub import hf_hub_download

    path, _, revision = reference.partition("+")[0].partition("@")
    try:
        local = existing_folder(path, start)
        file = local / "config.json" if local else None
        file = file or Path(hf_hub_download(path, "config.json", revision=revision or None))
        config = json.loads(file.read_text(encoding="utf-8"))
    except Exception:  # no such model, no network, no JSON: the user can say the number
        return None
    inner = config.get("text_config") or config
    found = inner.get("num_hidden_layers", inner.get("n_layer"))
    return found if isinstance(found, int) else None

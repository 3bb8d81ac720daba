"""A genome of mergekit-evolve becomes a recipe.

Rule: the recipe spans what the genome spans, as far as a mergekit YAML can say it; what it cannot
is a note, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mergekit_mo.bounds import Bounds, default_bounds
from mergekit_mo.edits import scalar_text
from mergekit_mo.genome import PARAMETERS, Genome, mistakes, read_genome, read_task, unread
from mergekit_mo.mark import Marked, check
from mergekit_mo.methods import methods
from mergekit_mo.problems import Problem, RecipeError, Source

_EVALUATIONS = 100  # mergekit-evolve's --max-fevals


def convert(
    source: Source, folder: Path, *, layers: int | None = None, elsewhere: Sequence[Path] = ()
) -> Marked:
    """Makes a recipe of a genome file.

    Args:
        source: the file.
        folder: where the recipe will stand.
        layers: of the models; read from the first model's `config.json` where it is needed.
        elsewhere: where else local models may be.

    Raises:
        RecipeError: it is no genome file, or has a genome that no mergekit YAML can say.
        UserError: the number of layers cannot be told.
    """
    tree: dict[str, Any] = source.tree
    problems = list(mistakes(tree))
    if problems:
        raise RecipeError(source, problems)
    genome = read_genome(tree["genome"], layers, folder, elsewhere)
    if genome.granularity > 0 and (genome.layers or 0) % genome.granularity:
        what = f"{genome.layers} layers are no multiple of {genome.granularity}"
        raise RecipeError(source, [Problem(("genome", "layer_granularity"), what)])
    name = "".join(c if c.isprintable() else "?" for c in Path(source.name).name)
    rows = [f"# From {name}, a genome of mergekit-evolve.", *_config(genome)]
    rows += _search(tree, genome.notes)
    text = "\n".join(rows) + "\n"
    genome.notes += unread(tree)
    found, dimension = check(text, source.name, folder)
    return Marked(text, dimension, tuple(dict.fromkeys(genome.notes)), tuple(found))


def _config(genome: Genome) -> Iterator[str]:
    """The mergekit half of the recipe, line by line."""
    base = _base(genome)
    yield f"merge_method: {genome.method}"
    if base:
        yield f"base_model: {scalar_text(base)}"
    yield "dtype: bfloat16"
    if genome.tokenizer:
        yield f"tokenizer_source: {scalar_text(genome.tokenizer)}"
    if genome.method == "slerp":
        genome.notes.append(
            "slerp: mergekit-evolve starts from whichever model weighs more, with t up to 0.5; "
            f"here t goes all the way from {base}, which spans the same"
        )
    else:
        spans = "-1 to 1" if genome.negative else "0 to 1"
        genome.notes.append(f"mergekit-evolve knows no bounds; here weights go from {spans}")
    whole = genome.groups == 1 or genome.smooth
    yield from _models(genome, base) if whole else _slices(genome, base)
    known = methods()[genome.method].parameters
    own = {"normalize": genome.normalize, "int8_mask": True}
    shared = [f"{key}: {str(on).lower()}" for key, on in own.items() if key in known]
    if genome.method == "slerp" and whole:
        shared.append(f"t: {_hole(genome, 't', 1)}")
    if shared:
        yield f"parameters: {{{', '.join(shared)}}}"


def _base(genome: Genome) -> str | None:
    """The base model, where the merge method has a use for it."""
    if genome.method == "slerp":
        return genome.base if genome.base in genome.models else genome.models[0]
    if genome.method == "linear" and genome.base and genome.base not in genome.models:
        genome.notes.append(f"base_model {genome.base}: linear does not merge it; left out")
        return None
    return genome.base


def _models(genome: Genome, base: str | None) -> Iterator[str]:
    yield "models:"
    for model in genome.models:
        yield f"  - model: {scalar_text(model)}"
        yield from _parameters(genome, model, base, genome.groups, "    ")


def _slices(genome: Genome, base: str | None) -> Iterator[str]:
    """One slice for each group of layers, with numbers of its own."""
    step = genome.granularity
    models = list(genome.models)
    if base and base not in models:
        models.append(base)
    yield "slices:"
    for first in range(0, genome.groups * step, step):
        yield "  - sources:"
        for model in models:
            yield f"      - model: {scalar_text(model)}"
            yield f"        layer_range: [{first}, {first + step}]"
            yield from _parameters(genome, model, base, 1, "        ")
        if genome.method == "slerp":
            yield f"    parameters: {{t: {_hole(genome, 't', 1)}}}"


def _parameters(
    genome: Genome, model: str, base: str | None, anchors: int, indent: str
) -> Iterator[str]:
    """The holes of one model; the base's numbers change nothing where the method works from it."""
    if genome.method == "slerp":
        return
    if model == base and genome.method != "linear":
        if model in genome.models:
            genome.notes.append(f"{model} is the base: its numbers change nothing; left out")
        return
    yield f"{indent}parameters:"
    for name in PARAMETERS[genome.method]:
        if not genome.filters:
            yield f"{indent}  {name}: {_hole(genome, name, anchors)}"
            continue
        yield f"{indent}  {name}:"
        for text in (*genome.filters, None):
            yield f"{indent}    - {_hole(genome, name, anchors, text)}"


def _hole(genome: Genome, name: str, anchors: int, only: str | None = None) -> str:
    """A hole that starts where mergekit-evolve starts: weights 1/n, density 1, t one half."""
    start = {"weight": float(f"{1 / len(genome.models):.6g}"), "density": 1.0, "t": 0.5}[name]
    bounds = default_bounds(methods()[genome.method], name, [start])
    assert bounds is not None
    if name == "weight" and genome.negative:
        bounds = Bounds(-bounds.high, bounds.high)
    value = f"{start:g}" if anchors == 1 else f"[{', '.join([f'{start:g}'] * anchors)}]"
    words = [f"filter: {scalar_text(only)}"] if only else []
    words += [f"value: {value}", *(f"{key}: {end}" for key, end in bounds.items())]
    return f"{{{', '.join(words)}}}"


def _search(tree: Mapping[str, Any], notes: list[str]) -> Iterator[str]:
    """The `search:` block, line by line."""
    yield "search:"
    yield "  objectives:"
    tasks = [task for entry in tree["tasks"] if (task := read_task(entry))]
    for task in tasks:
        down = ", direction: minimize" if task.weight < 0 else ""
        entry = f"{{task: {scalar_text(task.name)}, metric: {scalar_text(task.metric)}{down}}}"
        yield f"    - {entry}  # weight {task.weight:g} in the genome"
    if len(tasks) > 1:
        weights = ",".join(f"{task.name}={abs(task.weight):g}" for task in tasks)
        notes.append(
            "the tasks' weighted sum becomes several goals; choose by the weights afterwards:  "
            f"mergekit-mo pick RUN --prefer {weights}"
        )
    yield f"  evaluation: {{{', '.join(_evaluation(tree, notes))}}}"
    yield f"  budget: {_EVALUATIONS}  # mergekit-evolve's own --max-fevals"


def _evaluation(tree: Mapping[str, Any], notes: list[str]) -> Iterator[str]:
    if tree.get("limit") is not None:
        yield f"limit: {tree['limit']}"
        notes.append("limit: a sample drawn by seed, where mergekit-evolve takes the first items")
    if tree.get("num_fewshot") is not None:
        yield f"num_fewshot: {tree['num_fewshot']}"
    chat = tree.get("apply_chat_template", True)
    yield f"apply_chat_template: {str(chat).lower()}"
    if chat:
        yield f"fewshot_as_multiturn: {str(tree.get('fewshot_as_multiturn', True)).lower()}"
    if tree.get("shuffle"):
        notes.append("shuffle: left out; the items are a sample drawn by seed in any case")
    if tree.get("random_init"):
        notes.append("random_init: left out; the search starts from the recipe's values")

"""A trial's model card for the Hugging Face Hub: what it is, what it scored, how to make it again.

Rule: mergekit's own conventions come first (its tags, its file names); search and hold-out scores
are never mixed; nothing in a card tells of this machine's folders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from mergekit_mo import __version__
from mergekit_mo.advances import advances
from mergekit_mo.archive import Archive
from mergekit_mo.export import documents_text
from mergekit_mo.intervals import text as figure
from mergekit_mo.layers import walk_text
from mergekit_mo.licences import Licence
from mergekit_mo.making import documents_of, maker_of, walk_of
from mergekit_mo.markdown import code_block, escaped, hub_link, plain, table
from mergekit_mo.options import command_line
from mergekit_mo.provenance import Origin, Provenance
from mergekit_mo.trial import Goal, Measurement, Split, Trial
from mergekit_mo.writing import CONFIG_FILE, recorded_flags

PICTURE = "front.png"
_TAGS = ["mergekit", "merge", "mergekit-mo"]
_WORDS: dict[Split, str] = {"search": "search items", "holdout": "held-out items"}


@dataclass(frozen=True)
class Subject:
    """What a card is written about.

    Attributes:
        archive: of the run.
        trial: whose model it is.
        name: of the model.
        provenance: of the trial's configuration.
        licence: of the model; None leaves it out.
    """

    archive: Archive
    trial: Trial
    name: str
    provenance: Provenance
    licence: Licence | None

    @property
    def config(self) -> str:
        """The configuration as YAML, with local folders called by their names."""
        documents = documents_of(self.archive, self.trial)
        return documents_text(self.provenance.public(document) for document in documents)


def card_text(subject: Subject) -> str:
    """A model card, front matter and all."""
    return f"---\n{_front_matter(subject)}\n---\n\n" + "\n\n".join(_body(subject)) + "\n"


def _front_matter(subject: Subject) -> str:
    from huggingface_hub import ModelCardData

    licence = subject.licence
    ids = dict.fromkeys(o.hub_id for o in subject.provenance.origins if o.hub_id)
    data = ModelCardData(
        base_model=[str(name) for name in ids] or None,
        base_model_relation="merge",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=_TAGS,
        license=licence.id if licence else None,
        license_name=licence.name if licence and licence.id == "other" else None,
        license_link=licence.link if licence and licence.id == "other" else None,
        model_name=plain(subject.name),
        eval_results=list(_results(subject)) or None,
    )
    return str(data.to_yaml())


def _results(subject: Subject) -> Iterator[Any]:
    """The scores for `model-index`; the two splits are datasets of their own."""
    from huggingface_hub import EvalResult

    archive, trial = subject.archive, subject.trial
    for goal in archive.goals:
        for split, scores in _splits(trial):
            found = scores.get(goal.name)
            if found is None or found.n is None:
                continue
            task, metric = task_of(archive, goal)
            yield EvalResult(
                task_type="text-generation",
                dataset_type=plain(task),
                dataset_name=f"{plain(task)} ({found.n} {_WORDS[split]})",
                dataset_split=split,
                metric_type=plain(metric.partition(",")[0]),
                metric_name=plain(goal.name if metric == "score" else metric),
                metric_value=found.value,
            )


def _splits(trial: Trial) -> tuple[tuple[Split, Mapping[str, Measurement]], ...]:
    return (("search", trial.scores), ("holdout", trial.holdout))


def task_of(archive: Archive, goal: Goal) -> tuple[str, str]:
    """The task and the metric that a goal is; `score` for one that is no metric of a task."""
    found = (archive.fact("measures") or {}).get(goal.name)
    return (str(found[0]), str(found[1])) if found else (goal.name, "score")


def _body(subject: Subject) -> Iterator[str]:
    archive, trial = subject.archive, subject.trial
    yield f"# {escaped(subject.name)}"
    yield (
        "This is a merge of pre-trained language models, made with "
        "[mergekit](https://github.com/arcee-ai/mergekit) by the "
        f"{escaped(trial.config.get('merge_method'))} method. `mergekit-mo`, a search over "
        f"mergekit configurations for several goals at once, found it: {_standing(archive, trial)}."
    )
    yield f"![Every merge of the search, its front and the parents]({PICTURE})"
    yield "*Scores on the search items: all merges grey, the front blue, the parents crosses.*"
    yield "## Scores"
    yield _scores(subject)
    yield from _meaning(archive, trial)
    yield "## Models merged"
    yield "\n".join(f"- {_origin(origin)}" for origin in subject.provenance.origins)
    yield "## Configuration"
    if walk := walk_of(archive, trial):
        path = walk_text(tuple((subject.provenance.name(name), layer) for name, layer in walk))
        yield f"Layers: {escaped(path)}; embeddings, final norm and head are the merge's."
    if subject.provenance.names:
        yield "Local folders are called by the last part of their paths."
    yield code_block(subject.config, "yaml")
    yield "## Make it again"
    yield from _again(subject)
    yield f"*Written by mergekit-mo {__version__}.*"


def _standing(archive: Archive, trial: Trial) -> str:
    """Where a trial stands in its search."""
    if trial.role == "reference":
        return "it is one of the parents, as it is"
    front = archive.front()
    place = f"trial {trial.number}, one of {len(archive.candidates)} merges"
    if trial not in front:
        return f"{place}, and not on the search's front"
    reason = "no other merge is as good in every goal and better in one"
    return f"{place}, and one of the {len(front)} on the search's front ({reason})"


def _scores(subject: Subject) -> str:
    """The scores of the model and of its parents, a row for each goal and split."""
    archive, trial = subject.archive, subject.trial
    parents = [t for t in archive.references if t.status == "done" and t != trial]
    shown = [trial, *parents]
    names = [subject.provenance.name(t.origin) for t in parents]
    header = ["goal", "items", "**this model**", *(escaped(_short(name)) for name in names)]
    rows = []
    for goal in archive.goals:
        title = f"{escaped(goal.name)} ({'higher' if goal.maximize else 'lower'} is better)"
        for split, scores in _splits(trial):
            found = scores.get(goal.name)
            if found is None or (split == "holdout" and found.n is None):
                continue
            cells = [figure(dict(_splits(t))[split].get(goal.name)) for t in shown]
            items = f"{found.n} {_WORDS[split]}" if found.n else "none"
            rows.append([title, items, f"**{cells[0]}**", *cells[1:]])
    return table(header, rows, left=2)


def _short(name: str) -> str:
    return "+".join(PurePath(part).name for part in name.split("+"))


def _meaning(archive: Archive, trial: Trial) -> Iterator[str]:
    """What the two kinds of scores are worth."""
    yield (
        "Brackets are 95 % intervals over the items, of each score by itself. Every model answered "
        "the same items, greedily."
    )
    gains = [" ".join(line.split()) for line in advances(archive, trial).told(trial.number)]
    if gains:
        listing = "\n".join(f"- {escaped(line)}" for line in gains[1:])
        yield f"{gains[0][0].upper()}{gains[0][1:]}\n\n{listing}"
    text = (
        "**Search and held-out items.** The search saw the search items and kept the merges that "
        "did best on them, so these scores flatter the merges."
    )
    if not trial.holdout:
        yield f"{text} This model was not scored on held-out items."
        return
    times = archive.openings().count(trial.number)
    yield (
        f"{text} The held-out items of the same tasks were kept from it, and asked once the front "
        f"stood (of this model {times} time{'' if times == 1 else 's'}): believe these. Neither "
        "says anything of tasks that were not asked."
    )


def _origin(origin: Origin) -> str:
    if origin.hub_id is None:
        return f"{escaped(origin.name)} (a local folder)"
    revision = f", revision {escaped(origin.revision)}" if origin.revision else ""
    known = origin.commit if origin.commit != origin.revision else None
    commit = f", commit `{known}`" if known else ""
    return f"{hub_link(origin.hub_id)}{revision}{commit}"


def _again(subject: Subject) -> Iterator[str]:
    """Commands and facts that make the model once more."""
    archive, config = subject.archive, subject.trial.config
    threads, device = archive.fact("threads"), archive.fact("device")
    words = command_line(recorded_flags(archive), device=device, threads=threads)
    if subject.provenance.adapters:
        words += " --lora-merge-cache lora"
    maker = maker_of(archive, subject.trial)
    own = f"mergekit-mo merge RUN {subject.trial.number} model"
    if maker == "mergekit-mo merge":
        yield "mergekit 0.1.5 cannot write the kinds of these layers; from the run itself:"
        yield code_block(own, "sh")
    else:
        places = "model"
        if maker == "mergekit-multi":
            places = '--out-path model -I "$PWD/parts" --no-lazy'
        yield f"With the configuration above as `{CONFIG_FILE}`:"
        yield code_block(f"{maker} {CONFIG_FILE} {places} {words}", "sh")
    if subject.trial.path is None and ("slices" in config or "modules" in config):
        yield (
            "Where that fails with a complaint about `layer_types`, which mergekit 0.1.5 cannot "
            f"write for another depth: `{own}`."
        )
    kind, settings = (archive.fact("search") or {}).get("optimizer") or ["unknown", {}]
    seed = (archive.fact("search") or {}).get("seed")
    failed = sum(t.status == "failed" for t in archive.candidates)
    merges = f"{len(archive.candidates)} merges" + (f", {failed} of them failed" if failed else "")
    how = f" with {escaped(json.dumps(settings))}" if settings else ""
    where = f"{threads} thread{'' if threads == 1 else 's'} on {escaped(device)}"
    yield "\n".join(
        [
            f"- sha256 of its tensors: `{subject.trial.digest}`",
            f"- search: {merges}, optimizer {escaped(kind)}{how}, seed {seed}",
            f"- merged with {where}, {_versions(archive)}",
        ]
    )


def _versions(archive: Archive) -> str:
    found: Mapping[str, str] = archive.fact("versions") or {}
    wanted = ("mergekit-mo", "mergekit", "torch", "transformers", "lm-eval")
    return ", ".join(f"{name} {escaped(found[name])}" for name in wanted if name in found)

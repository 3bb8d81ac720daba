"""What a finished search leaves to read: front YAMLs, tables and a picture.

Rule: a front YAML is plain mergekit, and its header holds every command and figure that somebody
needs who has nothing but that file.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mergekit_mo.advances import Advances, advances
from mergekit_mo.archive import Archive
from mergekit_mo.evaluation import LOADED_IN
from mergekit_mo.files import within, write_file
from mergekit_mo.intervals import interval
from mergekit_mo.intervals import text as figure
from mergekit_mo.making import documents_of, layers_text, maker_of
from mergekit_mo.options import command_line
from mergekit_mo.picture import draw_front
from mergekit_mo.problems import path_text
from mergekit_mo.trial import Trial

if TYPE_CHECKING:
    from mergekit_mo.asking import Asked
    from mergekit_mo.preflight import Ready
    from mergekit_mo.space import Space


class _Dumper(yaml.SafeDumper):
    """YAML as mergekit writes it: lists of numbers on one line, and nothing by reference.

    A recipe's anchors would stand in what one process writes, and not in what another one does that
    has read the same configuration from the archive.
    """

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """What stands twice is written twice."""
        return True


def numbers_in_flow(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    """A list as mergekit writes it: of numbers on one line, of anything else a line each."""
    flow = all(isinstance(entry, int | float) for entry in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


_Dumper.add_representer(list, numbers_in_flow)


def config_text(config: Any) -> str:
    """A mergekit configuration as YAML text."""
    return yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def documents_text(documents: Iterable[Any]) -> str:
    """Configurations as the documents of one YAML text."""
    return "---\n".join(map(config_text, documents))


def write_outputs(archive: Archive, ready: Ready, out: Path) -> None:
    """Writes `front/`, `front.csv`, `trials.csv`, `trials.jsonl` and `front.png` into a folder.

    Tasks that were made of a user's files are written to `tasks/`, for lm-eval alone.
    """
    front = archive.front()
    folder = out / "front"
    names = {f"{trial.number:03d}.yaml" for trial in front}
    for old in folder.glob("*.yaml"):
        # Of the same run, before it was extended; what a stranger's link leads to is not.
        if old.name not in names and within(out, old):
            old.unlink()
    gained = advances(archive)
    for trial in front:
        path = folder / f"{trial.number:03d}.yaml"
        write_file(path, front_text(archive, ready, trial, path, gained))
    for asked in ready.tasks:
        files = asked.documents.files() if asked.documents and asked.documents.asked else {}
        for name, text in files.items():
            write_file(out / "tasks" / name, text)
    write_file(out / "front.csv", table_text(archive, front))
    write_file(out / "trials.csv", table_text(archive, archive.trials))
    write_file(out / "trials.jsonl", lines_text(archive, ready.space))
    write_file(out / "front.png", draw_front(archive))


def front_text(
    archive: Archive, ready: Ready, trial: Trial, path: Path, gained: Advances | None = None
) -> str:
    """A trial's configuration with its header.

    Args:
        archive: of the run.
        ready: its recipe.
        trial: of the front.
        path: where the file is to be.
        gained: what the front gains over the sources; None where it is not told.
    """
    header_lines = _header(archive, ready, trial, path, gained or Advances("search", ()))
    lines = [f"# {line}".rstrip() for line in header_lines]
    # A strange name must not end its comment.
    header = "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)
    return f"{header}\n{documents_text(documents_of(archive, trial))}"


def _header(
    archive: Archive, ready: Ready, trial: Trial, path: Path, gained: Advances
) -> Iterator[str]:
    run = path.resolve().parent.parent
    model = run / "models" / f"{trial.number:03d}"
    yield f"Trial {trial.number} of {run.name}, proposed by {trial.origin}."
    if trial.path is not None:
        yield f"Layers: {layers_text(archive, trial)}; all else is the merge's."
    yield ""
    width = max(len(goal.name) for goal in archive.goals)
    yield f"{'':{width}}  {'search':>24}  {'hold-out':>24}"
    for goal in archive.goals:
        found = [figure(s.get(goal.name)) for s in (trial.scores, trial.holdout)]
        arrow = "up" if goal.maximize else "down"
        yield f"{goal.name:{width}}  {found[0]:>24}  {found[1]:>24}  better {arrow}"
    yield "Brackets are 95 % intervals, of each score by itself."
    for i, line in enumerate(gained.told(trial.number)):
        yield f"  {line}" if i else f"{line[0].upper()}{line[1:]}"
    yield ""
    load_in = ready.recipe.evaluation.load_in
    if load_in:
        yield f"These scores are of the model quantised to {LOADED_IN[load_in]} after the merge."
        yield "Neither the model below nor the digest of its tensors is quantised; nor do the lines"
        yield "of lm_eval below quantise it, as lm_eval cannot with this version of transformers."
        yield ""
        yield "Make the merge that was quantised, bit for bit (same device and number of threads):"
    else:
        yield "Make the model that was scored, bit for bit (same device and number of threads):"
    yield f"  {_command(archive, ready, trial, path.resolve(), model)}"
    if trial.path is None and ready.recipe.configuration.changes_depth:
        yield "or, for an architecture whose configuration mergekit cannot write at another depth:"
        yield f"  mergekit-mo merge {quoted(run)} {trial.number} {quoted(model)}"
    yield f"  sha256 of its tensors: {trial.digest}"
    for asked in ready.tasks:
        yield ""
        yield from _score_command(ready, asked, model, run)


def _command(archive: Archive, ready: Ready, trial: Trial, path: Path, model: Path) -> str:
    """What makes the model; mergekit-multi keeps the named merge beside it."""
    maker = maker_of(archive, trial)
    flags = command_line(ready.flags, device=ready.device, threads=archive.fact("threads"))
    if maker == "mergekit-yaml":
        return f"mergekit-yaml {quoted(path)} {quoted(model)} {flags}"
    if maker == "mergekit-multi":
        parts = model.with_name(f"{model.name}.parts")
        places = f"--out-path {quoted(model)} -I {quoted(parts)} --no-lazy"
        return f"mergekit-multi {quoted(path)} {places} {flags}"
    return f"mergekit-mo merge {quoted(path.parent.parent)} {trial.number} {quoted(model)}"


def _score_command(ready: Ready, asked: Asked, model: Path, run: Path) -> Iterator[str]:
    """How lm-eval gives one task's search scores again."""
    evaluation, path = ready.recipe.evaluation, asked.path
    if asked.documents:
        if not asked.documents.asked:
            yield f"{asked.name} is computed by mergekit-mo alone, not by lm_eval."
            return
        path = run / "tasks" / f"{asked.name}.yaml"
    words = [
        f"cd {quoted(path.parent)} && lm_eval run --model hf",
        f"--model_args {quoted(_model_args(ready, model))}",
        f"--tasks {quoted(_task_words(path))} --device {ready.device}",
        f"--batch_size {evaluation.batch_size}",
    ]
    shots = asked.task.get_config("num_fewshot")
    if evaluation.num_fewshot is not None:
        words.append(f"--num_fewshot {evaluation.num_fewshot}")
    if evaluation.apply_chat_template:
        multiturn = evaluation.fewshot_as_multiturn
        words.append("--apply_chat_template")
        words.append(f"--fewshot_as_multiturn {multiturn is not False}")
    if evaluation.system_instruction:
        words.append(f"--system_instruction {quoted(evaluation.system_instruction)}")
    if asked.task.config.output_type == "generate_until":
        words.append(f"--gen_kwargs {quoted(json.dumps(asked.task.config.generation_kwargs))}")
    items = len(asked.items["search"])
    everything = items == asked.total
    if shots and not everything:
        yield f"Score it again ({asked.name}: lm-eval's prompts of few-shot items depend on the"
        yield f"items that are asked, so ask all; the {items} search items are among its samples):"
    elif everything:
        yield f"Score it again ({asked.name}, all {items} items):"
    else:
        yield f"Score it again ({asked.name}, the {items} search items):"
        words.append(f"--samples {quoted(run / 'items' / 'search.json')}")
    yield "  " + " ".join(words)


def _model_args(ready: Ready, model: Path) -> str:
    """The model for lm-eval, as JSON where its short form would take a folder's name apart."""
    length = ready.recipe.evaluation.max_length
    words: dict[str, Any] = {"pretrained": str(model)} | ({"max_length": length} if length else {})
    if any(letter in str(model) for letter in "'\",[](){}"):
        return json.dumps(words, ensure_ascii=False)
    return ",".join(f"{key}={value}" for key, value in words.items())


def _task_words(path: Path) -> str:
    """A task's file for lm-eval, which takes commas for a list and [, ] and * for a pattern."""
    return path.name if "," in str(path.parent) else glob.escape(str(path))


def quoted(word: object) -> str:
    """A word as a shell takes it."""
    return shlex.quote(str(word))


def lines_text(archive: Archive, space: Space) -> str:
    """Trials as JSON Lines, all that the archive knows of each but its answers.

    `values` are by the hole's name, null for a reference; the hold-out is empty where it was not
    opened; `on_front` is by search scores.
    """
    front = {trial.number for trial in archive.front()}
    rows = []
    for trial in archive.trials:
        record = asdict(trial)
        values = None
        if trial.unit is not None and len(trial.unit) == space.dim:
            values = dict(zip(_axis_names(space), space.values(trial.unit), strict=True))
        record |= {"values": values, "on_front": trial.number in front}
        rows.append(json.dumps(record, ensure_ascii=False))
    return "".join(f"{row}\n" for row in rows)


def _axis_names(space: Space) -> list[str]:
    """The names of a space's axes; with the hole's place where two would be called alike."""
    names = [axis.name for axis in space.axes]
    return [
        name if names.count(name) == 1 else f"{name} ({path_text(axis.place)})"
        for name, axis in zip(names, space.axes, strict=True)
    ]


def table_text(archive: Archive, trials: Iterable[Trial]) -> str:
    """Trials as CSV: number, origin, status, each goal with its error, the hold-out likewise.

    The error is the standard error, and the ends of the score's 95 % interval. Where layers are
    searched, the path comes last. Scores of a stopped trial are estimates; `stopped`
    has how many of how many items it was asked.
    """
    names = [goal.name for goal in archive.goals]
    columns = [f"{name}{end}" for name in names for end in ("", "_stderr", "_low", "_high")]
    paths = ["path"] if archive.layers else []
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            "trial",
            "origin",
            "status",
            *columns,
            *(f"holdout_{c}" for c in columns),
            "seconds",
            "error",
            "stopped",
            *paths,
        ]
    )
    for trial in trials:
        cells: list[Any] = []
        for scores in (trial.scores, trial.holdout):
            for name in names:
                found = scores.get(name)
                ends = interval(found) if found else None
                cells += [found.value, found.stderr] if found else [None, None]
                cells += ends.plain() if ends else [None, None]
        writer.writerow(
            [trial.number, trial.origin, trial.status, *cells, trial.seconds, trial.error]
            + [f"{trial.stopped.asked}/{trial.stopped.of}" if trial.stopped else None]
            + [layers_text(archive, trial) for _ in paths]
        )
    return file.getvalue()

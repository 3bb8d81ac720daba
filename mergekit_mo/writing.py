"""A trial's model on disk, written as `mergekit-yaml` would, and proved to be the one scored.

Rule: mergekit's own `run_merge` does the writing, with the run's recorded flags, seed, device and
threads; a folder whose tensors have another digest than the trial's never appears.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mergekit_mo.archive import Archive
from mergekit_mo.export import documents_text
from mergekit_mo.files import put_in_place
from mergekit_mo.layers import MERGE, Walk
from mergekit_mo.machine import versions
from mergekit_mo.making import documents_of, walk_of
from mergekit_mo.options import MergeFlags
from mergekit_mo.problems import UserError
from mergekit_mo.references import references_of
from mergekit_mo.trial import Trial

CONFIG_FILE = "mergekit_config.yml"


@dataclass(frozen=True)
class Caches:
    """Where this machine keeps what a merge needs on the way.

    Attributes:
        models: downloaded models; None for the Hub client's own place.
        lora: models merged with their LoRA.
    """

    models: Path | None = None
    lora: Path | None = None


def done_trial(archive: Archive, number: int) -> Trial:
    """The finished trial of a number.

    Raises:
        UserError: there is no such trial, or it has no model.
    """
    found = archive.trial(number)
    if found is None:
        last = max((t.number for t in archive.trials), default=-1)
        known = f"this run has the trials 0 to {last}" if last >= 0 else "this run has no trials"
        raise UserError(f"there is no trial {number}; {known}", status=2)
    if found.status == "waiting":
        raise UserError(f"trial {number} has not been run yet; continue the search with --resume")
    if found.status == "failed" or found.digest is None:
        reason = (found.error or "it has no digest").strip().splitlines()[0]
        raise UserError(f"trial {number} has no model, it failed: {reason}")
    return found


def recorded_flags(archive: Archive) -> MergeFlags:
    """The merge flags that a run was made with; the places of caches are not among them."""
    known = {f.name for f in fields(MergeFlags)}
    return MergeFlags(**{k: v for k, v in (archive.fact("flags") or {}).items() if k in known})


def check_empty(out: Path) -> None:
    """Sees that a folder can be written.

    Raises:
        UserError: there is something in it, or it is no folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "holds something already" if out.is_dir() else "is a file"
        raise UserError(f"{out}: {what}; name a folder that is empty or new", status=2)


def write_model(
    archive: Archive,
    trial: Trial,
    out: Path,
    *,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    caches: Caches | None = None,
) -> str:
    """Merges a finished trial into a folder.

    Args:
        archive: of the run.
        trial: from `done_trial`.
        out: a new or empty folder.
        trust_remote_code: lets the sources' own code run, where the search let it.
        allow_pickle: takes pickled weights.
        caches: of this machine.

    Returns:
        The digest of the tensors.

    Raises:
        UserError: it cannot be merged here, or merges to other weights than were scored.
    """
    check_empty(out)
    flags = _placed(trusted_flags(archive, trust_remote_code, allow_pickle), caches or Caches())
    if not allow_pickle:
        refuse_pickles(trial)
    device = str(archive.fact("device") or "cpu")
    out = out.resolve()
    aside = out.with_name(f".{out.name}.new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)  # of a merge that was killed
        aside.mkdir()
        with _threads(int(archive.fact("threads") or 1), device):
            _merge(archive, trial, aside, flags, device)
        text = documents_text(documents_of(archive, trial))
        (aside / CONFIG_FILE).write_text(text, encoding="utf-8")
        check_digest(archive, trial, aside, "the merge gave")
        _sync(aside)
        put_in_place(aside, out)
    except OSError as error:
        raise UserError(f"{out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # there only where something failed
    assert trial.digest is not None
    return trial.digest


def check_digest(archive: Archive, trial: Trial, folder: Path, verb: str) -> None:
    """Compares the tensors in a folder with those that were scored.

    Raises:
        UserError: they differ, or there are none.
    """
    from mergekit_mo.digests import folder_digest

    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder}: there are no *.safetensors files in it")
    found = folder_digest(folder)
    if found == trial.digest:
        return
    raise UserError(
        f"trial {trial.number}: {verb} other weights than those that were scored\n"
        f"  scored   sha256 {trial.digest}\n"
        f"  {verb.rpartition(' ')[2]:8} sha256 {found}\n"
        f"{_suspects(archive)}"
    )


def _suspects(archive: Archive) -> str:
    """What may have changed since the trial was scored."""
    then, now = archive.fact("versions") or {}, versions()
    rows = [
        "a source may have changed (a folder written anew, a Hub branch that moved on)",
        f"the run merged with {archive.fact('threads')} threads on {archive.fact('device')}: "
        "another processor, BLAS or GPU can round differently",
    ]
    rows += [
        f"{name} was {then[name]} then, and is {now.get(name)} now"
        for name in ("mergekit", "torch", "transformers")
        if name in then and then[name] != now.get(name)
    ]
    return "\n".join(f"  - {row}" for row in rows)


def trusted_flags(archive: Archive, trust_remote_code: bool, allow_pickle: bool) -> MergeFlags:
    """The recorded flags, but for what an archive alone must not allow: code of others.

    Raises:
        UserError: the search let code of others run, and here nobody did.
    """
    flags = replace(recorded_flags(archive), allow_pickle=allow_pickle)
    if flags.trust_remote_code and not trust_remote_code:
        what = "the search ran with --trust-remote-code: the sources bring Python code of their own"
        raise UserError(f"{what}; say --trust-remote-code again if you trust it", status=2)
    return flags


def refuse_pickles(trial: Trial) -> None:
    """Sees that a trial's models have weights that are no pickles.

    Raises:
        UserError: one has pickles alone.
    """
    from mergekit_mo.merging import parse_reference
    from mergekit_mo.sources import PICKLE_HINT, pickled_weights

    for source in dict.fromkeys(references_of(trial.config)):
        if pickled := pickled_weights(parse_reference(source)):
            raise UserError(f"{source}: {pickled}; {PICKLE_HINT}", status=2)


def _placed(flags: MergeFlags, caches: Caches) -> MergeFlags:
    """Flags with this machine's places."""
    return replace(
        flags,
        transformers_cache=str(caches.models) if caches.models else None,
        lora_merge_cache=str(caches.lora) if caches.lora else None,
    )


def _merge(archive: Archive, trial: Trial, out: Path, flags: MergeFlags, device: str) -> None:
    """Runs mergekit's own writer, twice where a walk needs the merge on disk."""
    from mergekit.io.tasks import LoaderCache

    from mergekit_mo.planning import merge_options

    options = merge_options(flags, device)
    named = out.with_name(f"{out.name}.merge")
    documents = documents_of(archive, trial, name=str(named))
    try:
        LoaderCache().loaders.clear()  # it is keyed by the path alone, and folders change
        LoaderCache().setup(options)
        if len(documents) > 1:
            shutil.rmtree(named, ignore_errors=True)  # of a merge that was killed
            named.mkdir()
            _run(trial.config, named, options)
        walk = walk_of(archive, trial) if len(documents) == 1 else None
        _run(documents[-1], out, options, trial.config, walk)
    except Exception as error:  # mergekit, transformers and the Hub client raise many kinds
        text = str(error).strip() or type(error).__name__
        what = f"trial {trial.number} could not be merged again: {type(error).__name__}: {text}"
        raise UserError(f"{what}\n  are all of its sources where they were?") from error
    finally:
        LoaderCache().loaders.clear()  # lets go of the sources' files
        shutil.rmtree(named, ignore_errors=True)
    if not any((out / name).exists() for name in ("tokenizer_config.json", "tokenizer.json")):
        what = f"trial {trial.number}: mergekit wrote no tokenizer beside the weights"
        raise UserError(f"{what}; is the tokenizer of its base model still there?")


def _run(
    document: Mapping[str, Any],
    out: Path,
    options: Any,
    merged: Mapping[str, Any] | None = None,
    walk: Walk | None = None,
) -> None:
    """Merges one configuration into a folder.

    Args:
        document: the configuration.
        out: the folder.
        options: mergekit's.
        merged: the configuration of the merge over whose layers the walk goes.
        walk: the layers of the document's model, where they are to tell its configuration.
    """
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge

    from mergekit_mo.merging import seeded
    from mergekit_mo.planning import plan_merge
    from mergekit_mo.stack import source_config, stacked_config

    merge = MergeConfiguration.model_validate(deepcopy(dict(document)))
    if walk is None or merged is None:
        config = plan_merge(document, options).config
    else:
        plan = plan_merge(merged, options)
        trust = options.trust_remote_code
        sources = {name: source_config(name, trust) for name, _ in walk if name != MERGE}
        config = stacked_config(plan.config, plan.architecture, walk, sources)
    with seeded(options.random_seed), _writes_config(config):
        run_merge(merge, str(out), options)


@contextmanager
def _writes_config(config: Any) -> Iterator[None]:
    """Has `run_merge` write our form of the model's configuration.

    mergekit 0.1.5 makes one that transformers refuses to save where the depth changes and the
    layers have kinds (`layer_types`); all else in it is the same.
    """
    import mergekit.merge as module

    before = module._model_out_config
    module._model_out_config = lambda *_args, **_kwargs: config
    try:
        yield
    finally:
        module._model_out_config = before


@contextmanager
def _threads(count: int, device: str) -> Iterator[None]:
    """Gives torch the number of threads that the run was made with."""
    import torch

    before = torch.get_num_threads()
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        what = f"the run merged on {device!r}, which torch cannot use here"
        raise UserError(f"{what}: {str(error).strip().splitlines()[0]}") from error
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sync(folder: Path) -> None:
    """Sees that the disk has every file of a folder."""
    for path in (*folder.rglob("*"), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

"""What belongs to a published trial: its model, card, configuration and picture, packed together.

Rule: a model that is on disk is proved by its digest before it is used, and is not merged again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mergekit_mo.archive import Archive
from mergekit_mo.card import PICTURE, Subject, card_text
from mergekit_mo.files import within
from mergekit_mo.hub import Item, gather
from mergekit_mo.licences import Licence, choose_licence, known_licences
from mergekit_mo.picture import draw_front
from mergekit_mo.problems import UserError
from mergekit_mo.provenance import Origin, Provenance, provenance
from mergekit_mo.trial import Trial
from mergekit_mo.writing import CONFIG_FILE, Caches, check_digest, write_model


@dataclass(frozen=True)
class Package:
    """What is to be uploaded.

    Attributes:
        items: the files.
        left: names in the model's folder that belong to no model, and stay.
        licence: of the model; None where only the Hub can tell, and was not asked.
        model: the folder with the model; None where it has not been written.
    """

    items: tuple[Item, ...]
    left: tuple[str, ...]
    licence: Licence | None
    model: Path | None


def subject_of(
    archive: Archive,
    trial: Trial,
    name: str,
    stated: str | None,
    *,
    ask_hub: bool,
    cache: Path | None = None,
) -> Subject:
    """What a trial's card is written about.

    Args:
        archive: of the run.
        trial: a finished one.
        name: of the model.
        stated: the licence that the user says, if any.
        ask_hub: ask the Hub for licences that are unknown here; if not, a licence that only the
            Hub can tell is left out.
        cache: of downloaded models.

    Raises:
        UserError: the licence cannot be told.
    """
    found = provenance(trial.config, cache)
    known = known_licences(found.origins, ask_hub=ask_hub, cache=cache)
    open_question = stated is None and not ask_hub and _only_the_hub_knows(found.origins, known)
    licence = None if open_question else choose_licence(known, stated)
    return Subject(archive, trial, name, found, licence)


def _only_the_hub_knows(origins: Sequence[Origin], known: dict[str, Licence | None]) -> bool:
    unknown = [origin for origin in origins if known[origin.name] is None]
    return bool(unknown) and all(origin.hub_id for origin in unknown)


def find_model(archive: Archive, trial: Trial, run: Path, named: Path | None) -> Path | None:
    """A folder that has the trial's model already; None where there is none.

    Args:
        archive: of the run.
        trial: a finished one.
        run: its folder, where `models/` is looked through.
        named: the folder that the user names.

    Raises:
        UserError: the named folder has another model.
    """
    if named is not None:
        if not named.is_dir():
            raise UserError(f"{named}: no such folder", status=2)
        check_digest(archive, trial, named, f"{named} holds")
        return named
    for folder in (run / "models" / f"{trial.number:03d}", _own_folder(run, trial)):
        if not all(within(run, path) for path in (folder, *folder.glob("*"))):
            continue  # a stranger's link would publish a file of the user's own
        try:
            check_digest(archive, trial, folder, "it holds")
        except (UserError, OSError, ValueError):  # absent, of another merge, or torn
            continue
        return folder
    return None


def _own_folder(run: Path, trial: Trial) -> Path:
    """Where a model stands while it is uploaded."""
    return run / "models" / f".push-{trial.number:03d}"


def make_model(
    archive: Archive, trial: Trial, run: Path, *, caches: Caches, **allowed: bool
) -> Path:
    """Writes the trial's model into the run folder, where the next attempt finds it."""
    folder = _own_folder(run, trial)
    shutil.rmtree(folder, ignore_errors=True)
    write_model(archive, trial, folder, caches=caches, **allowed)
    return folder


def clear_model(run: Path, trial: Trial) -> None:
    """Removes what `make_model` wrote, once it is on the Hub."""
    shutil.rmtree(_own_folder(run, trial), ignore_errors=True)


@contextmanager
def packed(subject: Subject, run: Path, model: Path | None) -> Iterator[Package]:
    """Lays the card, the configuration and the picture beside the model, for as long as it takes.

    Args:
        subject: what the card is about.
        run: its folder, where the picture is.
        model: the folder with the model; None where it has not been written.
    """
    with tempfile.TemporaryDirectory(prefix="mergekit-mo-") as name:
        folder = Path(name)
        (folder / "README.md").write_text(card_text(subject), encoding="utf-8")
        (folder / CONFIG_FILE).write_text(subject.config, encoding="utf-8")
        drawn = run / PICTURE
        there = drawn.is_file() and within(run, drawn)
        picture = drawn.read_bytes() if there else draw_front(subject.archive)
        (folder / PICTURE).write_bytes(picture)
        beside = {path.name: path for path in folder.iterdir()}
        items, left = gather(model, beside) if model else gather(folder, beside)
        if model:
            _refuse_leaks(items, subject.provenance)
        yield Package(items, left, subject.licence, model)


def _refuse_leaks(items: Sequence[Item], found: Provenance) -> None:
    """Refuses small files that tell where this machine keeps the sources.

    Raises:
        UserError: one does.
    """
    paths = [path.encode() for path in found.names if path.count("/") > 1]
    for item in items:
        if item.file.suffix != ".json":
            continue
        content = item.file.read_bytes()
        if any(path in content for path in paths):
            what = f"{item.file} names a folder of this machine, which would be published"
            raise UserError(f"{what}; take it out of a copy, and name that with --model")

"""How somebody else makes a trial's model: which configurations, run by which command.

Rule: all of it comes from the archive, so that a run can be read without its models.
"""

from __future__ import annotations

from typing import Any, Literal

from mergekit_mo.archive import Archive
from mergekit_mo.layers import MERGE, Walk
from mergekit_mo.slicing import documents
from mergekit_mo.trial import Trial

Maker = Literal["mergekit-yaml", "mergekit-multi", "mergekit-mo merge"]


def walk_of(archive: Archive, trial: Trial) -> Walk | None:
    """The layers of a trial's model by their models' names; None for a merge as it is."""
    if trial.path is None or archive.layers is None:
        return None
    return archive.layers.walk(trial.path)


def documents_of(archive: Archive, trial: Trial, name: str = MERGE) -> tuple[dict[str, Any], ...]:
    """A trial's configurations: one for `mergekit-yaml`, or two for `mergekit-multi`.

    Args:
        archive: of the run.
        trial: any.
        name: what the second configuration calls the merge that the first one makes.
    """
    depth = archive.layers.merge_depth if archive.layers else 0
    return documents(trial.config, walk_of(archive, trial), depth, name)


def maker_of(archive: Archive, trial: Trial) -> Maker:
    """The command that makes a trial's model, bit for bit and with its layers' right kinds."""
    layers, count = archive.layers, len(documents_of(archive, trial))
    if layers is not None and trial.path is not None:
        named_merge_fails = count > 1 and layers.merge_kinds != layers.written
        if named_merge_fails or not layers.written_by_mergekit(trial.path):
            return "mergekit-mo merge"
    return "mergekit-multi" if count > 1 else "mergekit-yaml"


def layers_text(archive: Archive, trial: Trial) -> str:
    """A trial's path as people read it; empty where it has none."""
    if trial.path is None or archive.layers is None:
        return ""
    return archive.layers.text(trial.path)

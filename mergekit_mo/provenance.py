"""What a merge was made from, as strangers may read it: Hub ids, revisions, folders' last names.

Rule: a local path never leaves the machine; a folder is called by its last part. A revision is
told only where it is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergekit_mo.references import references_of

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)


@dataclass(frozen=True)
class Origin:
    """One model that a merge was made from.

    Attributes:
        name: as strangers may read it.
        hub_id: on the Hub; None for a folder.
        folder: on this machine; None for a model of the Hub.
        revision: as the configuration says it.
        commit: of the Hub, where the configuration or this machine's cache tells it.
    """

    name: str
    hub_id: str | None
    folder: Path | None
    revision: str | None
    commit: str | None


@dataclass(frozen=True)
class Provenance:
    """A configuration's models, and names for them that tell nothing of this machine.

    Attributes:
        origins: the models, the base first.
        names: of local folders, by their paths.
        adapters: whether some model is merged with a LoRA.
    """

    origins: tuple[Origin, ...]
    names: Mapping[str, str]
    adapters: bool

    def public(self, node: Any) -> Any:
        """A configuration, or a part of one, with every local folder called by its name."""
        if isinstance(node, Mapping):
            return {key: self.public(value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [self.public(value) for value in node]
        return self.name(node) if isinstance(node, str) else node

    def name(self, reference: str) -> str:
        """A model reference as strangers may read it; any other text as it is."""
        parts = [part.partition("@") for part in reference.split("+")]
        if not any(_is_local(path) for path, _, _ in parts):
            return reference
        return "+".join(
            self.names.get(path, _last(path) if _is_local(path) else path) + at + revision
            for path, at, revision in parts
        )


def provenance(config: Mapping[str, Any], cache: Path | None = None) -> Provenance:
    """Where the models of a mergekit configuration come from; asks nobody.

    Args:
        config: with absolute local paths.
        cache: of downloaded models; None for the Hub client's own.
    """
    origins: dict[str, Origin] = {}
    names: dict[str, str] = {}
    references = list(references_of(config))
    for reference in references:
        for part in reference.split("+"):
            path, _, revision = part.partition("@")
            if part in origins or (not _is_local(path) and not _HUB_ID.fullmatch(path)):
                continue
            if _is_local(path):
                names.setdefault(path, _unused(_last(path), names))
                origins[part] = Origin(names[path], None, Path(path), None, None)
            else:
                commit = _cached_commit(path, revision or None, cache)
                origins[part] = Origin(path, path, None, revision or None, commit)
    return Provenance(tuple(origins.values()), names, any("+" in r for r in references))


def _is_local(path: str) -> bool:
    return path.startswith(("/", "~")) and "\n" not in path


def _last(path: str) -> str:
    return Path(path).name or "model"


def _unused(name: str, names: Mapping[str, str]) -> str:
    """A name that no other folder has."""
    taken, count, found = set(names.values()), 1, name
    while found in taken:
        count += 1
        found = f"{name}-{count}"
    return found


def _cached_commit(hub_id: str, revision: str | None, cache: Path | None) -> str | None:
    """The commit that this machine has of a model; None where it has none."""
    if revision and _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, "config.json", cache_dir=cache, revision=revision)
    commit = Path(found).parent.name if isinstance(found, str) else ""
    return commit if _COMMIT.fullmatch(commit) else None

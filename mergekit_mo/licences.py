"""The licence of a merge, as its sources' licences allow it.

Rule: nothing is guessed. Where a source's licence is unknown the user is asked, and what a known
source does not allow is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergekit_mo.problems import UserError
from mergekit_mo.provenance import Origin

_PERMISSIVE = ("unlicense", "cc0-1.0", "mit", "bsd-2-clause", "bsd-3-clause", "apache-2.0")
"""Licences whose works may be joined under the last of them that is present."""
_FORM = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,63}")
_SECONDS = 10


@dataclass(frozen=True)
class Licence:
    """A licence as the Hub writes it.

    Attributes:
        id: the Hub's word for it; `other` for one that it has no word for.
        name: of an `other` one.
        link: to the text of an `other` one.
    """

    id: str
    name: str | None = None
    link: str | None = None

    @property
    def title(self) -> str:
        """The word that tells it from others."""
        return f"other ({self.name})" if self.id == "other" and self.name else self.id


def known_licences(
    origins: Sequence[Origin], *, ask_hub: bool, cache: Path | None = None
) -> dict[str, Licence | None]:
    """What is known of the sources' licences, by their names.

    Args:
        origins: the sources.
        ask_hub: ask the Hub for those that this machine does not know.
        cache: of downloaded models; None for the Hub client's own.
    """
    found = {}
    for origin in origins:
        if origin.folder is not None:
            found[origin.name] = _read(origin.folder / "README.md")
        else:
            licence = _cached(origin, cache)
            found[origin.name] = licence or (_asked(origin) if ask_hub else None)
    return found


def choose_licence(known: Mapping[str, Licence | None], stated: str | None) -> Licence:
    """The licence that a merge may have.

    Args:
        known: the sources' licences.
        stated: what the user says, if anything.

    Raises:
        UserError: a licence is unknown, or they do not go together.
    """
    if stated is not None:
        return _check_stated(known, stated.strip().lower())
    listing = "\n".join(f"  {n}: {lic.title if lic else 'unknown'}" for n, lic in known.items())
    if not known or None in known.values():
        what = "the licence of the merge cannot be told, as a source's is unknown:"
        raise UserError(f"{what}\n{listing}\n  say --license LICENCE (for example apache-2.0)")
    licences = {lic for lic in known.values() if lic is not None}
    if len(licences) == 1 and not any(lic.id == "other" and not lic.name for lic in licences):
        return next(iter(licences))
    if all(lic.id in _PERMISSIVE for lic in licences):
        return max(licences, key=lambda lic: _PERMISSIVE.index(lic.id))
    what = "the sources' licences differ, and which of them the merge may have is not for us to say"
    raise UserError(f"{what}:\n{listing}\n  say --license LICENCE once you know")


def _check_stated(known: Mapping[str, Licence | None], stated: str) -> Licence:
    """Holds the user's word against what is known."""
    if not _FORM.fullmatch(stated):
        what = f"{stated!r} is no licence of the Hub's"
        raise UserError(f"{what}: they are words such as apache-2.0, mit, llama3.1", status=2)
    if stated == "other":
        return Licence("other", name="see-the-sources")
    for name, licence in known.items():
        if licence is None or licence.id == stated:
            continue
        if licence.id in _PERMISSIVE and _PERMISSIVE.index(licence.id) <= _rank(stated):
            continue
        what = f"{name} is under {licence.title}, which is no leave to publish under {stated}"
        raise UserError(f"{what}; say --license {licence.id}, or --license other")
    return Licence(stated)


def _rank(licence: str) -> int:
    return _PERMISSIVE.index(licence) if licence in _PERMISSIVE else len(_PERMISSIVE)


def _read(path: Path) -> Licence | None:
    """The licence in a model card's front matter."""
    import yaml
    from huggingface_hub.repocard import metadata_load

    try:
        return _licence(metadata_load(path) or {})
    except (OSError, ValueError, yaml.YAMLError):  # no card, or none that can be read
        return None


def _cached(origin: Origin, cache: Path | None) -> Licence | None:
    from huggingface_hub import try_to_load_from_cache

    assert origin.hub_id is not None
    revision = origin.commit or origin.revision
    found = try_to_load_from_cache(origin.hub_id, "README.md", cache_dir=cache, revision=revision)
    return _read(Path(found)) if isinstance(found, str) else None


def _asked(origin: Origin) -> Licence | None:
    """What the Hub says; None where it cannot be reached."""
    from huggingface_hub import HfApi

    assert origin.hub_id is not None
    revision = origin.commit or origin.revision
    try:
        card = HfApi().model_info(origin.hub_id, revision=revision, timeout=_SECONDS).card_data
    except Exception:  # no network, a private model, a busy Hub: unknown is an answer here
        return None
    return _licence(vars(card)) if card is not None else None


def _licence(card: Mapping[str, Any]) -> Licence | None:
    """A licence from a card's metadata; None where it says nothing that can be used."""
    found = card.get("license")
    found = found[0] if isinstance(found, list) and len(found) == 1 else found
    if not isinstance(found, str) or not _FORM.fullmatch(found.strip().lower()):
        return None
    name, link = _texts(card.get(key) for key in ("license_name", "license_link"))
    return Licence(found.strip().lower(), name, link)


def _texts(values: Iterable[Any]) -> list[str | None]:
    return [v.strip() if isinstance(v, str) and v.strip() else None for v in values]

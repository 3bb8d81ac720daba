"""What the sources' files hold: digested once a run, and looked at again before and after a merge.

Rule: a file's size and time say whether it is worth reading again; what counts is its content, so a
folder that was copied or touched is the same, and one that was trained on is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SUFFIXES = frozenset(
    {".safetensors", ".bin", ".pt", ".pth", ".json", ".model", ".txt", ".jinja", ".py"}
)
"""Of the files that a merge is made from."""

Signature = tuple[tuple[str, int, int], ...]
"""Name, bytes and nanoseconds of the last change of each file."""


@dataclass(frozen=True)
class Content:
    """What a model's folder holds.

    Attributes:
        signature: of its files.
        digest: of their names and contents.
    """

    signature: Signature
    digest: str

    def plain(self) -> list[Any]:
        """As JSON."""
        return [[list(entry) for entry in self.signature], self.digest]


def contents(
    sources: Iterable[str], known: Mapping[str, Content] | None = None
) -> dict[str, Content]:
    """The contents of the sources that are folders of this machine.

    Args:
        sources: in mergekit's form.
        known: contents from before; a folder with the same signature is not read again.
    """
    found: dict[str, Content] = {}
    for source in sources:
        for part in source.split("+"):
            folder = Path(part)
            if part in found or not folder.is_dir():
                continue
            signature = signature_of(folder)
            before = (known or {}).get(part)
            same = before is not None and before.signature == signature
            found[part] = before if same and before else Content(signature, _digest(folder))
    return found


def read_contents(plain: Mapping[str, Any]) -> dict[str, Content]:
    """Contents as they were stored."""
    return {
        part: Content(tuple((str(n), int(b), int(t)) for n, b, t in signature), str(digest))
        for part, (signature, digest) in plain.items()
    }


def signature_of(folder: Path) -> Signature:
    """The signature of a model's folder; empty where it is gone."""
    try:
        files = sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES and p.is_file())
        stats = [(path.name, path.stat()) for path in files]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name, _, _ in signature_of(folder):
        with (folder / name).open("rb") as file:
            digest.update(f"{name}\n".encode())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class SourceError(RuntimeError):
    """A source that is no longer what the run began with."""


class Watch:
    """Notices sources that change while a run goes on.

    Args:
        before: what they held when the run began.
    """

    def __init__(self, before: Mapping[str, Content]) -> None:
        self._before = dict(before)
        self._seen = {part: content.signature for part, content in before.items()}

    def touched(self) -> bool:
        """Whether some file was written since the last look."""
        return any(signature_of(Path(part)) != seen for part, seen in self._seen.items())

    def check(self) -> None:
        """Reads what was touched.

        Raises:
            SourceError: it holds something else than when the run began.
        """
        for part, before in self._before.items():
            signature = signature_of(Path(part))
            if signature == self._seen[part]:
                continue
            if _digest(Path(part)) != before.digest:
                names = dict.fromkeys(n for n, *_ in set(signature) ^ set(before.signature))
                listing = ", ".join(sorted(names)[:3])
                raise SourceError(
                    f"{part} is not what it was when the run began ({listing}): put it back, or "
                    "start anew in another --out"
                )
            self._seen[part] = signature

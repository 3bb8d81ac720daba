"""A run that has ended, made once a session, and archives made by hand for what no run gives."""

from __future__ import annotations

import functools
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.space import Candidate
from mergekit_mo.trial import Goal, Measurement

if TYPE_CHECKING:
    from tests.toy import Toy

FACTS: dict[str, Any] = {
    "search": {
        "objectives": [["task", {"task": "quiz", "metric": "acc"}, None, None]],
        "optimizer": ["sobol", {}],
        "seed": 3,
    },
    "flags": {"random_seed": 7},
    "device": "cpu",
    "threads": 2,
    "versions": {"mergekit": "0.1.5"},
    "items": {"quiz": {"search": [1, 2, 3], "holdout": [4, 5]}},
    "measures": {"quiz": ["quiz", "acc,none"]},
}


@functools.cache
def finished(toy: Toy) -> Path:
    """The folder of a toy search that has run to its end."""
    from tests.toy import run

    out = toy.folder / "runs" / "finished"
    run(toy.recipe("finished"), out)
    return out


def archive_of(
    config: Mapping[str, Any], sources: list[str], path: Path | str = ":memory:", **facts: Any
) -> Archive:
    """An archive with a reference for each source and one finished candidate, the last trial."""
    archive = Archive.create(path, [Goal("quiz", maximize=True)], FACTS | facts)
    references = archive.propose(
        "reference", [(s, {"merge_method": "passthrough"}) for s in sources]
    )
    (trial,) = archive.propose("candidate", [(Candidate((0.5,), "sobol"), config)])
    for i, found in enumerate((*references, trial)):
        answers = {"quiz": {"ids": [1, 2, 3], "responses": {}, "values": {"acc,none": [0, 1, 1]}}}
        scores = {"quiz": Measurement(0.25 + i / 8, 0.125, 3)}
        archive.finish(found.number, Outcome(scores, answers, "0" * 64, None, 1.0), 0.0)
        held = Outcome({"quiz": Measurement(0.125 + i / 8, 0.25, 2)}, {}, "0" * 64, None, 1.0)
        archive.finish(found.number, held, 0.0, "holdout")
    return archive


def only_loopback(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Forbids connections to other machines; gives the list of those that were tried."""
    tried: list[Any] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def known(host: Any, *rest: Any, **more: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            tried.append(host)
            raise socket.gaierror(f"a test wants to look up {host}")
        return look_up(host, *rest, **more)

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] != "127.0.0.1":
            tried.append(address)
            raise ConnectionRefusedError(f"a test wants to contact {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", known)
    return tried

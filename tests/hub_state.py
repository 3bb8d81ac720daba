"""What a loopback Hub remembers: repositories, branches, pull requests, and the faults to come.

Rule: everything is in memory, and a test may change all of it.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TOKEN = "hf_LoopbackLoopbackLoopback0123456789"
LARGE = 4096
"""From so many bytes on a file is kept by its sha256."""


@dataclass
class Fault:
    """What happens to the next requests of a kind.

    Attributes:
        method: of the request.
        path: a regular expression for its path.
        status: to answer with; 0 cuts the connection before anything is done, -1 after.
        times: how often.
        headers: of the answer.
        body: of the answer.
    """

    method: str
    path: str
    status: int
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = '{"error": "injected"}'


@dataclass
class Repo:
    """Branches and pull requests are dictionaries from path to content."""

    private: bool
    refs: dict[str, dict[str, bytes]]
    heads: dict[str, str]
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    pulls: dict[int, str] = field(default_factory=dict)


class Hub:
    """The state of the Hub, its faults, and what it was asked."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        self.owners = {"me"}
        self.lock = threading.RLock()
        self.count = 0
        self.address = ""

    def add(self, name: str, *, private: bool) -> Repo:
        """Makes a repository with its first commit."""
        repo = Repo(private, {}, {})
        self.repos[name] = repo
        self.commit(repo, "main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        return repo

    def commit(self, repo: Repo, ref: str, files: dict[str, bytes]) -> str:
        """Sets the files of a branch."""
        self.count += 1
        head = hashlib.sha1(f"{ref} {self.count}".encode()).hexdigest()
        repo.refs[ref], repo.heads[ref], repo.commits[head] = files, head, files
        return head

    def files(self, name: str, ref: str = "main") -> dict[str, bytes]:
        """What a branch holds, but for what the Hub itself put there."""
        return {k: v for k, v in self.repos[name].refs[ref].items() if k != ".gitattributes"}

    def sent(self, pattern: str) -> list[str]:
        """The requests of a kind."""
        return [line for line in self.asked if re.search(pattern, line)]


def entry(path: str, content: bytes) -> dict[str, Any]:
    """A file as the Hub lists it."""
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
    found["oid"] = blob(content)
    if len(content) >= LARGE:
        found["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
    return found


def sha256(content: bytes) -> str:
    """The name of a large file."""
    return hashlib.sha256(content).hexdigest()


def blob(content: bytes) -> str:
    """The name of a small file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

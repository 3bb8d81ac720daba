"""A Hugging Face Hub on the loopback, as far as uploads, downloads and pull requests need one.

Rule: it answers as the Hub does (paths, fields, headers and status codes as huggingface_hub reads
them) and keeps everything in memory; faults are injected by method and path.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

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


class _Refused(Exception):
    def __init__(self, status: int, error: str, code: str = "", **more: str) -> None:
        super().__init__(error)
        self.status, self.error, self.code, self.more = status, error, code, more


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def _serve(self) -> None:
        url = urlsplit(self.path)
        body = self._body()
        with self.hub.lock:
            self.hub.asked.append(f"{self.command} {unquote(url.path)}")
            fault = self._fault(url.path)
            if fault is not None and fault.status == 0:
                self._cut()
                return
            if fault is not None and fault.status > 0:
                self._answer(fault.status, fault.body.encode(), dict(fault.headers))
                return
            try:
                self._authorise(url.path)
                found = self._route(
                    url.path, {k: v[0] for k, v in parse_qs(url.query).items()}, body
                )
            except _Refused as error:
                headers = {"X-Error-Code": error.code, "X-Error-Message": error.error}
                text = json.dumps({"error": error.error, **error.more}).encode()
                self._answer(error.status, text, {k: v for k, v in headers.items() if v})
                return
            if fault is not None:
                self._cut()
            elif isinstance(found, tuple):
                self._answer(200, *found)
            else:
                self._answer(200, json.dumps(found).encode(), {})

    do_GET = do_POST = do_PUT = do_HEAD = _serve

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length")
        if length is not None:
            return self.rfile.read(int(length))
        content = b""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return content

    def _fault(self, path: str) -> Fault | None:
        for fault in self.hub.faults:
            if (
                fault.method == self.command
                and re.search(fault.path, unquote(path))
                and fault.times
            ):
                fault.times -= 1
                return fault
        return None

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(key, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _authorise(self, path: str) -> None:
        if path.startswith("/objects/"):
            return  # an address that was signed for one file
        given = self.headers.get("Authorization")
        if given != f"Bearer {TOKEN}":
            raise _Refused(401, "Invalid credentials in Authorization header")

    def _route(self, path: str, query: dict[str, str], body: bytes) -> Any:
        routes = {
            r"POST /api/repos/create": self._create,
            r"POST /api/validate-yaml": self._validate,
            r"GET /api/models/([^/]+/[^/]+)": self._info,
            r"GET /api/models/([^/]+/[^/]+)/revision/([^/]+)": self._info,
            r"GET /api/models/([^/]+/[^/]+)/tree/([^/]+)": self._tree,
            r"POST /api/models/([^/]+/[^/]+)/branch/([^/]+)": self._branch,
            r"POST /api/models/([^/]+/[^/]+)/preupload/([^/]+)": self._preupload,
            r"POST /api/models/([^/]+/[^/]+)/commit/([^/]+)": self._commit,
            r"GET /api/models/([^/]+/[^/]+)/discussions/([^/]+)": self._discussion,
            r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch": self._batch,
            r"PUT /objects/([^/]+)": self._put,
            r"(?:GET|HEAD) /([^/]+/[^/]+)/resolve/([^/]+)/(.+)": self._resolve,
        }
        for pattern, route in routes.items():
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                return route(*map(unquote, match.groups()), query=query, body=body)
        raise _Refused(404, f"no such page: {self.command} {path}")

    def _repo(self, name: str) -> Repo:
        if name not in self.hub.repos:
            raise _Refused(404, "Repository not found", "RepoNotFound")
        return self.hub.repos[name]

    def _files(self, repo: Repo, revision: str) -> tuple[str, dict[str, bytes]]:
        head = repo.heads.get(revision, revision)
        if head not in repo.commits:
            raise _Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return head, repo.commits[head]

    def _create(self, *, query: dict[str, str], body: bytes) -> Any:
        wanted = json.loads(body)
        name = f"{wanted['organization']}/{wanted['name']}"
        url = f"{self.hub.address}/{name}"
        if wanted["organization"] not in self.hub.owners:
            raise _Refused(
                403, f"You have no right to create a model under {wanted['organization']}"
            )
        if name in self.hub.repos:
            raise _Refused(409, "You already created this model repo", url=url)
        self.hub.add(name, private=wanted.get("visibility") == "private")
        return {"url": url}

    def _validate(self, *, query: dict[str, str], body: bytes) -> Any:
        content = json.loads(body)["content"]
        metadata = yaml.safe_load(content.split("---\n")[1])
        if not isinstance(metadata, dict):
            raise _Refused(400, "the front matter is no mapping")
        return {"errors": [], "warnings": []}

    def _info(
        self, name: str, revision: str = "main", *, query: dict[str, str], body: bytes
    ) -> Any:
        repo = self._repo(name)
        head, files = self._files(repo, revision)
        siblings = [{"rfilename": path} for path in files]
        return {"id": name, "sha": head, "private": repo.private, "siblings": siblings, "tags": []}

    def _tree(self, name: str, revision: str, *, query: dict[str, str], body: bytes) -> Any:
        _, files = self._files(self._repo(name), revision)
        return [_entry(path, content) for path, content in sorted(files.items())]

    def _branch(self, name: str, branch: str, *, query: dict[str, str], body: bytes) -> Any:
        repo = self._repo(name)
        if branch in repo.heads:
            raise _Refused(409, "Reference already exists")
        self.hub.commit(repo, branch, dict(repo.refs["main"]))
        return {}

    def _preupload(self, name: str, revision: str, *, query: dict[str, str], body: bytes) -> Any:
        _, files = self._files(self._repo(name), revision)
        answers = []
        for wanted in json.loads(body)["files"]:
            path, large = wanted["path"], wanted["size"] >= LARGE
            known = files.get(path)
            oid = None if known is None else (_sha256(known) if large else _blob(known))
            mode = "lfs" if large else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": answers}

    def _batch(self, name: str, *, query: dict[str, str], body: bytes) -> Any:
        self._repo(name)
        objects = []
        for wanted in json.loads(body)["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.objects:
                href = f"{self.hub.address}/objects/{wanted['oid']}"
                entry["actions"] = {"upload": {"href": href}}
            objects.append(entry)
        return {"transfer": "basic", "objects": objects}

    def _put(self, oid: str, *, query: dict[str, str], body: bytes) -> Any:
        if _sha256(body) != oid:
            raise _Refused(400, "the content has another hash")
        self.hub.objects[oid] = body
        return {}

    def _commit(self, name: str, revision: str, *, query: dict[str, str], body: bytes) -> Any:
        repo = self._repo(name)
        head, files = self._files(repo, revision)
        files = dict(files)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit", head) != head:
                raise _Refused(412, "A commit has happened since. Please refresh and try again.")
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise _Refused(400, f"the object {value['oid']} is not there")
                files[value["path"]] = self.hub.objects[value["oid"]]
        url = None
        if query.get("create_pr"):
            number = len(repo.pulls) + 1
            repo.pulls[number] = "open"
            revision = f"refs/pr/{number}"
            url = f"{self.hub.address}/{name}/discussions/{number}"
        oid = self.hub.commit(repo, revision, files)
        commit = f"{self.hub.address}/{name}/commit/{oid}"
        return {"commitUrl": commit, "commitOid": oid, "pullRequestUrl": url}

    def _discussion(self, name: str, number: str, *, query: dict[str, str], body: bytes) -> Any:
        pulls = self._repo(name).pulls
        if int(number) not in pulls:
            raise _Refused(404, "no such discussion")
        return {
            "title": "a merge",
            "num": int(number),
            "author": {"name": "me"},
            "createdAt": "2025-01-01T00:00:00.000Z",
            "status": pulls[int(number)],
            "repo": {"name": name, "type": "model"},
            "isPullRequest": True,
            "changes": {"base": "refs/heads/main"},
            "filesWithConflicts": [],
            "events": [],
        }

    def _resolve(
        self, name: str, revision: str, path: str, *, query: dict[str, str], body: bytes
    ) -> Any:
        head, files = self._files(self._repo(name), revision)
        if path not in files:
            raise _Refused(404, "Entry not found", "EntryNotFound")
        content = files[path]
        large = len(content) >= LARGE
        headers = {
            "X-Repo-Commit": head,
            "ETag": f'"{_sha256(content) if large else _blob(content)}"',
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(content)),
        }
        return content, headers


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
    entry["oid"] = _blob(content)
    if len(content) >= LARGE:
        entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 130}
    return entry


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """A Hub that listens on a free port of the loopback."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

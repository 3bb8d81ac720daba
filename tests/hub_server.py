"""A Hugging Face Hub on the loopback, as far as uploads, downloads and pull requests need one.

Rule: it answers as the Hub does (paths, fields, headers and status codes as huggingface_hub reads
them) and keeps everything in memory; faults are injected by method and path.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.hub_state import LARGE, TOKEN, Fault, Hub, Repo, blob, entry, sha256


class _RefusedError(Exception):
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
        self.query = {key: found[0] for key, found in parse_qs(url.query).items()}
        self.content = self._body()
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
                found = self._route(url.path)
            except _RefusedError as error:
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

    do_GET = do_POST = do_PUT = do_HEAD = _serve  # noqa: N815 (the server asks for these)

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
            raise _RefusedError(401, "Invalid credentials in Authorization header")

    def _route(self, path: str) -> Any:
        routes: dict[str, Callable[..., Any]] = {
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
                return route(*map(unquote, match.groups()))
        raise _RefusedError(404, f"no such page: {self.command} {path}")

    def _repo(self, name: str) -> Repo:
        if name not in self.hub.repos:
            raise _RefusedError(404, "Repository not found", "RepoNotFound")
        return self.hub.repos[name]

    def _files(self, repo: Repo, revision: str) -> tuple[str, dict[str, bytes]]:
        head = repo.heads.get(revision, revision)
        if head not in repo.commits:
            raise _RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return head, repo.commits[head]

    def _create(self) -> Any:
        wanted = json.loads(self.content)
        name = f"{wanted['organization']}/{wanted['name']}"
        url = f"{self.hub.address}/{name}"
        if wanted["organization"] not in self.hub.owners:
            raise _RefusedError(
                403, f"You have no right to create a model under {wanted['organization']}"
            )
        if name in self.hub.repos:
            raise _RefusedError(409, "You already created this model repo", url=url)
        self.hub.add(name, private=wanted.get("visibility") == "private")
        return {"url": url}

    def _validate(self) -> Any:
        content = json.loads(self.content)["content"]
        metadata = yaml.safe_load(content.split("---\n")[1])
        if not isinstance(metadata, dict):
            raise _RefusedError(400, "the front matter is no mapping")
        return {"errors": [], "warnings": []}

    def _info(self, name: str, revision: str = "main") -> Any:
        repo = self._repo(name)
        head, files = self._files(repo, revision)
        found: dict[str, Any] = {"id": name, "sha": head, "private": repo.private, "tags": []}
        if "README.md" in files:
            found["cardData"] = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
        return found | {"siblings": [{"rfilename": path} for path in files]}

    def _tree(self, name: str, revision: str) -> Any:
        _, files = self._files(self._repo(name), revision)
        return [entry(path, content) for path, content in sorted(files.items())]

    def _branch(self, name: str, branch: str) -> Any:
        repo = self._repo(name)
        if branch in repo.heads:
            raise _RefusedError(409, "Reference already exists")
        self.hub.commit(repo, branch, dict(repo.refs["main"]))
        return {}

    def _preupload(self, name: str, revision: str) -> Any:
        _, files = self._files(self._repo(name), revision)
        answers = []
        for wanted in json.loads(self.content)["files"]:
            path, large = wanted["path"], wanted["size"] >= LARGE
            known = files.get(path)
            oid = None if known is None else (sha256(known) if large else blob(known))
            mode = "lfs" if large else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": answers}

    def _batch(self, name: str) -> Any:
        self._repo(name)
        objects = []
        for wanted in json.loads(self.content)["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.objects:
                href = f"{self.hub.address}/objects/{wanted['oid']}"
                entry["actions"] = {"upload": {"href": href}}
            objects.append(entry)
        return {"transfer": "basic", "objects": objects}

    def _put(self, oid: str) -> Any:
        if sha256(self.content) != oid:
            raise _RefusedError(400, "the content has another hash")
        self.hub.objects[oid] = self.content
        return {}

    def _commit(self, name: str, revision: str) -> Any:
        repo = self._repo(name)
        head, files = self._files(repo, revision)
        files = dict(files)
        for line in map(json.loads, self.content.splitlines()):
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit", head) != head:
                raise _RefusedError(
                    412, "A commit has happened since. Please refresh and try again."
                )
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise _RefusedError(400, f"the object {value['oid']} is not there")
                files[value["path"]] = self.hub.objects[value["oid"]]
        url = None
        if self.query.get("create_pr"):
            number = len(repo.pulls) + 1
            repo.pulls[number] = "open"
            revision = f"refs/pr/{number}"
            url = f"{self.hub.address}/{name}/discussions/{number}"
        oid = self.hub.commit(repo, revision, files)
        commit = f"{self.hub.address}/{name}/commit/{oid}"
        return {"commitUrl": commit, "commitOid": oid, "pullRequestUrl": url}

    def _discussion(self, name: str, number: str) -> Any:
        pulls = self._repo(name).pulls
        if int(number) not in pulls:
            raise _RefusedError(404, "no such discussion")
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

    def _resolve(self, name: str, revision: str, path: str) -> Any:
        head, files = self._files(self._repo(name), revision)
        if path not in files:
            raise _RefusedError(404, "Entry not found", "EntryNotFound")
        content = files[path]
        large = len(content) >= LARGE
        headers = {
            "X-Repo-Commit": head,
            "ETag": f'"{sha256(content) if large else blob(content)}"',
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(content)),
        }
        return content, headers


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

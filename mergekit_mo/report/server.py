"""A run as a page that follows it, on this machine's loopback address.

Rule: it listens on 127.0.0.1 and answers to that name alone (a page of somebody else's that has its
own name point here is refused), writes nothing, and holds the archive open only while it reads, so
that the search can close it.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mergekit_mo.archive import Archive
from mergekit_mo.problems import UserError
from mergekit_mo.report.facts import report_facts
from mergekit_mo.report.learnt import learnt_facts, lesson_of
from mergekit_mo.report.page import page_text

HOST = "127.0.0.1"


class Following:
    """The facts of a run, read again when its files have changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._learning = threading.Lock()
        self._facts: tuple[str, dict[str, Any]] | None = None
        self._learnt: tuple[int, dict[str, Any]] | None = None

    def facts(self) -> tuple[str, dict[str, Any]]:
        """A mark that changes when the run does, and the facts."""
        with self._lock:
            mark = self._mark()
            if self._facts is None or self._facts[0] != mark:
                with Archive.open(self._path, read_only=True) as archive:
                    self._facts = mark, report_facts(archive, self._path.parent)
            return self._facts

    def learnt(self) -> dict[str, Any]:
        """What a surrogate learns of the trials that there are; takes seconds, once each state."""
        with self._learning:
            with Archive.open(self._path, read_only=True) as archive:
                lesson = lesson_of(archive)
            if self._learnt is None or self._learnt[0] != len(lesson.finished):
                self._learnt = len(lesson.finished), learnt_facts(lesson)
            return self._learnt[1]

    def _mark(self) -> str:
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        stats = [file.stat() if file.exists() else None for file in files]
        return "-".join("0" if s is None else f"{s.st_mtime_ns:x}.{s.st_size:x}" for s in stats)


class Server(ThreadingHTTPServer):
    """Serves a run until it is closed."""

    daemon_threads = True

    def __init__(self, run: Path, archive: str, port: int) -> None:
        """Listens.

        Args:
            run: the run folder.
            archive: the archive's name in it.
            port: 0 for any that is free.

        Raises:
            UserError: the port is taken, or not ours to take.
        """
        self.following = Following(run / archive)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            what = f"port {port} of {HOST} cannot be used ({error.strerror or error})"
            raise UserError(f"{what}; leave --port out for any that is free") from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of readers that went away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """The page's address."""
        return f"http://{HOST}:{self.server_port}/"

    @property
    def names(self) -> tuple[str, str]:
        """What a request may call this server."""
        return f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "mergekit-mo"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        """Answers with the page, its facts or what was learnt."""
        if self.headers.get("Host") not in self.server.names:
            self._send(403, "text/plain", f"this server is {self.server.names[0]}\n")
            return
        path = self.path.partition("?")[0]
        try:
            if path == "/":
                _, facts = self.server.following.facts()
                self._send(200, "text/html", page_text(facts, live=True))
            elif path == "/facts.json":
                mark, facts = self.server.following.facts()
                same = self.headers.get("If-None-Match") == f'"{mark}"'
                body = "" if same else json.dumps(facts)
                self._send(304 if same else 200, "application/json", body, mark)
            elif path == "/learnt.json":
                body = json.dumps(self.server.following.learnt())
                self._send(200, "application/json", body)
            else:
                self._send(404, "text/plain", "there is nothing of this name\n")
        except (UserError, OSError, sqlite3.Error) as error:
            self._send(503, "text/plain", f"{error}\n")

    def _send(self, status: int, kind: str, text: str, mark: str | None = None) -> None:
        body = text.encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            if mark is not None:
                self.send_header("ETag", f'"{mark}"')
            self.end_headers()
            if status != 304:
                self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the reader has gone

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

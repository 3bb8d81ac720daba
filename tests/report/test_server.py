from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mergekit_mo.archive import Archive
from mergekit_mo.problems import UserError
from mergekit_mo.report.server import HOST, Server
from mergekit_mo.testing.planted import make_goals, ridge, scored, small_space
from tests.browser import Browser, wait
from tests.reported import DEEP, plant_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return plant_run(tmp_path / "runs" / "base", DEEP, make_goals(2), ridge(2), 8)


@pytest.fixture
def server(run: Path) -> Iterator[Server]:
    with Server(run, "archive.db", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: Server, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def add_trial(archive: Archive) -> int:
    """Another merge, better than all before it."""
    space = small_space(DEEP)
    goals = archive.goals
    candidate = space.candidate([0.1 + 0.01 * len(archive.trials)] * space.dim, "sobol")
    (trial,) = archive.propose("candidate", [(candidate, space.config(candidate.unit))])
    archive.finish(trial.number, scored(goals, [5.0 + len(archive.trials)] * 2), time.time())
    return trial.number


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil:80", ""]
)
@pytest.mark.parametrize("path", ["/", "/facts.json", "/learnt.json"])
def test_another_name_is_refused(server: Server, host: str, path: str) -> None:
    status, _, body = get(server, path, Host=host)
    assert status == 403
    assert b"quiz" not in body


def test_its_own_names_are_answered(server: Server) -> None:
    for name in (f"127.0.0.1:{server.server_port}", f"localhost:{server.server_port}"):
        assert get(server, "/facts.json", Host=name)[0] == 200


def test_nothing_else_is_served(server: Server) -> None:
    for path in ("/archive.db", "/../archive.db", "/%2e%2e/archive.db", "/facts.json/"):
        assert get(server, path)[0] == 404


def test_unchanged_facts_are_not_sent_again(server: Server, run: Path) -> None:
    status, headers, body = get(server, "/facts.json")
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    mark = headers["ETag"]
    assert get(server, "/facts.json", **{"If-None-Match": mark})[::2] == (304, b"")
    with Archive.open(run / "archive.db") as archive:
        number = add_trial(archive)
        status, headers, body = get(server, "/facts.json", **{"If-None-Match": mark})
        assert status == 200
        assert json.loads(body)["trials"][-1]["n"] == number
    assert headers["ETag"] != mark


def test_a_search_can_end_while_it_is_followed(server: Server, run: Path) -> None:
    stop = threading.Event()
    answers: set[int] = set()

    def ask() -> None:
        while not stop.is_set():
            answers.add(get(server, "/facts.json")[0])

    readers = [threading.Thread(target=ask) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(5):
            with Archive.open(run / "archive.db") as archive:  # closing takes the file alone
                add_trial(archive)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    with Archive.open(run / "archive.db") as archive:  # who could not be alone was not for ever
        assert len(archive.candidates) == 8 + 5
    assert answers == {200}
    assert not (run / "archive.db-wal").exists()


def test_what_was_learnt_is_made_once_for_each_state(server: Server, run: Path) -> None:
    first = json.loads(get(server, "/learnt.json")[2])
    assert first["finished"] == 8
    assert server.following.learnt() is server.following.learnt()
    with Archive.open(run / "archive.db") as archive:
        add_trial(archive)
    assert json.loads(get(server, "/learnt.json")[2])["finished"] == 9


def test_an_archive_that_is_gone_is_told_in_a_line(server: Server, run: Path) -> None:
    (run / "archive.db").unlink()
    status, _, body = get(server, "/facts.json")
    assert status == 503
    assert b"no such archive" in body
    assert b"Traceback" not in body


def test_a_port_that_is_taken_is_told(server: Server, run: Path) -> None:
    with pytest.raises(UserError, match=f"port {server.server_port} of 127.0.0.1"):
        Server(run, "archive.db", server.server_port)


def test_the_page_follows_a_running_search(server: Server, run: Path, browser: Browser) -> None:
    with Archive.open(run / "archive.db") as archive:
        browser.open(server.address)
        wait(lambda: "live" in browser.text("#live"))
        before = browser.text("#summary")
        assert "8 merges" in before
        browser.see_everything()
        learnt = "return document.querySelector('#mattered-chart canvas') !== null"
        wait(lambda: browser.js(learnt), 60)
        browser.choose("#front-controls select", "1")
        browser.js("document.querySelector('#front-controls select').focus()")
        number = add_trial(archive)
        wait(lambda: "9 merges" in browser.text("#summary"))
        focus = "return document.activeElement.tagName + document.activeElement.value"
        assert browser.js(focus) == "SELECT1"  # an update takes nothing out of one's hands
        assert f'data-n="{number}"' in browser.js(
            "return document.querySelector('#trials').innerHTML"
        )
        browser.click(f'#trials tr[data-n="{number}"] button')
        assert "on the front" in browser.text("#detail")
        browser.js("document.querySelector('#yaml').focus()")
        add_trial(archive)
        wait(lambda: "10 merges" in browser.text("#summary"))
        assert f"Trial {number}" in browser.text("#detail h2")  # the choice is kept
        assert browser.js("return document.activeElement.id") == "yaml"
    assert browser.complaints() == []

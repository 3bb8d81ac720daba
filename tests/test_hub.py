"""Uploads against a loopback Hub: whole, private, resumable, and clear about what went wrong."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, snapshot_download
from huggingface_hub.utils._http import close_session

from mergekit_mo.hub import Item, Pushed, Target, check_target, gather, push
from mergekit_mo.hub_line import ATTEMPTS, redact
from mergekit_mo.problems import UserError
from tests.finished import only_loopback
from tests.hub_server import serving
from tests.hub_state import TOKEN, Fault, Hub

REPO = "me/merge"
COMMIT = "/commit/"
Push = Callable[..., Pushed]


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept, without sleeping."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, naps: list[float]) -> Iterator[Hub]:
    with serving() as found:
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        tried = only_loopback(monkeypatch)
        close_session()
        yield found
        close_session()
        assert tried == []


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """A model of two shards, and what lies beside it."""
    model = tmp_path / "model"
    model.mkdir()
    for i in (1, 2):
        (model / f"model-0000{i}-of-00002.safetensors").write_bytes(bytes([i]) * 9000)
    (model / "config.json").write_text("{}")
    (model / "empty.txt").write_text("")
    card = tmp_path / "README.md"
    card.write_text("---\ntags: [merge]\n---\n# a merge\n")
    found, left = gather(model, {"README.md": card})
    assert left == ()
    return list(found)


@pytest.fixture
def send(hub: Hub, items: list[Item], tmp_path: Path, said: list[str], naps: list[float]) -> Push:
    def send(repo: str = REPO, endpoint: str = hub.address, **target: Any) -> Pushed:
        where = Target(repo, **target)
        more: dict[str, Any] = {"endpoint": endpoint, "sleep": naps.append}
        return push(items, where, tmp_path, say=said.append, **more)

    return send


@pytest.fixture
def said() -> list[str]:
    return []


def contents(items: list[Item]) -> dict[str, bytes]:
    return {item.path: item.file.read_bytes() for item in items}


def test_what_is_pushed_is_downloaded_as_the_same_bytes(
    send: Push, hub: Hub, items: list[Item], tmp_path: Path
) -> None:
    pushed = send()
    folder = Path(snapshot_download(REPO, cache_dir=tmp_path / "cache", endpoint=hub.address))
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".gitattributes"}
    assert found == contents(items)
    assert set(pushed.uploaded) == set(found)
    assert (pushed.url, pushed.pull_request) == (f"{hub.address}/{REPO}", None)
    assert folder.name == pushed.commit


def test_a_repository_is_private_unless_it_is_asked_to_be_public(send: Push, hub: Hub) -> None:
    send()
    assert hub.repos[REPO].private
    del hub.repos[REPO]
    send(public=True)
    assert not hub.repos[REPO].private


def test_nothing_goes_to_a_public_repository_unasked(send: Push, hub: Hub) -> None:
    hub.add(REPO, private=False)
    with pytest.raises(UserError, match="--public"):
        send()
    assert hub.files(REPO) == {}
    send(public=True)


def test_a_private_repository_stays_private(send: Push, hub: Hub, said: list[str]) -> None:
    hub.add(REPO, private=True)
    send(public=True)
    assert hub.repos[REPO].private
    assert any("stays so" in line for line in said)


def test_a_second_push_uploads_nothing(send: Push, hub: Hub) -> None:
    first = send()
    second = send()
    assert second.uploaded == ()
    assert second.commit == first.commit
    assert len(hub.sent(COMMIT)) == 1


def test_only_what_changed_is_uploaded(send: Push, hub: Hub, items: list[Item]) -> None:
    send()
    config = next(item for item in items if item.path == "config.json")
    config.file.write_text('{"changed": true}')
    config.__dict__.pop("blob", None)
    assert send().uploaded == ("config.json",)
    assert hub.files(REPO) == contents(items)


def test_a_push_that_was_cut_off_goes_on_where_it_stopped(
    send: Push, hub: Hub, items: list[Item]
) -> None:
    second = next(item for item in items if item.path.startswith("model-00002"))
    hub.faults = [Fault("PUT", second.sha256, 0, times=100)]
    with pytest.raises(UserError, match="run the same command again"):
        send()
    assert hub.files(REPO) == {}
    hub.faults, hub.asked = [], []
    send()
    assert hub.sent("PUT /objects") == [f"PUT /objects/{second.sha256}"]
    assert hub.files(REPO) == contents(items)


def test_a_commit_whose_answer_is_lost_is_not_made_twice(
    send: Push, hub: Hub, items: list[Item]
) -> None:
    hub.faults = [Fault("POST", COMMIT, -1)]
    send()
    assert len(hub.sent(COMMIT)) == 1
    assert hub.files(REPO) == contents(items)


@pytest.mark.parametrize(
    "path",
    [
        "/repos/create",
        "/api/models/me/merge$",
        "/tree/",
        "/preupload/",
        "/batch",
        "/objects/",
        COMMIT,
    ],
)
@pytest.mark.parametrize("status", [0, 503])
def test_a_passing_fault_anywhere_is_overcome(
    send: Push, hub: Hub, items: list[Item], path: str, status: int
) -> None:
    hub.faults = [Fault(method, path, status) for method in ("GET", "POST", "PUT")]
    send()
    assert hub.files(REPO) == contents(items)


@pytest.mark.parametrize(
    ("status", "words", "exit_status"),
    [
        (400, "refuses the request", 1),
        (401, "hf auth login", 4),
        (402, "payment", 1),
        (403, "may not write to me/merge", 1),
        (404, "does not exist", 1),
        (409, "something else is being done", 1),
        (412, "somebody else changed", 1),
        (413, "too large", 1),
        (429, "asked too often", 1),
        (500, "has trouble", 1),
        (504, "has trouble", 1),
        (0, "no connection to http://127.0.0.1", 1),
    ],
)
def test_an_error_tells_its_cause(
    send: Push, hub: Hub, status: int, words: str, exit_status: int
) -> None:
    hub.faults = [Fault("POST", COMMIT, status, times=100)]
    with pytest.raises(UserError) as caught:
        send()
    assert words in str(caught.value)
    assert caught.value.status == exit_status
    assert len(hub.sent(COMMIT)) == (ATTEMPTS if status in (0, 429, 500, 504) else 1)


@pytest.mark.parametrize("path", ["/repos/create", "/validate-yaml", COMMIT])
@pytest.mark.parametrize("status", [401, 418])
def test_the_token_is_in_no_error(
    send: Push, hub: Hub, said: list[str], caplog: pytest.LogCaptureFixture, path: str, status: int
) -> None:
    echo = json.dumps({"error": f"not with {TOKEN}"})
    hub.faults = [Fault("POST", path, status, 100, {"X-Error-Message": f"no {TOKEN}"}, echo)]
    with pytest.raises(UserError) as caught:
        send()
    texts = [*traceback.format_exception(caught.value), *said, caplog.text]
    assert not [text for text in texts if TOKEN in text]
    assert "hf_…" in str(caught.value)


def test_the_token_is_never_written(send: Push, hub: Hub, tmp_path: Path) -> None:
    send(pull_request=True)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / "hub.json" in written
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert redact("Bearer hf_abcdefghij0 it is", "") == "Bearer hf_… it is"


def test_the_hubs_own_waiting_time_is_kept(send: Push, hub: Hub, naps: list[float]) -> None:
    hub.faults = [
        Fault("POST", COMMIT, 429, headers={"Retry-After": "17"}),
        Fault("POST", COMMIT, 429, headers={"RateLimit": '"api";r=0;t=55'}),
    ]
    send()
    assert naps == [17, 55]


def test_nobody_waits_an_hour(send: Push, hub: Hub, naps: list[float]) -> None:
    hub.faults = [Fault("POST", COMMIT, 429, times=9, headers={"Retry-After": "3600"})]
    with pytest.raises(UserError, match="in 3600 s"):
        send()
    assert naps == []


def test_an_answer_that_is_no_json_is_trouble_of_the_hubs(send: Push, hub: Hub) -> None:
    hub.faults = [Fault("POST", "/validate-yaml", 502, times=99, body="<html>bad gateway</html>")]
    with pytest.raises(UserError, match="has trouble"):
        send()


def test_without_a_hub_the_error_says_so(send: Push) -> None:
    with pytest.raises(UserError, match=r"no connection to http://127\.0\.0\.1:9"):
        send(endpoint="http://127.0.0.1:9")


def test_offline_mode_is_named(send: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="unset HF_HUB_OFFLINE"):
        send()


def test_without_a_token_the_way_to_one_is_told(
    send: Push, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match="hf auth login") as caught:
        send()
    assert caught.value.status == 4
    assert hub.asked == []


def test_a_token_that_is_not_accepted_is_told(send: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_StrangerStrangerStranger")
    with pytest.raises(UserError, match="does not accept the token"):
        send()


def test_a_strangers_repository_is_refused(send: Push) -> None:
    with pytest.raises(UserError, match="may not write to other/merge"):
        send("other/merge")


def test_a_revision_is_made_and_main_left_alone(send: Push, hub: Hub, items: list[Item]) -> None:
    pushed = send(revision="trial/17")
    assert hub.files(REPO, "trial/17") == contents(items)
    assert hub.files(REPO) == {}
    assert (pushed.revision, pushed.url) == ("trial/17", f"{hub.address}/{REPO}/tree/trial/17")
    assert send(revision="trial/17").uploaded == ()


def test_a_pull_request_leaves_main_alone(send: Push, hub: Hub, items: list[Item]) -> None:
    pushed = send(pull_request=True)
    assert hub.files(REPO) == {}
    assert hub.files(REPO, "refs/pr/1") == contents(items)
    assert pushed.pull_request == 1
    assert pushed.url.endswith("/discussions/1")


def test_a_cut_pull_request_is_gone_on_with(send: Push, hub: Hub, items: list[Item]) -> None:
    hub.faults = [Fault("PUT", "/objects/", 500, times=100)]
    with pytest.raises(UserError):
        send(pull_request=True)
    hub.faults = []
    assert send(pull_request=True).pull_request == 1
    assert hub.files(REPO, "refs/pr/1") == contents(items)
    assert hub.repos[REPO].pulls == {1: "open"}


def test_a_closed_pull_request_is_followed_by_another(send: Push, hub: Hub) -> None:
    send(pull_request=True)
    hub.repos[REPO].pulls[1] = "closed"
    assert send(pull_request=True).pull_request == 2


def test_what_main_has_needs_no_pull_request(send: Push, hub: Hub) -> None:
    send()
    assert send(pull_request=True).pull_request is None
    assert hub.repos[REPO].pulls == {}


def test_a_file_that_arrived_otherwise_is_found_out(
    send: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Hub.commit

    def spoil(self: Hub, repo: Any, ref: str, files: dict[str, bytes]) -> str:
        return commit(self, repo, ref, {k: v.replace(b"\1", b"\3") for k, v in files.items()})

    monkeypatch.setattr(Hub, "commit", spoil)
    with pytest.raises(UserError, match=r"does not have what was uploaded: model-00001"):
        send()


def test_two_models_are_not_mixed(send: Push, hub: Hub) -> None:
    repo = hub.add(REPO, private=True)
    hub.commit(repo, "main", {"model-00003-of-00003.safetensors": b"other"})
    with pytest.raises(UserError, match="model-00003-of-00003"):
        send()


def test_only_a_models_files_leave_the_folder(tmp_path: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json", ".env", "notes.db", "README.md", "x.py"):
        (tmp_path / name).write_text("x")
    (tmp_path / "checkpoints").mkdir()
    card = tmp_path / "card"
    card.write_text("card")
    items, left = gather(tmp_path, {"README.md": card})
    assert [item.path for item in items] == ["README.md", "model.safetensors", "tokenizer.json"]
    assert items[0].file == card
    assert set(left) == {".env", "notes.db", "card", "checkpoints", "x.py"}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Target("merge"), "YOUR-NAME/merge"),
        (Target("me/a merge"), "no repository"),
        (Target("a/b/c"), "no repository"),
        (Target("me/merge", revision="x", pull_request=True), "exclude each other"),
    ],
)
def test_a_target_is_checked_without_the_hub(target: Target, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        check_target(target)
    assert caught.value.status == 2

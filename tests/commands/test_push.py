"""`mergekit-mo push`, as it is typed, against a Hub on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from huggingface_hub import constants
from huggingface_hub.utils._http import close_session

from mergekit_mo.archive import Archive
from mergekit_mo.commands.push import command
from mergekit_mo.digests import folder_digest
from mergekit_mo.writing import write_model
from tests.finished import archive_of, finished, only_loopback
from tests.hub_server import serving
from tests.hub_state import TOKEN, Fault, Hub
from tests.toy import Toy

REPO = "me/merge"
GUARDED = """
import socket
connect = socket.socket.connect
def guarded(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] != "127.0.0.1":
        raise SystemExit(f"wants to contact {address}")
    return connect(self, address)
socket.socket.connect = guarded
from mergekit_mo.commands.push import command
command()
"""


@pytest.fixture(scope="module")
def run(toy: Toy) -> Path:
    return finished(toy)


@pytest.fixture
def hub(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as found:
        for name in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY"):
            monkeypatch.setattr(constants, name, True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", found.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        tried = only_loopback(monkeypatch)
        close_session()
        yield found
        close_session()
        assert tried == []


def push(run: Path, *words: str) -> Result:
    return CliRunner().invoke(command, [str(run), "3", REPO, "--license", "mit", *words])


def own_folders(run: Path) -> list[str]:
    return [p.name for p in (run / "models").glob(".push-*")] if (run / "models").exists() else []


def test_a_trial_is_pushed_in_one_command(run: Path, hub: Hub, toy: Toy, tmp_path: Path) -> None:
    result = push(run)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{hub.address}/{REPO}\n"
    files = hub.files(REPO)
    assert {"README.md", "mergekit_config.yml", "front.png", "model.safetensors"} <= files.keys()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with Archive.open(run / "archive.db", read_only=True) as archive:
        assert folder_digest(tmp_path) == archive.trials[3].digest
    assert hub.repos[REPO].private
    assert own_folders(run) == []
    leaks = [n for n, c in files.items() if str(toy.folder).encode() in c or TOKEN.encode() in c]
    assert leaks == []
    assert yaml.safe_load(files["mergekit_config.yml"])["base_model"] == "base"


def test_a_fresh_process_does_the_same_and_contacts_nobody_else(
    run: Path, hub: Hub, tmp_path: Path
) -> None:
    environment = os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path),
        "HF_TOKEN": TOKEN,
        "OMP_NUM_THREADS": "1",
    }
    words = [str(run), "4", REPO, "--license", "mit", "--json"]
    result = subprocess.run(
        [sys.executable, "-c", GUARDED, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found["uploaded"]) == hub.files(REPO).keys()
    assert {f["path"]: f["bytes"] for f in found["files"]} == {
        name: len(content) for name, content in hub.files(REPO).items()
    }
    assert TOKEN not in result.stdout + result.stderr


def test_a_dry_run_contacts_nobody(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    result = push(run, "--dry-run", "--public", "--revision", "best")
    assert result.exit_code == 0, result.output
    assert hub.asked == []
    assert f"{REPO}, public, revision best" in result.stdout
    assert "licence: mit" in result.stdout
    assert "not written yet" in result.stderr
    assert own_folders(run) == []


def test_a_strangers_links_publish_nothing_of_the_users(
    run: Path, hub: Hub, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("the user's own")
    strange = tmp_path / "strange"
    shutil.copytree(run, strange)
    shutil.rmtree(strange / "models", ignore_errors=True)
    model = strange / "models" / "003"
    with Archive.open(strange, read_only=True) as archive:
        trial = archive.trial(3)
        assert trial is not None
        write_model(archive, trial, model)
    (model / "vocab.json").symlink_to(tmp_path / "secret")
    (strange / "front.png").unlink()
    (strange / "front.png").symlink_to(tmp_path / "secret")
    plan = json.loads(push(strange, "--dry-run", "--json").stdout)
    assert not plan["model_written"]
    assert {f["path"]: f["bytes"] for f in plan["files"]}["front.png"] > 1000
    (model / "vocab.json").unlink()
    assert json.loads(push(strange, "--dry-run", "--json").stdout)["model_written"]


def test_a_dry_run_leaves_open_what_only_the_hub_knows(hub: Hub, tmp_path: Path) -> None:
    config = {"merge_method": "linear", "models": [{"model": "org/one"}, {"model": "org/two"}]}
    archive_of(config, ["org/one", "org/two"], tmp_path / "archive.db").close()
    words = [str(tmp_path), "2", REPO, "--dry-run"]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 0, result.output
    assert "licence: to be asked of the Hub" in result.stdout
    assert hub.asked == []
    result = CliRunner().invoke(command, words[:-1])
    assert result.exit_code == 1
    assert "org/one: unknown" in result.stderr


def test_a_dry_run_counts_a_models_bytes(run: Path, hub: Hub, tmp_path: Path) -> None:
    with Archive.open(run / "archive.db", read_only=True) as archive:
        write_model(archive, archive.trials[3], tmp_path / "model")
    words = ["--dry-run", "--model", str(tmp_path / "model"), "--json"]
    found = json.loads(push(run, *words).stdout)
    sizes = {f["path"]: f["bytes"] for f in found["files"]}
    weights = tmp_path / "model" / "model.safetensors"
    assert sizes["model.safetensors"] == weights.stat().st_size
    assert found["bytes"] == sum(sizes.values())
    assert (found["visibility"], found["revision"]) == ("private", "main")
    assert hub.asked == []


def test_a_model_of_another_trial_is_refused(run: Path, hub: Hub, tmp_path: Path) -> None:
    with Archive.open(run / "archive.db", read_only=True) as archive:
        write_model(archive, archive.trials[4], tmp_path / "model")
    result = push(run, "--model", str(tmp_path / "model"))
    assert result.exit_code == 1
    assert "other weights" in result.stderr
    assert hub.asked == []


def test_a_file_that_names_a_folder_of_this_machine_stays(
    run: Path, hub: Hub, toy: Toy, tmp_path: Path
) -> None:
    with Archive.open(run / "archive.db", read_only=True) as archive:
        write_model(archive, archive.trials[3], tmp_path / "model")
    leak = json.dumps({"_name_or_path": str(toy.folder / "models" / "base")})
    (tmp_path / "model" / "generation_config.json").write_text(leak)
    result = push(run, "--model", str(tmp_path / "model"))
    assert result.exit_code == 1
    assert "generation_config.json names a folder of this machine" in result.stderr
    assert hub.asked == []


def test_what_is_cut_off_is_not_merged_again(run: Path, hub: Hub) -> None:
    hub.faults = [Fault("POST", "/commit/", 403, times=9)]
    assert push(run, "--pull-request").exit_code == 1
    assert own_folders(run) == [".push-003"]
    hub.faults = []
    result = push(run, "--pull-request", "--json")
    assert json.loads(result.stdout)["pull_request"] == 1
    assert "merging" not in result.stderr
    assert own_folders(run) == []


def test_the_hubs_errors_become_exit_statuses(run: Path, hub: Hub) -> None:
    hub.faults = [Fault("POST", "/repos/create", 401, times=9)]
    result = push(run)
    assert result.exit_code == 4
    assert "hf auth login" in result.stderr
    assert TOKEN not in result.output


def test_without_a_token_nothing_is_merged(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    result = push(run)
    assert result.exit_code == 4
    assert "merging" not in result.stderr


@pytest.mark.parametrize("words", [["merge"], ["me/x", "--revision", "a", "--pull-request"]])
def test_a_target_that_cannot_be_is_told_at_once(run: Path, hub: Hub, words: list[str]) -> None:
    result = CliRunner().invoke(command, [str(run), "3", *words])
    assert result.exit_code == 2
    assert hub.asked == []

"""Files are there whole or not at all, and a run folder has one owner."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mergekit_mo.files import locked, within, write_file
from mergekit_mo.problems import UserError


def test_a_file_is_written_with_the_folders_above_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "ü.txt"
    write_file(path, "Größe\n")
    assert path.read_bytes() == "Größe\n".encode()
    write_file(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [p.name for p in path.parent.iterdir()] == ["ü.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "table.csv"
    write_file(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif call == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match=r"No space left|File too large"):
            write_file(path, "new" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_nothing_is_written_through_a_strangers_links(tmp_path: Path) -> None:
    run, own = tmp_path / "run", tmp_path / "profile"
    run.mkdir()
    own.write_text("the user's")
    for name in (".table.csv.new", "table.csv", ".lock"):
        (run / name).symlink_to(own)
    write_file(run / "table.csv", "ours")
    with pytest.raises(UserError, match="symbolic links"), locked(run):
        pass
    assert own.read_text() == "the user's"
    assert (run / "table.csv").read_text() == "ours"


def test_a_link_that_leads_out_of_a_folder_is_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "out.yaml").symlink_to(tmp_path / "profile")
    (run / "in.yaml").symlink_to(run / "other.yaml")
    assert not within(run, run / "out.yaml")
    assert not within(run, run / "../profile")
    assert within(run, run / "in.yaml")


def test_the_names_of_new_folders_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def syncing(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", syncing)
    with locked(tmp_path / "runs" / "base"):
        assert synced == [tmp_path.name, "runs"]


def test_a_folder_is_held_by_one_and_free_again_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "new"
    with locked(folder):
        with (
            pytest.raises(UserError, match="another search is running here") as caught,
            locked(folder),
        ):
            pass
        assert caught.value.status == 1
    with locked(folder):
        pass


def test_the_lock_goes_with_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from mergekit_mo.files import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError), locked(tmp_path):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with locked(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"), locked(tmp_path / "run"):
        pass


def test_a_file_in_the_place_of_the_folder_is_the_users_to_mend(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.touch()
    with pytest.raises(UserError, match="run: File exists") as caught, locked(path):
        pass
    assert caught.value.status == 1


def test_writers_never_show_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "front.yaml"
    texts = ["a" * 200_000, "b" * 300_000]
    write_file(path, texts[0])
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mergekit_mo.files import write_file\n"
        "while True:\n"
        "    for text in ('a' * 200_000, 'b' * 300_000):\n"
        "        write_file(Path(sys.argv[1]), text)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)])
    end = time.monotonic() + 1
    seen = set()
    while time.monotonic() < end:
        seen.add(path.read_text())
    child.kill()
    child.wait()
    assert seen <= set(texts)

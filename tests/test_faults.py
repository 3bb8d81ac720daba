"""Whatever dies, nothing that was recorded is lost, and nothing counts twice.

Torch-free searches: the real loop, archive and export; merges and scores are made up.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mergekit_mo import storage
from mergekit_mo.archive import Archive
from mergekit_mo.commands._shared import ending
from mergekit_mo.files import locked, write_file
from mergekit_mo.problems import UserError
from tests.faults import state
from tests.stubbed import search

ROOT = Path(__file__).parents[1]


def kills(folder: Path, stride: int, seconds: float) -> list[int]:
    """Kills searches at every so many steps, then at random; the counts that it prints."""
    words = [sys.executable, "-m", "tests.faults", str(folder), str(stride), str(seconds)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [int(number) for number in re.findall(r"\d+", done.stdout)]


@pytest.mark.slow
def test_a_search_killed_at_its_steps_is_one_that_was_never_killed(tmp_path: Path) -> None:
    killed, steps, kinds, at_random, _ = kills(tmp_path, stride=13, seconds=2)
    assert killed >= 9
    assert steps > 100
    assert kinds > 20
    assert at_random >= 1


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_search_killed_at_every_step_and_for_minutes(tmp_path: Path) -> None:
    killed, steps, _, at_random, runs = kills(tmp_path, stride=1, seconds=120)
    assert killed == steps
    assert at_random > runs > 10
    print(f"killed at {steps} steps, then {at_random} times at random in {runs} runs")


def recorded(folder: Path) -> list[str]:
    """The steps of a search, fsyncs and renames among them."""
    steps: list[str] = []
    search(folder, folder / "run", steps.append, budget=1)
    return steps


def test_a_file_is_on_disk_before_it_takes_its_place_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def syncing(handle: int) -> None:
        calls.append("sync " + Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    def replacing(self: Path, target: Path) -> Path:
        calls.append(f"rename {self.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", replacing)
    write_file(tmp_path / "table.csv", "new")
    assert calls == ["sync .table.csv.new", "rename .table.csv.new", f"sync {tmp_path.name}"]


def test_every_file_of_a_run_is_written_so(tmp_path: Path) -> None:
    steps = recorded(tmp_path)
    for at, name in enumerate(steps):
        if name.startswith("place ") and name != "place archive.db":  # SQLite syncs its own
            assert steps[at - 1] == "fsync", name
        if name.startswith("place "):
            assert steps[at + 1 : at + 3] == ["fsync", f"placed {name[6:]}"], name
    exported = {p.name for p in (tmp_path / "run").rglob("*") if p.is_file()} - {".lock"}
    placed = {name[7:] for name in steps if name.startswith("placed ")}
    assert exported == placed


def test_a_commit_is_synced_and_writers_keep_out_of_each_others_way(tmp_path: Path) -> None:
    search(tmp_path, tmp_path / "run", budget=1)
    with Archive.open(tmp_path / "run") as archive:
        assert archive._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert archive._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        with contextlib.suppress(TypeError), storage.transaction(archive._db):
            storage.write_fact(archive._db, "half", 1)
            storage.write_fact(archive._db, "whole", object())
        assert archive.fact("half") is None
        with closing(storage.connect(str(tmp_path / "run" / "archive.db"))) as other:
            other.execute("PRAGMA busy_timeout=10")
            with (
                storage.transaction(archive._db),
                pytest.raises(UserError, match="locked"),
                storage.transaction(other),
            ):
                pass


def test_trials_are_written_before_they_run_and_results_before_they_are_told(
    tmp_path: Path,
) -> None:
    steps = [s for s in recorded(tmp_path) if s in ("begin", "committed", "merge", "score", "ask")]
    for at, name in enumerate(steps):
        if name == "merge":
            assert steps[at : at + 4] == ["merge", "score", "begin", "committed"]


class Full:
    """A disk that is full from one step on.

    Args:
        at: the number of the fsync that it refuses, from 1.
    """

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, name: str) -> None:
        self.left -= name == "fsync"
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device", "a file")


@pytest.mark.parametrize("at", [1, 3, 9, 14])
def test_a_disk_that_fills_up_among_the_files_costs_nothing(tmp_path: Path, at: int) -> None:
    search(tmp_path, tmp_path / "whole", budget=2)
    with pytest.raises((OSError, UserError), match="No space left"):
        search(tmp_path, tmp_path / "run", Full(at), budget=2)
    search(tmp_path, tmp_path / "run", budget=2)
    assert state(tmp_path / "run") == state(tmp_path / "whole")


@pytest.mark.parametrize("missing", [1, 2, 4])
def test_a_disk_that_fills_up_under_the_archive_ends_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    search(tmp_path, tmp_path / "whole", budget=2)
    pages = (tmp_path / "whole" / "archive.db").stat().st_size // 4096 - missing
    durable = storage.make_durable

    def limited(db: Any) -> None:
        durable(db)
        db.execute(f"PRAGMA max_page_count={pages}")  # SQLite's own error for a full disk

    monkeypatch.setattr(storage, "make_durable", limited)
    with pytest.raises(UserError, match=r"cannot be written .*disk is full.*--resume") as caught:
        search(tmp_path, tmp_path / "run", budget=2)
    assert caught.value.status == 1
    monkeypatch.undo()
    search(tmp_path, tmp_path / "run", budget=2)
    assert state(tmp_path / "run") == state(tmp_path / "whole")


def test_a_folder_on_a_read_only_disk_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def refusing(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refusing)
    with pytest.raises(UserError, match="Read-only file system") as caught:
        search(tmp_path, tmp_path / "run", steps.append)
    assert caught.value.status == 1
    assert steps == []


def test_refusals_of_a_disk_are_no_crashes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, ending():
        raise OSError(errno.ENOSPC, "No space left on device", "front.csv")
    assert caught.value.code == 1
    assert capsys.readouterr().err == "front.csv: No space left on device\n"


def test_a_second_search_is_refused_by_a_lock_that_goes_with_its_holder(tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(UserError, match="another search is running here"):
        search(tmp_path, tmp_path / "run")
    search(tmp_path, tmp_path / "run", budget=1)


def searched(out: Path) -> list[Any]:
    """The trials of a run, but for their hold-out, which an earlier front has opened too."""
    with Archive.open(out, read_only=True) as archive:
        return [replace(trial, holdout={}) for trial in archive.trials]


def test_a_budget_may_grow_and_a_smaller_one_runs_nothing(tmp_path: Path) -> None:
    search(tmp_path, tmp_path / "whole", budget=4)
    steps: list[str] = []
    search(tmp_path, tmp_path / "run", budget=2)
    search(tmp_path, tmp_path / "run", budget=4)
    assert searched(tmp_path / "run") == searched(tmp_path / "whole")
    search(tmp_path, tmp_path / "run", steps.append, budget=2)
    assert "merge" not in steps

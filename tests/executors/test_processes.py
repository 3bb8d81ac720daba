"""Workers that are processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mergekit_mo.executors import Executor
from mergekit_mo.executors.processes import Processes, _visible
from mergekit_mo.problems import UserError
from mergekit_mo.testing.executors import ExecutorSuite, Start
from tests.executors.stubs import Diary, Suite, Unfit, gave_up, workers_of

ROOT = Path(__file__).parents[2]


class TestProcesses(ExecutorSuite):
    @pytest.fixture
    def start(self) -> Iterator[Start]:
        started: list[Processes[int, Any]] = []

        def start(work: Callable[[int], Any]) -> Executor[int, Any]:
            started.append(Processes(Suite(getattr(work, "__name__")), 2, gave_up))  # noqa: B009
            return started[-1]

        yield start
        for executor in started:
            executor.close()


@pytest.fixture
def diary(tmp_path: Path) -> Iterator[Processes[str, str]]:
    before = psutil.Process().children()  # other tests' servers and browsers
    executor: Processes[str, str] = Processes(Diary(tmp_path), 2, gave_up, patience=6)
    yield executor
    executor.close()
    ours = [p for p in psutil.Process().children() if p not in before]
    assert not [p for p in ours if "tracker" not in " ".join(p.cmdline())]


def test_a_worker_that_is_killed_is_replaced_and_its_job_counts_once(
    diary: Processes[str, str], tmp_path: Path
) -> None:
    for job in ("die a", "b", "c"):
        diary.submit(job)
    found = dict(diary.wait() for _ in range(3))
    assert found.keys() == {"die a", "b", "c"}
    first, second = workers_of(tmp_path, "die a")
    assert found["die a"] == f"die a by {second}"
    assert first != second
    assert not diary.ready()
    (note,) = [note for note in diary.notes() if "replaced" in note]
    assert "its process ended (killed by SIGKILL)" in note


def test_a_job_that_kills_every_worker_is_given_up(
    diary: Processes[str, str], tmp_path: Path
) -> None:
    diary.submit("fall a")
    job, result = diary.wait()
    assert (job, result[:33]) == ("fall a", "fall a failed: 3 workers died of ")
    assert len(workers_of(tmp_path, "fall a")) == 3


def test_a_stopped_worker_is_replaced_and_its_job_counts_once(
    diary: Processes[str, str], tmp_path: Path
) -> None:
    diary.submit("hold a")
    while not workers_of(tmp_path, "hold a"):
        time.sleep(0.02)
    os.kill(workers_of(tmp_path, "hold a")[0], signal.SIGSTOP)
    assert diary.wait()[0] == "hold a"
    assert len(workers_of(tmp_path, "hold a")) == 2
    diary.submit("b")
    assert diary.wait()[0] == "b"
    assert not diary.ready()


def test_what_keeps_a_worker_from_working_is_told() -> None:
    executor: Processes[int, str] = Processes(Unfit(), 1, gave_up)
    executor.submit(1)
    with pytest.raises(UserError, match="could be made ready: FileNotFoundError: no such model"):
        executor.wait()
    executor.close()


_DRIVER = """
import sys, time
from pathlib import Path
from mergekit_mo.executors.processes import Processes
from tests.executors.stubs import Diary, gave_up
if __name__ == "__main__":
    executor = Processes(Diary(Path(sys.argv[1])), 2, gave_up)
    executor.submit("hold a")
    executor.submit("hold b")
    executor.wait()
"""


def test_no_worker_outlives_a_killed_search(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(_DRIVER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen([sys.executable, script, tmp_path], env=environment)
    while not (pids := [*workers_of(tmp_path, "hold a"), *workers_of(tmp_path, "hold b")])[1:]:
        time.sleep(0.02)
    os.kill(pids[0], signal.SIGSTOP)
    family = psutil.Process(driver.pid).children(recursive=True)
    assert len(family) >= 2
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


@pytest.mark.parametrize(
    ("named", "place", "expected"), [(None, 0, "0,1"), (None, 2, "4,5"), ("3,5,6,7", 1, "6,7")]
)
def test_each_place_has_its_own_gpus(
    named: str | None, place: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert _visible(place, 2) == expected
    assert _visible(place, 0) is None

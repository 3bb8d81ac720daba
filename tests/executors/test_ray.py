"""Workers in a real Ray on this machine, which all tests of this module share."""

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

from mergekit_mo import loop, preflight
from mergekit_mo.archive import Archive
from mergekit_mo.events import Finished, Warned
from mergekit_mo.executors import Executor
from mergekit_mo.executors.ray import Ray, _connect, connected
from mergekit_mo.hiring import lost
from mergekit_mo.problems import UserError
from mergekit_mo.testing.executors import ExecutorSuite, Start
from mergekit_mo.trial import Outcome
from tests.executors import driver
from tests.executors.driver import BUDGET, HELD, ByNumber
from tests.executors.stubs import Diary, Scores, Suite, Unfit, gave_up, workers_of
from tests.toy import FLAGS, Toy

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def started() -> Iterator[None]:
    """One Ray for the module; nothing of it is left."""
    handler = signal.getsignal(signal.SIGTERM)
    with connected(cpus=8):
        family = psutil.Process().children(recursive=True)
        assert any("raylet" in process.name() for process in family)
        assert signal.getsignal(signal.SIGTERM) == handler
        yield
        family = psutil.Process().children(recursive=True)
    family = [p for p in family if p.is_running() and "ray" in " ".join(p.cmdline())]
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


class TestRay(ExecutorSuite):
    @pytest.fixture
    def start(self) -> Iterator[Start]:
        started: list[Ray[int, Any]] = []

        def start(work: Callable[[int], Any]) -> Executor[int, Any]:
            started.append(Ray(Suite(getattr(work, "__name__")), 2, gave_up))  # noqa: B009
            return started[-1]

        yield start
        for executor in started:
            executor.close()


@pytest.fixture
def diary(tmp_path: Path) -> Iterator[Ray[str, str]]:
    executor: Ray[str, str] = Ray(Diary(tmp_path), 2, gave_up, patience=6)
    yield executor
    executor.close()


def test_a_worker_that_is_killed_is_replaced_and_its_job_counts_once(
    diary: Ray[str, str], tmp_path: Path
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
    assert "worker process has died" in note


def test_a_job_that_kills_every_worker_is_given_up(diary: Ray[str, str], tmp_path: Path) -> None:
    diary.submit("fall a")
    job, result = diary.wait()
    assert (job, result[:33]) == ("fall a", "fall a failed: 3 workers died of ")
    assert len(workers_of(tmp_path, "fall a")) == 3


def test_a_stopped_worker_is_replaced_and_when_it_wakes_late_its_job_has_counted(
    diary: Ray[str, str], tmp_path: Path
) -> None:
    diary.submit("hold a")
    while not workers_of(tmp_path, "hold a"):
        time.sleep(0.02)
    (first,) = workers_of(tmp_path, "hold a")
    os.kill(first, signal.SIGSTOP)
    job, result = diary.wait()
    assert (job, result) == ("hold a", f"hold a by {workers_of(tmp_path, 'hold a')[1]}")
    (tmp_path / "go").touch()
    if psutil.pid_exists(first):  # Ray takes five seconds to kill it
        os.kill(first, signal.SIGCONT)
    diary.submit("b")
    assert diary.wait()[0] == "b"
    time.sleep(0.5)
    assert not diary.ready()
    (note,) = [note for note in diary.notes() if "replaced" in note]
    assert "no sign of life for 6 s; what it had runs again" in note


def test_what_keeps_a_worker_from_working_is_told() -> None:
    executor: Ray[int, str] = Ray(Unfit(), 1, gave_up)
    executor.submit(1)
    with pytest.raises(UserError, match="could be made ready: FileNotFoundError: no such model"):
        executor.wait()
    executor.close()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_where_no_cluster_answers_that_is_told_at_once(address: str) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=rf"no Ray cluster answers at {address} .*ray start --head"):
        _connect(address)
    assert time.monotonic() - start < 5


def test_each_worker_has_the_cores_that_it_was_given_and_ends_with_its_executor(
    tmp_path: Path,
) -> None:
    import ray

    executor: Ray[str, str] = Ray(Diary(tmp_path), 2, gave_up, cpus=3)
    executor.submit("a")
    executor.wait()
    taken = ray.cluster_resources()["CPU"] - ray.available_resources()["CPU"]
    workers = [psutil.Process(pid) for pid in workers_of(tmp_path, "a")]
    executor.close()
    assert taken == 6
    _, alive = psutil.wait_procs(workers, timeout=10)  # on a cluster that goes on
    assert not alive


def test_a_search_whose_workers_die_has_every_trial_once(toy: Toy, tmp_path: Path) -> None:
    ready = preflight.prepare(toy.recipe("rays", budget=9), FLAGS)
    diary = tmp_path / "diary"
    diary.mkdir()
    inner: Ray[str, Outcome] = Ray(Scores(diary), 2, lost)

    def word(number: int) -> str:
        return "die" if number == 5 else "score"  # the third candidate takes its first worker

    out = tmp_path / "run"
    events = list(loop.search(ready, out, hire=lambda _: ByNumber(inner, word)))
    finished = [e.trial.number for e in events if isinstance(e, Finished)]
    assert sorted(finished) == list(range(3 + 9))
    with Archive.open(out, read_only=True) as archive:
        assert {t.status for t in archive.trials} == {"done"}
        assert len({t.unit for t in archive.candidates}) == 9
    assert len(workers_of(diary, "die 5 search")) == 2
    warned = "; ".join(e.message for e in events if isinstance(e, Warned))
    assert "what it had runs again" in warned


@pytest.mark.slow
@pytest.mark.parametrize(
    "cluster", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["own", "cluster"]
)
def test_a_search_that_is_killed_leaves_no_process_and_goes_on(
    tmp_path: Path, cluster: bool
) -> None:
    import ray

    diary = tmp_path / "diary"
    diary.mkdir()
    words = [sys.executable, "-m", "tests.executors.driver", str(tmp_path)]
    if cluster:  # which is that of the tests
        words.append(ray.get_runtime_context().gcs_address)
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    search = subprocess.Popen(words, cwd=ROOT, env=environment)
    try:
        while len(begun := list(diary.glob("hold*"))) < 2:
            assert search.poll() is None, "it ended by itself"
            time.sleep(0.05)
        family = psutil.Process(search.pid).children(recursive=True)
        family += [psutil.Process(int(path.suffix[1:])) for path in begun]
        guards = [p.cmdline() for p in family if "_reaper" in " ".join(p.cmdline())]
        assert any("raylet" in p.name() for p in family) is not cluster
    finally:
        search.kill()
        search.wait()
    _, alive = psutil.wait_procs(set(family), timeout=20)
    assert not alive
    assert not any(Path(guard[-1]).exists() for guard in guards)
    assert len(guards) == (0 if cluster else 1)
    with Archive.open(tmp_path / "run", read_only=True) as archive:
        before = {t.number: t for t in archive.trials}
    assert {number for number, t in before.items() if t.status == "done"} == {0, 1, 2}
    assert len(before) > HELD + 1
    (diary / "go").touch()
    driver.search(tmp_path)
    with Archive.open(tmp_path / "run", read_only=True) as archive:
        after = {t.number: t for t in archive.trials}
    assert [t.status for t in after.values()] == ["done"] * (3 + BUDGET)
    assert all(after[number].unit == t.unit for number, t in before.items())
    assert all(after[number].scores == before[number].scores for number in (0, 1, 2))
    asked = [len(list(diary.glob(f"* {number} search.*"))) for number in after]
    assert asked == [1, 1, 1, 2, 2, *[1] * (BUDGET - 2)]

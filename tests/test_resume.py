"""A search that is stopped, at whatever moment, is one that was never stopped."""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mergekit_mo import identity, loop, preflight
from mergekit_mo.events import Finished, Started, Warned
from mergekit_mo.files import locked
from mergekit_mo.options import MergeFlags
from mergekit_mo.problems import UserError
from tests.toy import FLAGS, QLOGNEHVI, Toy, dump, run

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def stopped(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was closed after its first trial; its recipe is `stopped.yaml`."""
    out = tmp_path_factory.mktemp("resume") / "stopped"
    stop_after_one(toy.recipe("stopped"), out)
    return out


def stop_after_one(recipe: Path, out: Path) -> None:
    search = loop.search(preflight.prepare(recipe, FLAGS), out)
    assert isinstance(next(search), Started)
    assert isinstance(next(search), Finished)
    search.close()


def table(path: Path) -> list[list[str]]:
    """A CSV without the column of seconds."""
    rows = list(csv.reader(path.open(encoding="utf-8")))
    at = rows[0].index("seconds")
    return [row[:at] + row[at + 1 :] for row in rows]


def front(out: Path) -> dict[str, str]:
    """The front's files, without the paths that they name."""
    texts = {p.name: p.read_text(encoding="utf-8") for p in (out / "front").iterdir()}
    return {
        name: text.replace(str(out), "OUT").replace(f"of {out.name},", "of OUT,")
        for name, text in texts.items()
    }


def killed(recipe: Path, out: Path, seed: int, **limits: int) -> int:
    """How often a search was killed before it came to its end; see `tests.killer.main`."""
    given = [f"{name}={limit}" for name, limit in limits.items()]
    found = subprocess.run(
        [sys.executable, "-m", "tests.killer", str(recipe), str(out), str(seed), *given],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return int(found.stdout.split()[-1])


@pytest.mark.slow
def test_a_search_that_was_killed_again_and_again_equals_one_that_was_not(
    toy: Toy, tmp_path: Path
) -> None:
    recipe = toy.recipe("killed", budget=5, optimizer=QLOGNEHVI)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    run(recipe, whole)
    assert killed(recipe, torn, seed=1) >= 6
    assert dump(torn) == dump(whole)
    assert front(torn) == front(whole)
    for name in ("front.csv", "trials.csv"):
        assert table(torn / name) == table(whole / name)
    assert {p.name for p in torn.iterdir()} == {p.name for p in whole.iterdir()}


def test_a_second_search_in_one_folder_is_refused(toy: Toy, tmp_path: Path) -> None:
    ready = preflight.prepare(toy.recipe("twice"), FLAGS)
    search = loop.search(ready, tmp_path)
    next(search)
    for resume in (False, True):
        with pytest.raises(UserError, match="another search is running here") as caught:
            next(loop.search(ready, tmp_path, resume=resume))
        assert caught.value.status == 1
    # The check before the lock may read the archive while its writer has it.
    loop.check_folder(ready, tmp_path, resume=True)
    assert isinstance(next(search), Finished)
    search.close()
    with locked(tmp_path):
        pass


def test_a_folder_with_a_run_is_refused_and_both_ways_out_are_named(
    toy: Toy, stopped: Path
) -> None:
    with pytest.raises(UserError) as caught:
        run(toy.folder / "stopped.yaml", stopped)
    assert str(caught.value) == (
        f"{stopped} holds a run already: continue it with --resume, or choose another --out"
    )
    assert caught.value.status == 2


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"seed": 1}, "search.seed, items.toy_bits, items.toy_choice"),
        ({"optimizer": QLOGNEHVI}, "search.optimizer"),
        ({"objectives": ["sparsity"]}, "search.objectives, items.toy_bits, items.toy_choice"),
        ({"evaluation": {"limit": 8, "holdout": 4, "batch_size": 4}}, "search.evaluation"),
        ({"method": "dare_ties"}, "search.configuration, search.methods"),
    ],
    ids=["seed", "optimizer", "objectives", "evaluation", "method"],
)
def test_another_recipe_is_refused_and_what_differs_is_named(
    toy: Toy, stopped: Path, changes: dict[str, Any], differing: str
) -> None:
    before = dump(stopped)
    with pytest.raises(UserError) as caught:
        run(toy.recipe("other", **changes), stopped, resume=True)
    assert caught.value.status == 2
    assert str(caught.value) == (
        f"{stopped} was run with other settings: {differing}; "
        "only the budget may change. Choose another --out"
    )
    assert dump(stopped) == before


def test_other_flags_that_change_scores_are_refused(toy: Toy, stopped: Path) -> None:
    recipe = toy.folder / "stopped.yaml"
    with pytest.raises(UserError, match=r"flags\.random_seed"):
        run(recipe, stopped, resume=True, flags=MergeFlags(device="cpu", random_seed=7))
    with pytest.raises(UserError, match=r"threads \(1 then, 2 now\)"):
        run(recipe, stopped, resume=True, flags=MergeFlags(device="cpu", num_threads=2))


def test_a_task_whose_items_have_changed_is_refused(toy: Toy, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(toy.folder, folder)
    recipe, out = Toy(folder).recipe("changed"), tmp_path / "run"
    stop_after_one(recipe, out)
    items = folder / "tasks" / "items.json"
    items.write_text(items.read_text().replace("what is", "where is"))
    with pytest.raises(UserError, match=r"other settings: tasks\.toy_bits, tasks\.toy_choice;"):
        run(recipe, out, resume=True)


def test_threads_that_are_not_named_are_those_of_the_run(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe("threads", budget=1)
    stop_after_one(recipe, tmp_path)
    run(recipe, tmp_path, resume=True, flags=MergeFlags(device="cpu"))
    (path,) = (tmp_path / "front").iterdir()
    assert "--random-seed 0 -j 1\n" in path.read_text(encoding="utf-8")


def test_resuming_in_an_empty_folder_starts(toy: Toy, tmp_path: Path) -> None:
    events = run(toy.recipe("fresh", budget=1), tmp_path / "new", resume=True)
    first = events[0]
    assert isinstance(first, Started)
    assert first.done == 0
    assert (tmp_path / "new" / "front" / "003.yaml").is_file()


def test_a_start_that_left_half_an_archive_starts_afresh(toy: Toy, tmp_path: Path) -> None:
    aside = tmp_path / f".{loop.ARCHIVE}.new"
    with sqlite3.connect(aside) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE fact (name TEXT)")
    db.close()
    (tmp_path / f".{loop.ARCHIVE}.new-wal").write_bytes(b"left over")
    run(toy.recipe("half", budget=1), tmp_path)
    assert not list(tmp_path.glob(".archive*"))


def test_changed_library_versions_are_told(
    toy: Toy, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "versions", lambda: {"torch": "0.0"})
    ready = preflight.prepare(toy.folder / "stopped.yaml", FLAGS)
    search = loop.search(ready, stopped, resume=True)
    events = [next(search) for _ in range(2)]
    search.close()
    assert isinstance(events[0], Started)
    assert isinstance(events[1], Warned)
    assert " when this run began, and is " in events[1].message

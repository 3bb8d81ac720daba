"""What is whole of a damaged archive is saved, and nothing else."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from mergekit_mo import storage
from mergekit_mo.archive import Archive
from mergekit_mo.cli import main
from mergekit_mo.problems import UserError
from mergekit_mo.rescue import rescue
from mergekit_mo.trial import Trial
from tests.test_archive import ANSWERS, FAILED, GOALS, add, outcome

FACTS = {"recipe": "merge_method: ties\n", "search": {}}


def fill(path: Path, count: int = 3) -> tuple[Trial, ...]:
    path.parent.mkdir()
    facts = {**FACTS, "items": {"task": {"search": [1], "holdout": [2]}}}
    with Archive.create(path, GOALS, facts) as archive:
        for number, trial in enumerate(archive.propose("reference", [("a/x", {}), ("a/y", {})])):
            archive.finish(trial.number, outcome(0.2 + number, 3.0, ANSWERS), 0.0)
        for i in range(count):
            add(archive, outcome(0.5, 2.0 - i / 512, ANSWERS), x=i / 512)
        add(archive, FAILED, None)
        archive.finish(2, outcome(0.4, 2.2, {"task": ["held out"]}), 0.0, "holdout")
        return archive.trials


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "archive.db"


def undone(trial: Trial) -> Trial:
    return replace(
        trial, status="waiting", scores={}, holdout={}, digest=None, error=None, seconds=None
    )


@pytest.mark.parametrize(
    ("statement", "lost"),
    [
        ("UPDATE score SET value=value+1 WHERE trial=3 AND goal='bits'", "again"),
        ("UPDATE answers SET body=zeroblob(3) WHERE trial=3", "again"),
        ("DELETE FROM score WHERE trial=3", "again"),
        ("UPDATE trial SET config='{}' WHERE number=3", "gone"),
    ],
)
def test_trials_are_kept_run_again_or_gone(path: Path, statement: str, lost: str) -> None:
    trials, out = fill(path), path.parents[1] / "out"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    found = rescue(path.parent, out)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before
    assert found.kept == (0, 1, 2, 4, 5, 6)
    assert (found.again, found.gone) == (((3,), ()) if lost == "again" else ((), (3,)))
    with Archive.open(out) as archive:
        wanted = [undone(t) if t.number == 3 else t for t in trials]
        assert list(archive.trials) == [t for t in wanted if t.number not in found.gone]
        assert archive.answers(2, "search", "task") == ANSWERS["task"]
        assert archive.openings() == (2,)
        assert archive.fact("recipe") == FACTS["recipe"]
    assert (out / "recipe.yaml").read_text() == FACTS["recipe"]


def test_a_damaged_holdout_is_dropped_and_the_trial_kept(path: Path) -> None:
    trials = fill(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE score SET value=9 WHERE split='holdout' AND goal='bits'")
    rescue(path.parent, path.parents[1] / "out")
    with Archive.open(path.parents[1] / "out") as archive:
        assert archive.trials == tuple(replace(t, holdout={}) for t in trials)


def test_a_torn_file_gives_what_its_readable_pages_hold(path: Path) -> None:
    trials = fill(path, count=300)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(UserError, match="damaged"):
        Archive.open(path)
    found = rescue(path.parent, path.parents[1] / "out")
    assert len(found.kept) + len(found.again) > 30
    with Archive.open(path.parents[1] / "out") as archive:
        known = {t.number: t for t in trials}
        for trial in archive.trials:
            own = known[trial.number]
            held = replace(own, holdout=trial.holdout)
            assert trial in (own, held, undone(own))


def test_whatever_bits_flip_nothing_wrong_is_kept(path: Path) -> None:
    trials = {t.number: t for t in fill(path)}
    draw, whole = random.Random(2), path.read_bytes()
    used = [i for i, byte in enumerate(whole) if byte]
    came_through = 0
    for turn in range(12):
        content = bytearray(whole)
        for at in draw.sample(used, 3):
            content[at] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        out = path.parents[1] / f"out-{turn}"
        try:
            rescue(path.parent, out)
        except UserError:
            continue
        came_through += 1
        with Archive.open(out) as archive:
            for trial in archive.trials:
                own = trials[trial.number]
                assert trial in (own, replace(own, holdout={}), undone(own))
    assert came_through > 3


def test_what_cannot_be_rescued_is_told(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such archive"):
        rescue(path.parent, tmp_path / "out")
    fill(path)
    with pytest.raises(UserError, match="holds a run already"):
        rescue(path.parent, path.parent)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE fact SET value='[]' WHERE name='goals'")
    with pytest.raises(UserError, match=r"what the run was is lost \(goals\)"):
        rescue(path.parent, tmp_path / "out")
    path.write_bytes(b"no database at all " * 300)
    with pytest.raises(UserError, match="what the run was is lost"):
        rescue(path.parent, tmp_path / "out")
    assert not (tmp_path / "out" / "archive.db").exists()


def test_the_command_that_the_error_names_saves_it(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE score SET value=value+1 WHERE trial=3")
    with pytest.raises(UserError) as caught:
        Archive.open(path)
    words = str(caught.value).rpartition("mergekit-mo ")[2].split()
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 0, found.output
    assert "6 trials are as they were" in found.output
    assert "trial 3: a part of the result is lost; to be run again" in found.output
    with Archive.open(Path(words[-1]), read_only=True) as archive:
        assert len(archive.trials) == 7


def test_marks_do_not_change_when_a_column_is_added(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE trial ADD COLUMN colour TEXT")
        assert storage.damage(db) == []

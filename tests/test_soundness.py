"""A damaged archive is found out when it is opened, and nothing of it is used."""

from __future__ import annotations

import random
import shutil
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from mergekit_mo import records, storage
from mergekit_mo.archive import Archive
from mergekit_mo.problems import UserError
from mergekit_mo.rescue import rescue
from mergekit_mo.soundness import opened
from mergekit_mo.trial import Trial
from tests.test_archive import ANSWERS, GOALS, fill, outcome


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "archive.db"


@pytest.fixture
def trials(path: Path) -> tuple[Trial, ...]:
    path.parent.mkdir()
    return fill(path)


def content(path: Path) -> dict[str, list[str]]:
    """Every row of an archive, as whoever opens it is given it."""
    with closing(opened(path, read_only=True)) as db:
        return {table: sorted(map(repr, storage.rows(db, table))) for table in storage.KEYS}


def test_no_flipped_bit_is_ever_used(path: Path, trials: tuple[Trial, ...]) -> None:
    draw, whole, before = random.Random(1), path.read_bytes(), content(path)
    used = [i for i, byte in enumerate(whole) if byte]
    refused = 0
    for at in draw.sample(used, 400):
        flipped = bytes([whole[at] ^ 1 << draw.randrange(8)])
        path.write_bytes(whole[:at] + flipped + whole[at + 1 :])
        try:
            assert content(path) == before, f"byte {at} was used as it is"
        except UserError:
            refused += 1
    assert refused > 300  # the rest is of no meaning: counters, what was deleted


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE score SET value=value+0.25 WHERE trial=2 AND goal='bits'", "score 2 search bits"),
        ("UPDATE score SET stderr=NULL WHERE trial=2 AND stderr>0", "score 2 .* accuracy"),
        ("UPDATE trial SET config='{}' WHERE number=3", "trial 3"),
        ("UPDATE trial SET status='waiting' WHERE number=3", "trial 3"),
        ("UPDATE trial SET number=9 WHERE number=4", "trial 9"),
        ("UPDATE fact SET value='[7]' WHERE name='note'", "fact note"),
        ("UPDATE answers SET body=zeroblob(9) WHERE split='search'", "answers 2 search task"),
        ("UPDATE opening SET trial=3", "opening 1"),
        ("DELETE FROM score WHERE trial=2", "rows were written"),
        ("DELETE FROM trial WHERE number=4", "rows were written"),
        ("UPDATE seal SET total=total+1", "an old one is"),
        ("DELETE FROM seal", "damaged"),
    ],
)
@pytest.mark.parametrize("read_only", [True, False])
def test_what_was_changed_is_named_and_the_way_out_too(
    path: Path, trials: tuple[Trial, ...], statement: str, what: str, read_only: bool
) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)
    before = path.read_bytes()
    with pytest.raises(UserError, match=what) as caught:
        Archive.open(path, read_only=read_only)
    assert f"mergekit-mo rescue {path.parent} {path.parent}-rescued" in str(caught.value)
    assert path.read_bytes() == before


def test_a_row_that_went_back_to_what_it_was_is_found(path: Path) -> None:
    path.parent.mkdir()
    with Archive.create(path, GOALS, {}) as archive:
        archive.remember("note", 1)
    with closing(sqlite3.connect(path)) as db:
        (old,) = db.execute("SELECT value, mark FROM fact WHERE name='note'").fetchall()
    with Archive.open(path) as archive:
        archive.remember("note", 2)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE fact SET value=?, mark=? WHERE name='note'", old)
    with pytest.raises(UserError, match="an old one is"):
        Archive.open(path, read_only=True)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON fact BEGIN DELETE FROM trial; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE VIRTUAL TABLE v USING fts5(text)",
        # Whoever reads this waits for ever.
        "DROP TABLE fact; CREATE VIEW fact AS WITH RECURSIVE n(name) AS "
        "(SELECT 'a' UNION ALL SELECT name FROM n) SELECT name, name AS value, 0 AS mark FROM n",
    ],
    ids=["trigger", "view", "virtual table", "endless view"],
)
def test_a_strangers_sql_is_refused_before_it_runs(
    path: Path, trials: tuple[Trial, ...], statement: str
) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(statement)
    with pytest.raises(UserError, match=r"the archive is damaged .*not of this program"):
        Archive.open(path)
    if "fact" in statement:
        with pytest.raises(UserError, match=r"what the run was is lost|does not say"):
            rescue(path.parent, path.parent.with_name("out"))


@pytest.mark.parametrize(
    "body",
    [
        "a text",
        b"",
        b"no zip",
        zlib.compress(b"{"),
        zlib.compress(b"[1]")[:-2],
        zlib.compress(b"[" * 10**6),
    ],
)
def test_answers_that_only_a_stranger_would_write_are_told(
    path: Path, trials: tuple[Trial, ...], body: bytes | str
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        key = {"trial": 2, "split": "search", "task": "task"}
        checksum = zlib.crc32(body if isinstance(body, bytes) else body.encode())
        storage.put(db, "answers", {**key, "checksum": checksum, "body": body})
    with Archive.open(path, read_only=True) as archive, pytest.raises(UserError, match="damaged"):
        archive.answers(2, "search", "task")


def test_answers_without_an_end_are_not_unpacked(
    path: Path, trials: tuple[Trial, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_LONGEST", 1000)
    with Archive.open(path, read_only=True) as archive, pytest.raises(UserError, match="damaged"):
        archive.answers(2, "search", "task")


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("trial", {"role": "judge"}),
        ("trial", {"status": "won"}),
        ("trial", {"config": "[1]"}),
        ("trial", {"unit": "[2.0]"}),
        ("trial", {"unit": '["a"]'}),
        ("trial", {"unit": "{"}),
        ("trial", {"path": "[[1]]"}),
        ("fact", {"name": "goals", "value": '[["accuracy"]]'}),
        ("fact", {"name": "goals", "value": "17"}),
    ],
)
def test_rows_of_another_form_are_refused_though_their_marks_are_right(
    path: Path, trials: tuple[Trial, ...], table: str, row: dict[str, object]
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        whole = next(r for r in storage.rows(db, table) if r.get("number", 2) == 2)
        whole.pop("mark")
        storage.put(db, table, whole | row)
    with pytest.raises(UserError, match="the archive is damaged"):
        Archive.open(path)


def test_a_reader_sees_one_state_while_somebody_writes(path: Path) -> None:
    path.parent.mkdir()
    with Archive.create(path, GOALS, {}) as writer:
        for i in range(30):
            (trial,) = writer.propose("reference", [(f"a/m{i}", {})])
            with Archive.open(path, read_only=True) as reader:
                assert reader.trials == writer.trials
            writer.finish(trial.number, outcome(0.5, 2.0, ANSWERS), 0.0)
            assert content(path)


def killed(path: Path) -> tuple[Trial, ...]:
    """Leaves a folder as a killed run does: its last transactions lie beside the archive."""
    aside = path.parent.with_name("alive")
    aside.mkdir()
    archive = Archive.create(aside / path.name, GOALS, {})
    for i in range(3):
        archive.propose("reference", [(f"a/m{i}", {})])
    path.parent.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(aside / f"{path.name}{suffix}", path.parent)
    trials = archive.trials
    archive.close()
    return trials


def test_a_killed_run_is_read_in_a_folder_that_nobody_may_write_to(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = killed(path)
    connect = sqlite3.connect

    class Refusing(sqlite3.Connection):
        """SQLite where it may make no file beside the archive; root may write anywhere."""

        def execute(self, *_: object) -> sqlite3.Cursor:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorname = "SQLITE_CANTOPEN"
            raise error

    def guarded(address: object, **more: object) -> sqlite3.Connection:
        more |= {"factory": Refusing} if more.get("uri") else {}
        return connect(address, **more)  # type: ignore[call-overload,no-any-return]

    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    monkeypatch.setattr(sqlite3, "connect", guarded)
    with Archive.open(path, read_only=True) as archive:
        assert archive.trials == trials
        with pytest.raises(UserError, match="cannot be written"):
            archive.remember("note", 1)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before


def test_half_a_transaction_of_a_killed_run_is_undone_by_whoever_reads(path: Path) -> None:
    """A kill while an archive is put away leaves SQLite's other kind of log beside it."""
    path.parent.mkdir()
    aside = path.parent.with_name("alive")
    aside.mkdir()
    trials = fill(aside / path.name)
    with closing(sqlite3.connect(aside / path.name, isolation_level=None)) as db:
        db.execute("PRAGMA cache_size=1")  # so that half of it is in the file already
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE score SET value=0")
        db.executemany(
            "INSERT INTO fact VALUES (?, ?, 0)", [(str(i), "x" * 3000) for i in range(99)]
        )
        for suffix in ("", "-journal"):
            shutil.copy(aside / f"{path.name}{suffix}", path.parent)
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    assert b"x" * 3000 in before[path.name]
    with Archive.open(path, read_only=True) as archive:
        assert archive.trials == trials
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before
    with Archive.open(path) as archive:
        assert archive.trials == trials


def test_a_locked_archive_is_not_called_damaged(
    path: Path, trials: tuple[Trial, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k | {"timeout": 0.1}))
    with closing(connect(path)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=r"cannot be opened \(database is locked\)"):
            Archive.open(path, read_only=True)

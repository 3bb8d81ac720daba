"""A command that only looks leaves a run folder as it found it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mergekit_mo.archive import Archive
from mergekit_mo.problems import UserError
from tests.commands.conftest import Plant, Type


def state(run: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its content and the time of its last change."""
    files = (path for path in run.rglob("*") if path.is_file())
    return {str(p.relative_to(run)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


@pytest.mark.parametrize(
    "words",
    [
        ["front"],
        ["front", "--csv"],
        ["front", "--json"],
        ["pick", "--by", "knee"],
        ["pick", "--prefer", "task=1"],
        ["pick", "--trial", "4"],
        ["card", "4", "--license", "mit"],
    ],
    ids=" ".join,
)
def test_it_changes_nothing(planted: Plant, typed: Type, words: list[str]) -> None:
    run = planted()
    before = state(run)
    name, *rest = words
    found = typed(name, run, *rest)
    assert found.exit_code == 0, found.output
    assert state(run) == before


def test_nobody_writes_through_an_archive_opened_for_reading(planted: Plant) -> None:
    with Archive.open(planted(), read_only=True) as archive, pytest.raises(UserError):
        archive.remember("note", 1)


@pytest.mark.parametrize("name", ["front", "pick", "card", "report"])
def test_a_damaged_run_is_refused_in_words(planted: Plant, typed: Type, name: str) -> None:
    run = planted()
    with closing(sqlite3.connect(run / "archive.db")) as db, db:
        db.execute("UPDATE score SET value=0.5 WHERE trial=4")
    before = state(run)
    more = {"pick": ["--by", "knee"], "card": ["4"]}.get(name, [])
    found = typed(name, run, *more)
    assert found.exit_code == 1
    assert "the archive is damaged" in found.stderr
    assert f"mergekit-mo rescue {run}" in found.stderr
    assert state(run) == before


def test_what_a_damaged_run_names_moves_no_cursor(planted: Plant, typed: Type) -> None:
    run = planted()
    with closing(sqlite3.connect(run / "archive.db")) as db, db:
        db.execute("INSERT INTO fact VALUES ('\x1b[2J', '1', 0)")
    found = typed("front", run)
    assert "not as it was written: fact ?[2J" in found.stderr
    assert "\x1b" not in found.stderr


def test_what_a_stranger_names_leads_nowhere(planted: Plant, typed: Type) -> None:
    """Names that would be paths or code elsewhere; `UserError` or plain text, never a file."""
    run = planted()
    with Archive.open(run) as archive:
        archive.remember("recipe_name", "../../../etc/passwd\x1b[2J")
        archive.remember("flags", {"trust_remote_code": True, "allow_pickle": True})
    before = state(run.parent)
    for words in (["front"], ["pick", "--by", "knee"], ["card", "4", "--license", "mit"]):
        found = typed(words[0], run, *words[1:])
        assert "\x1b[2J" not in found.output
    assert state(run.parent) == before
    from mergekit_mo.writing import trusted_flags

    with Archive.open(run, read_only=True) as archive:
        with pytest.raises(UserError, match="say --trust-remote-code again"):
            trusted_flags(archive, False, False)
        assert not trusted_flags(archive, True, False).allow_pickle

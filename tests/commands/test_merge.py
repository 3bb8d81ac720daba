"""`mergekit-mo merge`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mergekit_mo.archive import Archive
from mergekit_mo.commands.merge import command
from mergekit_mo.digests import folder_digest
from tests.finished import finished
from tests.toy import Toy


@pytest.fixture(scope="module")
def run(toy: Toy) -> Path:
    return finished(toy)


def test_any_trial_is_written_and_the_next_commands_told(run: Path, tmp_path: Path) -> None:
    with Archive.open(run / "archive.db", read_only=True) as archive:
        front = archive.front()
        trial = next(t for t in archive.trials if t.status == "done" and t not in front)
    out = tmp_path / "a model"
    result = CliRunner().invoke(command, [str(run), str(trial.number), str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    assert folder_digest(out) == trial.digest
    assert f"mergekit-mo card {run} {trial.number}\n" in result.stderr
    assert f"OWNER/NAME --model '{out}'\n" in result.stderr


def test_json_tells_the_same(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(command, [str(run), "3", str(out), "--json"])
    found = json.loads(result.stdout)
    assert found["digest"] == folder_digest(out)
    assert found["bytes"] == sum(path.stat().st_size for path in out.iterdir())
    assert found["next"][0] == f"mergekit-mo card {run} 3"


@pytest.mark.parametrize(
    ("words", "message", "status"),
    [
        (["RUN", "99", "OUT"], "there is no trial 99", 2),
        (["RUN", "3", "RUN"], "empty or new", 2),
        (["nowhere", "3", "OUT"], "no such folder", 2),
        (["RUN", "x", "OUT"], "not a valid integer", 2),
    ],
)
def test_mistakes_are_told_in_words(
    run: Path, tmp_path: Path, words: list[str], message: str, status: int
) -> None:
    places = {"RUN": str(run), "OUT": str(tmp_path / "out")}
    result = CliRunner().invoke(command, [places.get(word, word) for word in words])
    assert (result.exit_code, result.stdout) == (status, "")
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_help_has_examples() -> None:
    assert "mergekit-mo merge runs/base 17" in CliRunner().invoke(command, ["--help"]).output

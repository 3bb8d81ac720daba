from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from mergekit_mo.archive import Archive
from tests.finished import finished
from tests.interrupts import minded
from tests.toy import Toy

Type = Callable[..., Result]
Plant = Callable[..., Path]


def test_the_page_is_written_into_the_run_folder_and_named(typed: Type, planted: Plant) -> None:
    run = planted()
    result = typed("report", run)
    assert result.exit_code == 0
    assert result.stdout == f"{run / 'report.html'}\n"
    assert "no network" in result.stderr
    text = (run / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "<title>base · mergekit-mo</title>" in text


def test_json_and_another_file(typed: Type, planted: Plant, tmp_path: Path) -> None:
    run, out = planted(), tmp_path / "new" / "page.html"
    facts = json.loads(typed("report", run, "--out", out, "--json").stdout)
    assert facts == {"file": str(out), "bytes": out.stat().st_size, "trials": 8, "front": 5}
    assert not (run / "report.html").exists()


def test_the_archive_is_left_as_it_is(typed: Type, planted: Plant) -> None:
    run = planted()
    before = (run / "archive.db").read_bytes()
    typed("report", run)
    assert (run / "archive.db").read_bytes() == before
    assert {path.name for path in run.iterdir()} == {"archive.db", "report.html"}


def test_a_file_that_cannot_be_written_is_told_with_the_way_out(
    typed: Type, planted: Plant, tmp_path: Path
) -> None:
    run = planted()
    (tmp_path / "file").write_text("")
    result = typed("report", run, "--out", tmp_path / "file" / "page.html")
    assert result.exit_code == 1
    assert f"mergekit-mo report {run} --out FILE" in result.stderr


@pytest.mark.parametrize("words", [["--serve", "--out", "x.html"], ["--port", "80"]])
def test_options_that_do_not_go_together_are_told(
    typed: Type, planted: Plant, words: list[str]
) -> None:
    result = typed("report", planted(), *words)
    assert result.exit_code == 2
    assert "--serve" in result.stderr


def test_no_run_is_told_whether_it_is_served_or_not(typed: Type, tmp_path: Path) -> None:
    for words in ([], ["--serve"]):
        result = typed("report", tmp_path / "nowhere", *words)
        assert result.exit_code == 2
        assert "no such folder" in result.stderr


@pytest.mark.slow
def test_a_finished_search_leaves_its_page(toy: Toy) -> None:
    run = finished(toy)
    text = (run / "report.html").read_text(encoding="utf-8")
    with Archive.open(run / "archive.db", read_only=True) as archive:
        front = archive.front()
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    told = {t["n"] for t in data["facts"]["trials"] if t["front"]}
    assert told == {trial.number for trial in front}
    lines, of = data["facts"]["texts"]["lines"], data["facts"]["texts"]["of"]
    for trial in front:
        exported = (run / "front" / f"{trial.number:03d}.yaml").read_text(encoding="utf-8")
        assert "\n".join(lines[i] for i in of[str(trial.number)]) + "\n" == exported


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_says_where_and_ends_when_told(planted: Plant, number: int) -> None:
    words = [sys.executable, "-m", "mergekit_mo.cli", "report", str(planted()), "--serve"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with minded():
        child = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
    try:
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}facts.json", timeout=60) as answer:
            assert len(json.load(answer)["trials"]) == 8
        child.send_signal(number)
        _, narration = child.communicate(timeout=20)
    finally:
        child.kill()
    assert child.returncode == (130 if number == signal.SIGINT else -signal.SIGTERM)
    assert "Traceback" not in narration

"""What is shown, where it goes, and that names are shown as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from mergekit_mo import console
from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.console import JsonLines, Lines, LiveScreen
from mergekit_mo.events import Ended, Event, Finished, Opened, Started, Warned
from mergekit_mo.space import Candidate
from mergekit_mo.trial import Goal, Measurement

STRANGE = ["[red]", "<b>", ":smile:", "a[/]b", "\\[x]\\", "$5"]
GOALS = [Goal("[red]", True), Goal(":smile:", False)]


def outcome(a: float, b: float, stderr: float | None = 0.1) -> Outcome:
    scores = {"[red]": Measurement(a, stderr, 20), ":smile:": Measurement(b, stderr, 20)}
    return Outcome(scores, {}, "abc", None, 1.25)


def play(archive: Archive, out: Path) -> Iterator[Event]:
    """Everything that can happen in a search, as it happens."""
    yield Started(archive, out, 4, 0)
    names = ["org/[bold]base", "org/<b>"]
    for trial in archive.propose("reference", [(name, {}) for name in names]):
        done = archive.finish(trial.number, outcome(0.2 + trial.number, 3.0 - trial.number), 0.0)
        yield Finished(done, False)
    lost = Outcome({}, {}, None, "MergeError: [dim]no[/dim]\nmore of it", 0.5)
    for i, result in enumerate([outcome(0.5, 1.0), lost, outcome(0.9, 2.0), outcome(0.1, 5.0)]):
        (trial,) = archive.propose("candidate", [(Candidate((i / 8,), "sobol"), {})], i)
        done = archive.finish(trial.number, result, 0.0)
        yield Finished(done, done in archive.front())
    yield Warned("mind the [gap]")
    for number in (0, 1, 2, 4):
        yield Opened(archive.finish(number, outcome(0.4, 2.5), 0.0, "holdout"))
    yield Ended(archive, out, archive.front())


def history(out: Path) -> tuple[Archive, list[Event]]:
    archive = Archive.memory(GOALS)
    return archive, list(play(archive, out))


def plain() -> tuple[Lines, StringIO, StringIO]:
    out, err = StringIO(), StringIO()
    return Lines(Console(file=out, width=240), Console(file=err)), out, err


def test_json_lines_parse_and_tell_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, events = history(tmp_path)
    screen = JsonLines()
    for event in events:
        screen.show(event)
    caught = capsys.readouterr()
    assert caught.err == ""
    records = [json.loads(line) for line in caught.out.splitlines()]
    names = [r["event"] for r in records]
    assert names == [type(e).__name__.lower() for e in events]
    assert records[0] == {"event": "started", "out": str(tmp_path), "budget": 4, "done": 0}
    assert records[3]["trial"]["scores"]["[red]"] == {"value": 0.5, "stderr": 0.1, "n": 20}
    assert records[3]["on_front"] is True
    assert records[4]["trial"]["error"].startswith("MergeError: ")
    assert records[-1]["front"][0]["holdout"][":smile:"]["value"] == 2.5
    assert records[-1]["answer"]["trial"] in [t.number for t in archive.front()]
    assert [t["number"] for t in records[-1]["front"]] == [t.number for t in archive.front()]
    assert {"event": "warned", "message": "mind the [gap]"} in records


def test_data_goes_to_standard_output_and_narration_to_standard_error(tmp_path: Path) -> None:
    _, events = history(tmp_path)
    screen, out, err = plain()
    for event in events[:-1]:
        screen.show(event)
    assert out.getvalue() == ""
    told = err.getvalue().splitlines()
    assert told[0] == f"{tmp_path}: the search starts, 4 merges in all"
    assert told[1].split()[:4] == ["[bold]base", "1.2", "s", "[red]"]
    assert told[3].endswith("joins the front")
    assert told[4].endswith("failed: MergeError: [dim]no[/dim]")
    assert told[7] == "warning: mind the [gap]"
    assert (
        told[8] == "hold-out of [bold]base: [red] 0.4000 [0.19, 0.61]  :smile: 2.5000 [2.29, 2.71]"
    )
    screen.show(events[-1])
    assert err.getvalue().splitlines() == told
    shown = out.getvalue()
    assert shown.startswith("trial 2, the most even of all\n")
    assert f"front: {tmp_path}/front" in shown
    assert "2 of 4 merges on the front, 1 failed" in shown
    assert "hypervolume, search items: front" in shown
    assert "hypervolume, hold-out:     front" in shown


def test_a_run_that_resumes_says_so(tmp_path: Path) -> None:
    archive, _ = history(tmp_path)
    screen, _, err = plain()
    screen.show(Started(archive, tmp_path, 9, 6))
    assert err.getvalue() == f"{tmp_path}: the search resumes after 6 trials, 9 merges in all\n"


@pytest.mark.parametrize("name", STRANGE)
def test_strange_names_are_shown_as_they_are(tmp_path: Path, name: str) -> None:
    archive = Archive.memory([Goal(name, True)])
    (reference,) = archive.propose("reference", [(f"org/{name}", {})])
    result = Outcome({name: Measurement(1.0)}, {}, "abc", None, 0.0)
    done = archive.finish(reference.number, result, 0.0)
    screen, out, err = plain()
    label = Path(f"org/{name}").name
    events: list[Event] = [
        Started(archive, tmp_path / name, 1, 0),
        Finished(done, False),
        Warned(name),
        Opened(archive.finish(reference.number, result, 0.0, "holdout")),
        Ended(archive, tmp_path / name, ()),
    ]
    for event in events:
        screen.show(event)
    told = err.getvalue()
    assert f"{tmp_path / name}: the search starts" in told
    assert f"{label:>10}     0.0 s  {name} 1.0000" in told
    assert f"warning: {name}\n" in told
    assert f"hold-out of {label}: {name} 1.0000" in told
    shown = out.getvalue()
    assert f"{name} ↑" in shown
    assert f"front: {tmp_path / name / 'front'}" in shown
    assert f"{name}: the parents do not differ; left out of hypervolume" in shown


def test_the_live_screen_draws_every_event(tmp_path: Path) -> None:
    out, err = StringIO(), StringIO()
    out_console = Console(file=out, width=120)
    err_console = Console(force_terminal=True, file=err, width=120)
    seen = []
    with Live(console=err_console, auto_refresh=False, transient=True) as live:
        screen = LiveScreen(out_console, err_console, live)
        for event in play(Archive.memory(GOALS), tmp_path):
            screen.show(event)
            seen.append(err.getvalue())
    drawn = err.getvalue()
    assert "4/4 merges" in drawn
    assert "1 failed" in drawn
    assert "elapsed" in drawn
    assert "about" not in seen[2]
    assert "about 0:00 left" in seen[3]
    assert "[red] ↑" in drawn
    assert "mind the [gap]" in drawn
    assert "2 of 4 merges on the front" in out.getvalue()


def test_the_screen_fits_where_the_output_goes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    with console.screen(as_json=True) as shown:
        assert isinstance(shown, JsonLines)
    with console.screen(as_json=False) as shown:
        assert type(shown) is Lines
        shown.say("a" * 300)
    assert capsys.readouterr().err == "a" * 300 + "\n"
    with console.screen(as_json=False, quiet=True) as shown:
        assert type(shown) is Lines
        shown.say("hidden")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with console.screen(as_json=False) as shown:
        assert type(shown) is LiveScreen


def test_parents_that_cannot_be_told_apart_are_named(tmp_path: Path) -> None:
    archive = Archive.memory(GOALS)
    for trial in archive.propose("reference", [("a", {}), ("b", {})]):
        archive.finish(trial.number, outcome(0.5 + trial.number / 50, 3.0 - trial.number), 0.0)
    lines = list(console.summary(archive, []))
    assert "[red]: the parents lie within two standard errors of each other" in lines
    assert not any(line.startswith(":smile:") for line in lines)
    assert lines[0] == "0 of 0 merges on the front"


def test_a_failed_parent_is_no_obstacle(tmp_path: Path) -> None:
    archive = Archive.memory(GOALS)
    first, _ = archive.propose("reference", [("a", {}), ("b", {})])
    archive.finish(first.number, outcome(0.5, 1.0), 0.0)
    archive.finish(1, Outcome({}, {}, None, "too large", 0.0), 0.0)
    out = StringIO()
    console.show_end(Ended(archive, tmp_path, ()), Console(file=out, width=120))
    assert "b" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "0:00"), (59.9, "0:59"), (61, "1:01"), (3600, "1:00:00"), (36061, "10:01:01")],
)
def test_durations_read_as_clocks(seconds: float | None, text: str) -> None:
    assert console.clock(seconds) == text

"""The front as a PNG, whatever the goals are called and however many they are."""

from __future__ import annotations

import struct
import warnings

import pytest

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.picture import draw_front
from mergekit_mo.space import Candidate
from mergekit_mo.trial import Goal, Measurement


def archive_of(names: list[str], *, models: tuple[str, ...] = ("org/a", "org/b")) -> Archive:
    archive = Archive.memory([Goal(name, i % 2 == 0) for i, name in enumerate(names)])

    def finish(number: int) -> None:
        scores = {name: Measurement((number * 7 + i * 3) % 5) for i, name in enumerate(names)}
        archive.finish(number, Outcome(scores, {}, "abc", None, 1.0), 0.0)

    for trial in archive.propose("reference", [(model, {}) for model in models]):
        finish(trial.number)
    found: list[tuple[Candidate, dict[str, object]]] = [
        (Candidate((i / 8,), "sobol"), {}) for i in range(5)
    ]
    *rest, last = archive.propose("candidate", found, 0)
    for trial in rest:
        finish(trial.number)
    archive.finish(last.number, Outcome({}, {}, None, "lost", 1.0), 0.0)
    return archive


def width(png: bytes) -> int:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND\xaeB`\x82")
    return int(struct.unpack(">I", png[16:20])[0])


@pytest.mark.parametrize(("goals", "panels"), [(1, 1), (2, 1), (3, 3), (5, 3)])
def test_every_number_of_goals_has_a_picture(goals: int, panels: int) -> None:
    png = draw_front(archive_of([f"goal {i}" for i in range(goals)]))
    assert width(png) == pytest.approx(4.6 * 130 * panels, abs=2)


def test_the_same_archive_gives_the_same_picture() -> None:
    names = ["a", "b"]
    assert draw_front(archive_of(names)) == draw_front(archive_of(names))


@pytest.mark.parametrize("name", ["$", "cost in $_{$", r"\frac", "a_b^c", "目標", "two\nlines"])
def test_strange_names_are_drawn(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert width(draw_front(archive_of([name, "b"], models=(f"org/{name}", "org/b"))))


def test_a_run_without_any_success_has_a_picture() -> None:
    with Archive.memory([Goal("a", True), Goal("b", True)]) as archive:
        assert width(draw_front(archive))

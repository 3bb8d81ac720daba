from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.export import config_text, documents_text
from mergekit_mo.layers import Layers
from mergekit_mo.making import documents_of
from mergekit_mo.report.columns import labels, read_columns
from mergekit_mo.report.depth import depth_lines, varies_over_depth
from mergekit_mo.report.facts import report_facts
from mergekit_mo.report.history import history
from mergekit_mo.report.texts import packed_texts
from mergekit_mo.space import Space
from mergekit_mo.testing.planted import MIXED, make_goals, planted, ridge, scored, small_space
from mergekit_mo.trial import Goal
from tests.reported import DEEP, STRANGE, plant_run


def read(run: Path) -> Archive:
    return Archive.open(run / "archive.db", read_only=True)


def facts_of(run: Path) -> dict[str, object]:
    with read(run) as archive:
        facts = report_facts(archive, run, now=0.0)
    json.dumps(facts, allow_nan=False)  # plain, finite
    return facts


@pytest.mark.parametrize("goals", [1, 2, 5])
def test_every_trial_is_told_with_scores_holes_and_state(tmp_path: Path, goals: int) -> None:
    run = plant_run(
        tmp_path / "run", DEEP, make_goals(goals), ridge(goals), 9, failed=[2], waiting=1
    )
    facts = facts_of(run)
    with read(run) as archive:
        trials, front = archive.trials, archive.front()
        space = small_space(DEEP)
    told = facts["trials"]
    assert isinstance(told, list)
    assert [t["n"] for t in told] == [t.number for t in trials]
    assert {t["n"] for t in told if t["front"]} == {t.number for t in front}
    for entry, trial in zip(told, trials, strict=True):
        assert (entry["status"], entry["error"]) == (trial.status, trial.error)
        if trial.status == "done":
            values = [m.value for m in trial.scores.values()]
            assert [s[0] for s in entry["scores"]] == pytest.approx(values, rel=1e-6)
        else:
            assert entry["scores"] is None
        if trial.unit:
            decoded = [str(v) if isinstance(v, bool) else v for v in space.values(trial.unit)]
            assert entry["values"] == decoded
    assert [c["name"] for c in facts["columns"]] == [a.name for a in space.axes]  # type: ignore[attr-defined]


def test_holes_belong_to_models_parameters_layers_and_tensors(tmp_path: Path) -> None:
    run = plant_run(tmp_path / "run", DEEP, make_goals(2), ridge(2), 3)
    with read(run) as archive:
        columns, named = read_columns(archive)
    groups = {c.name: tuple(c.groups.values()) for c in columns}
    assert named
    assert groups["code weight self_attn[0]"] == ("code", "weight", "first third", "self_attn")
    assert groups["prose weight[1]"] == ("prose", "weight", "middle", "all")
    assert groups["code density"] == ("code", "density", "all", "all")
    assert groups["normalize"] == ("all", "normalize", "all", "all")


def test_an_archive_that_does_not_tell_its_space_shows_coordinates() -> None:
    with planted(small_space(MIXED), make_goals(2), ridge(2), 5) as archive:
        columns, named = read_columns(archive)
        facts = report_facts(archive, Path("nowhere"))
    assert not named
    assert [c.name for c in columns] == [f"coordinate {i + 1}" for i in range(6)]
    assert facts["trials"][-1]["values"] == pytest.approx(archive.trials[-1].unit, rel=1e-6)


def test_models_of_one_last_name_are_called_by_their_whole_names() -> None:
    assert labels(["a/x", "b/x", "c/y@main"]) == {"a/x": "a/x", "b/x": "b/x", "c/y@main": "y"}


def test_hypervolume_is_that_of_the_trials_so_far_and_ends_at_the_archives() -> None:
    with planted(small_space(MIXED), make_goals(2, [0.5]), ridge(2), 12, failed=[3]) as archive:
        rows = history(archive)
        volumes = [row["volume"] for row in rows]
        assert len(rows) == 12
        assert volumes == sorted(volumes)
        assert volumes[3] == volumes[2]
        done = [t for t in archive.candidates if t.status == "done" and archive.feasible(t)]
        for row in rows:
            so_far = [t for t in done if t.number <= row["trial"]]
            assert row["volume"] == pytest.approx(archive.hypervolume(so_far))


def test_work_and_clock_are_counted_from_the_first_trial(tmp_path: Path) -> None:
    run = plant_run(tmp_path / "run", DEEP, make_goals(2), ridge(2), 2)
    with read(run) as archive:
        rows = history(archive)
    assert [row["work"] for row in rows] == [10.0, 12.5]  # three parents before
    assert [row["clock"] for row in rows] == [182.5, 242.5]


def test_without_a_scale_there_is_no_hypervolume() -> None:
    with planted(small_space(MIXED), make_goals(2), ridge(2), 3, references=[[1, 1]]) as archive:
        assert history(archive) == []
        assert report_facts(archive, Path("nowhere"))["volumes"]["search"] is None


def test_a_score_that_is_not_finite_becomes_null() -> None:
    goals = make_goals(1)
    with planted(small_space(MIXED), goals, ridge(1), 1, waiting=1) as archive:
        archive.finish(archive.trials[-1].number, scored(goals, [float("inf")]), 0.0)
        facts = report_facts(archive, Path("nowhere"))
    assert facts["trials"][-1]["scores"] == [[None, None, None, None, None]]


def test_gradients_run_evenly_over_depth_and_slices_over_their_layers() -> None:
    config = {
        "slices": [
            {"sources": [{"model": "a/x", "layer_range": [0, 2], "parameters": {"weight": 0.5}}]},
            {"sources": [{"model": "a/y", "layer_range": [2, 4], "parameters": {"weight": 1}}]},
            {
                "sources": [
                    {"model": "a/x", "layer_range": [4, 8], "parameters": {"weight": [0, 1, 0.5]}}
                ]
            },
        ],
        "parameters": {"t": [{"filter": "mlp", "value": [0, 1]}, {"value": 0.25}], "flag": True},
    }
    found = {
        (line.parameter, line.tensors, line.model): line.points for line in depth_lines(config)
    }
    assert found == {
        ("t", "mlp", "all"): ((0.0, 0.0), (1.0, 1.0)),
        ("t", "all", "all"): ((0.0, 0.25), (1.0, 0.25)),
        ("weight", "all", "x"): (
            (0.0, 0.5), (0.25, 0.5), (0.25, None), (0.5, 0.0), (0.75, 1.0), (1.0, 0.5),
        ),
        ("weight", "all", "y"): ((0.25, 1.0), (0.5, 1.0)),
    }  # fmt: skip
    assert varies_over_depth(depth_lines(config))


def test_one_value_for_all_layers_has_nothing_to_tell_over_depth() -> None:
    lines = depth_lines({"models": [{"model": "a/x", "parameters": {"weight": 0.5}}]})
    assert lines
    assert not varies_over_depth(lines)


def test_texts_come_back_to_the_letter(tmp_path: Path) -> None:
    run = plant_run(tmp_path / "run", DEEP, make_goals(2), ridge(2), 8, parents=STRANGE)
    with read(run) as archive:
        front = archive.front()
        path = run / "front" / f"{front[0].number:03d}.yaml"
        path.parent.mkdir()
        path.write_text(f"# a header: {STRANGE[0]}\nmerge_method: x\n", encoding="utf-8")
        packed = packed_texts(archive.trials, front, run)
        for trial in archive.trials:
            text = "\n".join(packed["lines"][i] for i in packed["of"][str(trial.number)]) + "\n"
            if trial == front[0]:
                assert text == path.read_text(encoding="utf-8")
            else:
                assert text == config_text(dict(trial.config))


def test_a_file_of_the_front_that_leads_elsewhere_is_not_shown(tmp_path: Path) -> None:
    run = plant_run(tmp_path / "run", DEEP, make_goals(2), ridge(2), 8)
    (tmp_path / "secret").write_text("the user's own")
    with read(run) as archive:
        front = archive.front()
        (run / "front").mkdir()
        for trial in front:
            (run / "front" / f"{trial.number:03d}.yaml").symlink_to(tmp_path / "secret")
        assert "the user's own" not in packed_texts(archive.trials, front, run)["lines"]


@pytest.mark.parametrize(
    "name",
    [*STRANGE, "yes", "1e5", "~", " lead", "a\nb", "x: y", "# c", "é" * 90, "w " * 90, "\x07"],
)
def test_texts_are_written_as_the_export_writes_them(name: str) -> None:
    config = {"merge_method": name, "models": [{"model": name, "parameters": {"w": [0.1, 1e-9]}}]}
    with Archive.memory([Goal("g", True)]) as archive:
        archive.propose("reference", [(name, config)])
        packed = packed_texts(archive.trials, (), None)
    text = "\n".join(packed["lines"][i] for i in packed["of"]["0"]) + "\n"
    assert text == config_text(config)


def test_where_room_is_short_the_front_goes_first(tmp_path: Path) -> None:
    run = plant_run(tmp_path / "run", DEEP, make_goals(2), ridge(2), 40)
    with read(run) as archive:
        front = {str(t.number) for t in archive.front()}
        packed = packed_texts(archive.trials, archive.front(), run, room=4000)
    assert front
    assert front <= packed["of"].keys()
    assert len(packed["of"]) < 40


def test_a_path_is_shown_where_a_trial_has_one() -> None:
    layers = Layers(("merge", "a/one"), (2, 2), 1, 3, skip=1, merge_depth=2)
    space = Space(small_space(MIXED).configuration, layers)
    with Archive.create(":memory:", make_goals(1), {"layers": layers.facts()}) as archive:
        start = space.starts()[0]
        walked = replace(start, path=((0, 0), (1, 1)))
        archive.propose("candidate", [(c, space.config(c.unit)) for c in (start, walked)])
        facts = report_facts(archive, Path("nowhere"))
        texts = [documents_text(documents_of(archive, t)) for t in archive.trials]
    assert [t["path"] for t in facts["trials"]] == ["merge 0-1", "merge 0, one 1"]
    packed = facts["texts"]
    for number, text in enumerate(texts):
        assert [packed["lines"][i] for i in packed["of"][str(number)]] == text.splitlines()


def test_nothing_at_all_is_no_error(tmp_path: Path) -> None:
    run = plant_run(tmp_path / "run", DEEP, make_goals(2), ridge(2), 0, waiting=1, parents=[])
    facts = facts_of(run)
    assert facts["history"] == []
    with Archive.memory(make_goals(1)) as archive:
        archive.propose("reference", [("a/x", {})])
        archive.finish(0, Outcome({}, {}, None, "lost", 1.0), np.nan)
        assert report_facts(archive, Path("nowhere"))["trials"][0]["error"] == "lost"

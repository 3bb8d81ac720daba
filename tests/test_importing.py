"""A run begins with what an earlier one knows: scores where they hold, else points."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mergekit_mo import loop, preflight
from mergekit_mo.archive import Archive
from mergekit_mo.cli import main
from mergekit_mo.importing import ORIGIN, Imported, import_run
from mergekit_mo.problems import UserError
from mergekit_mo.trial import Trial
from tests.commands.test_looking import state
from tests.stubbed import GOALS, RECIPE, Step, Stubbed, nothing, stepping, stubbed

OLD_BUDGET = 12


def ready(folder: Path, text: str = RECIPE, step: Step = nothing, **settings: Any) -> Stubbed:
    """A recipe in a folder of its own; the tasks' files are the same for all."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "stub.yaml").write_text(text, encoding="utf-8")
    found = stubbed(folder, step, **settings)
    for asked in found.tasks:
        asked.path = Path(__file__)
    return found


def run(what: Stubbed, out: Path) -> None:
    with stepping(nothing):
        for _ in loop.search(what, out, resume=True):
            pass


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    run(ready(folder, budget=OLD_BUDGET), folder / "run")
    return folder / "run"


def imported(what: Stubbed, old: Path, out: Path) -> tuple[Imported, tuple[Trial, ...]]:
    with Archive.open(old, read_only=True) as archive:
        found = import_run(what, archive, old, out)
    with Archive.open(out, read_only=True) as archive:
        return found, archive.trials


def results(trial: Trial) -> tuple[Any, ...]:
    return trial.config, trial.status, trial.scores, trial.holdout, trial.digest, trial.path


def test_trials_come_with_scores_and_answers_and_cost_nothing(old: Path, tmp_path: Path) -> None:
    steps: Counter[str] = Counter()
    text = RECIPE.replace("sobol", "random")
    new = ready(tmp_path, text, lambda name: steps.update([name]), budget=4)
    before, out = state(old), tmp_path / "run"
    found, trials = imported(new, old, out)
    assert state(old) == before
    assert (found.copied, found.references, found.reasons) == (OLD_BUDGET, 3, ())
    with Archive.open(old, read_only=True) as earlier, Archive.open(out, read_only=True) as archive:
        assert [*map(results, trials)] == [*map(results, earlier.trials)]
        assert [t.unit for t in trials] == [t.unit for t in earlier.trials]
        assert archive.finished_at() == earlier.finished_at()
        for trial in trials:
            assert archive.answers(trial.number, "search", "quiz")["split"] == "search"
        assert archive.data().numbers == earlier.data().numbers
        assert archive.front() == tuple(trials[t.number] for t in earlier.front())
    origins = [t.origin for t in trials if t.role == "candidate"]
    assert origins == ["recipe", *[ORIGIN] * (OLD_BUDGET - 1)]
    assert not steps
    run(new, out)
    with Archive.open(out, read_only=True) as archive:
        assert len(archive.candidates) == OLD_BUDGET + 4
        assert len({t.unit for t in archive.candidates}) == OLD_BUDGET + 4
        opened = sum(bool(t.holdout) for t in archive.trials) - sum(bool(t.holdout) for t in trials)
    assert steps["merge"] == 4 + opened  # nothing that was known was merged again
    run(replace(new, recipe=ready(tmp_path, text, budget=5).recipe), out)
    with Archive.open(out, read_only=True) as archive:
        assert len(archive.candidates) == OLD_BUDGET + 5


def test_other_guesses_and_bounds_keep_what_they_hold(old: Path, tmp_path: Path) -> None:
    text = RECIPE.replace("density: {value: 0.5, low: 0.1", "density: {value: 0.75, low: 0.4")
    found, trials = imported(ready(tmp_path, text, budget=4), old, tmp_path / "run")
    with Archive.open(old, read_only=True) as archive:
        inside = [
            t.config
            for t in archive.candidates
            if t.config["models"][0]["parameters"]["density"] >= 0.4
        ]
    assert 0 < len(inside) < OLD_BUDGET
    assert (found.copied, found.inexpressible) == (len(inside), OLD_BUDGET - len(inside))
    copied = [t for t in trials if t.role == "candidate" and t.status == "done"]
    assert [t.config for t in copied] == inside
    waiting = {t.origin for t in trials if t.status == "waiting"}
    assert waiting == {"recipe"}  # with the new guess
    assert {t.origin for t in copied} == {ORIGIN}


def test_fewer_goals_with_other_names_and_thresholds_are_measured_already(
    old: Path, tmp_path: Path
) -> None:
    goal = "{task: prose.yaml, name: style, threshold: 0.5}"
    text = RECIPE.replace("{task: quiz.yaml}, {task: prose.yaml}", goal)
    new = ready(tmp_path, text)
    new = replace(new, goals=(replace(GOALS[1], name="style", threshold=0.5),))
    found, trials = imported(replace(new, tasks=new.tasks[1:]), old, tmp_path / "run")
    assert (found.copied, found.reasons) == (OLD_BUDGET, ())
    with Archive.open(old, read_only=True) as archive:
        assert [t.scores["style"] for t in trials] == [t.scores["prose"] for t in archive.trials]


def changed(what: Stubbed, how: str) -> Stubbed:
    """A search whose scores would be others."""
    if how == "device":
        return replace(what, device="cuda")
    if how == "threads":
        return replace(what, flags=replace(what.flags, num_threads=3), threads=3)
    if how == "flags.random_seed":
        return replace(what, flags=replace(what.flags, random_seed=7))
    asked = what.tasks[0]
    if how == "other items of quiz":
        asked.items = {"search": (0, 1), "holdout": (2,)}
    else:
        asked.path = Path(__file__).parent / "stubbed.py"
    return what


@pytest.mark.parametrize(
    "reason",
    ["device", "threads", "flags.random_seed", "other items of quiz", "quiz has other content"],
)
def test_where_scores_do_not_hold_the_front_is_tried_first(
    old: Path, tmp_path: Path, reason: str
) -> None:
    found, trials = imported(changed(ready(tmp_path), reason), old, tmp_path / "run")
    assert found.reasons == (reason,)
    assert (found.copied, found.references, found.beyond) == (0, 0, 0)
    assert {t.status for t in trials} == {"waiting"}
    assert [t.role for t in trials[:3]] == ["reference"] * 3
    with Archive.open(old, read_only=True) as archive:
        front = {t.unit for t in archive.front()}
    assert front <= {t.unit for t in trials}
    assert found.proposed == sum(t.origin == ORIGIN for t in trials) > 0


def test_other_goals_and_settings_are_named_and_points_count(old: Path, tmp_path: Path) -> None:
    text = RECIPE.replace("{task: quiz.yaml}", "{task: other.yaml}").replace(
        "limit: 6,", "limit: 6, num_fewshot: 2,"
    )
    new = replace(ready(tmp_path, text, budget=2), goals=(replace(GOALS[0], name="o"), GOALS[1]))
    found, trials = imported(new, old, tmp_path / "run")
    assert found.reasons == ("o was not measured, or in another way", "evaluation.num_fewshot")
    assert [t.origin for t in trials[3:]] == ["recipe", ORIGIN]
    with Archive.open(old, read_only=True) as archive:
        known = {t.unit for t in archive.front()} - {t.unit for t in trials[3:]}
        assert found.beyond == len(known) > 0
    budget = replace(ready(tmp_path, budget=4), goals=GOALS)
    imported(changed(budget, "threads"), old, tmp_path / "again")
    run(changed(ready(tmp_path, budget=4), "threads"), tmp_path / "again")
    with Archive.open(tmp_path / "again", read_only=True) as archive:
        assert len(archive.candidates) == 4
        assert {t.status for t in archive.trials} == {"done"}


def test_a_model_that_was_trained_since_is_merged_anew(tmp_path: Path) -> None:
    source = tmp_path / "one"
    source.mkdir()
    weights = source / "model.safetensors"
    weights.write_bytes(b"before")
    text = RECIPE.replace("a/one", str(source))
    run(ready(tmp_path / "old", text, budget=3), tmp_path / "old" / "run")
    new = ready(tmp_path / "new", text)
    assert imported(new, tmp_path / "old" / "run", tmp_path / "same")[0].copied == 3
    weights.write_bytes(b"after!")
    found, _ = imported(new, tmp_path / "old" / "run", tmp_path / "other")
    assert found.reasons == (f"{source} holds something else",)
    run(new, tmp_path / "other")  # goes on with the models as they are now


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("a/two", "a/three", r"merged other sources: a/two is only in .*; a/three is only in the"),
        ("merge_method: ties", "merge_method: ties\ndtype: float16", "these differ: dtype"),
        ("value: 0.5, low: 0.0, high: 1.0", "value: 2, low: 2, high: 3", "these differ: models"),
    ],
)
def test_runs_that_have_nothing_in_common_are_refused(
    old: Path, tmp_path: Path, before: str, after: str, told: str
) -> None:
    with pytest.raises(UserError, match=told) as caught:
        imported(ready(tmp_path, RECIPE.replace(before, after)), old, tmp_path / "run")
    assert caught.value.status == 2
    assert not (tmp_path / "run").exists()


def test_folders_that_hold_a_run_or_no_trial_are_refused(old: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a run already"):
        imported(ready(tmp_path), old, old)
    with Archive.create(tmp_path / "archive.db", GOALS, {}) as archive:
        with pytest.raises(UserError, match="there is nothing to import"):
            import_run(ready(tmp_path), archive, tmp_path, tmp_path / "run")
        sources = ("a/base", "a/one", "a/two")
        archive.propose("reference", [(source, {}) for source in sources])
        with pytest.raises(UserError, match="none of its candidates has finished"):
            import_run(ready(tmp_path), archive, tmp_path, tmp_path / "run")
        archive.remember("layers", {"other": "layers"})
        with pytest.raises(UserError, match="searched other layers"):
            import_run(ready(tmp_path), archive, tmp_path, tmp_path / "run")


def test_the_command_tells_what_came_and_how_to_go_on(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = ready(tmp_path)
    monkeypatch.setattr(preflight, "prepare", lambda *_, **__: new)
    words = ["import", str(old), str(tmp_path / "stub.yaml"), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert f"{OLD_BUDGET} candidates and 3 parents with their scores" in done.stdout
    assert f"mergekit-mo search {words[2]} --out {words[4]} --resume" in done.stderr
    again = CliRunner().invoke(main, words)
    assert again.exit_code == 2
    assert "holds a run already" in again.stderr
    changed(new, "quiz has other content")
    done = CliRunner().invoke(main, [*words[:4], str(tmp_path / "other"), "--json"])
    assert done.exit_code == 0, done.output
    assert '"reasons": [\n    "quiz has other content"\n  ]' in done.stdout

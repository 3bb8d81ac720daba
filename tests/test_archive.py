import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from mergekit_mo import storage
from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.layers import Layers
from mergekit_mo.problems import UserError
from mergekit_mo.space import Candidate
from mergekit_mo.trial import Goal, Measurement, Stop, Trial

GOALS = [Goal("accuracy", True), Goal("bits", False)]
ANSWERS = {"task": [[i, i % 2 == 0, "said"] for i in range(200)]}


def outcome(accuracy: float, bits: float, answers: Mapping[str, object] | None = None) -> Outcome:
    scores = {"accuracy": Measurement(accuracy, 0.1, 50), "bits": Measurement(bits)}
    return Outcome(scores, answers or {}, "abc", None, 1.5)


FAILED = Outcome({}, {}, None, "out of memory", 2.0)


def add(archive: Archive, *results: Outcome | None, x: float = 0.0) -> list[Trial]:
    """Candidates with these results, or waiting."""
    points = [Candidate((x + i / 16, 0.5), "sobol") for i in range(len(results))]
    trials = archive.propose("candidate", [(c, {"unit": list(c.unit)}) for c in points], 0)
    return [
        trial if result is None else archive.finish(trial.number, result, 0.0)
        for trial, result in zip(trials, results, strict=True)
    ]


def anchor(
    archive: Archive, rows: Sequence[tuple[float, float]] = ((0.2, 3.0), (0.6, 1.0))
) -> None:
    for trial in archive.propose("reference", [(f"a/m{i}", {}) for i in range(len(rows))]):
        archive.finish(trial.number, outcome(*rows[trial.number]), 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.db"


def fill(path: Path) -> tuple[Trial, ...]:
    with Archive.create(path, GOALS, {"note": {"deep": [1, 2]}}) as archive:
        anchor(archive)
        add(archive, outcome(0.5, 2.0, ANSWERS), FAILED, None)
        archive.finish(2, outcome(0.4, 2.2, {"task": ["held out"]}), 0.0, "holdout")
        return archive.trials


def test_an_archive_is_the_same_when_it_is_opened_again(path: Path) -> None:
    trials = fill(path)
    with Archive.open(path) as archive:
        assert archive.trials == trials
        assert archive.goals == tuple(GOALS)
        assert archive.fact("note") == {"deep": [1, 2]}
        assert archive.answers(2, "search", "task") == ANSWERS["task"]
        assert archive.answers(2, "holdout", "task") == ["held out"]
        assert archive.openings() == (2,)
        assert archive.asks == 1


def test_what_was_recorded_survives_without_a_close(path: Path) -> None:
    archive = Archive.create(path, GOALS, {})
    add(archive, outcome(0.5, 2.0), None)
    copy = path.with_name("copy.db")
    for suffix in ("", "-wal"):  # what a killed process leaves
        source = Path(f"{path}{suffix}")
        Path(f"{copy}{suffix}").write_bytes(source.read_bytes())
    with Archive.open(copy) as found:
        assert found.trials == archive.trials
    archive.close()


def test_closing_leaves_one_file(path: Path) -> None:
    fill(path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_reading_alone_writes_nothing_and_cannot(path: Path) -> None:
    trials = fill(path)
    before = path.read_bytes()
    path.chmod(0o444)
    with Archive.open(path, read_only=True) as archive:
        assert archive.trials == trials
        with pytest.raises(UserError, match="cannot be written"):
            archive.remember("note", 1)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_answers_that_are_not_there_are_an_error(path: Path) -> None:
    fill(path)
    with Archive.open(path) as archive, pytest.raises(UserError, match="no search answers"):
        archive.answers(3, "search", "task")


@pytest.mark.parametrize("size", [0, 10, 100, 4096, 10000])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_truncated_file_is_an_error(path: Path, size: int, read_only: bool) -> None:
    fill(path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=str(path)):
        Archive.open(path, read_only=read_only)


@pytest.mark.parametrize("content", [b"not a database at all " * 300, b"\0" * 8192])
def test_a_file_of_something_else_is_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        Archive.open(path, read_only=True)


def test_an_absent_file_is_an_error_and_is_not_made(path: Path) -> None:
    with pytest.raises(UserError, match="no such archive"):
        Archive.open(path)
    assert not path.exists()


def test_an_archive_of_another_version_is_an_error(path: Path) -> None:
    fill(path)
    with Archive.open(path) as archive:
        archive.remember("schema", 999)
    with pytest.raises(UserError, match="version 999"):
        Archive.open(path)


def test_no_archive_is_made_over_another(path: Path) -> None:
    trials = fill(path)
    with pytest.raises((UserError, sqlite3.Error)):
        Archive.create(path, GOALS, {})
    with Archive.open(path) as archive:
        assert archive.trials == trials


@pytest.mark.parametrize("second", [outcome(0.9, 0.1), FAILED])
def test_a_trial_finishes_once(path: Path, second: Outcome) -> None:
    with Archive.create(path, GOALS, {}) as archive:
        (first,) = add(archive, outcome(0.5, 2.0, ANSWERS))
        assert archive.finish(first.number, second, 9.0) == first
        assert archive.candidates == (first,)
        assert archive.answers(first.number, "search", "task") == ANSWERS["task"]
    with Archive.open(path) as archive:
        assert archive.candidates == (first,)


def test_a_failed_trial_stays_failed(path: Path) -> None:
    with Archive.create(path, GOALS, {}) as archive:
        (first,) = add(archive, FAILED)
        archive.finish(first.number, outcome(0.9, 0.1), 9.0)
        assert archive.candidates == (first,)
    with Archive.open(path) as archive:
        assert archive.candidates == (first,)


def test_the_front_has_no_references_no_failures_and_nothing_infeasible() -> None:
    goals = [Goal("accuracy", True, 0.4), Goal("bits", False)]
    with Archive.memory(goals) as archive:
        anchor(archive, [(0.99, 0.01), (0.1, 9.0)])
        good, dominated, infeasible, *_ = add(
            archive, outcome(0.5, 2.0), outcome(0.45, 2.5), outcome(0.3, 0.5), FAILED, None
        )
        other = add(archive, outcome(0.4, 1.0), x=0.5)[0]
        assert archive.front() == (good, other)
        assert archive.feasible(dominated)
        assert not archive.feasible(infeasible)
        assert archive.data().feasible.tolist() == [True, True, False, True]


def test_data_tell_the_finished_from_the_waiting_and_leave_out_the_failed() -> None:
    with Archive.memory(GOALS) as archive:
        anchor(archive)
        done, _, waiting = add(archive, outcome(0.4, 1.0), FAILED, None)
        data = archive.data()
    assert data.X.tolist() == [list(done.unit or ())]
    assert data.pending.tolist() == [list(waiting.unit or ())]
    assert data.Y == pytest.approx(np.array([[0.5, 1.0]]))
    assert data.Yvar[0, 0] == pytest.approx((0.1 / 0.4) ** 2)
    assert np.isnan(data.Yvar[0, 1])


@pytest.mark.parametrize("results", [[], [FAILED], [None]])
def test_data_of_nothing_are_empty_matrices(results: list[Outcome | None]) -> None:
    with Archive.memory(GOALS) as archive:
        add(archive, *results)
        data = archive.data()
    assert data.Y.shape == (0, 2)
    assert data.X.shape[0] == data.feasible.shape[0] == 0
    assert len(data.pending) == results.count(None)


def test_hypervolume_leaves_goals_out_that_have_no_anchors() -> None:
    with Archive.memory(GOALS) as archive:
        anchor(archive, [(0.2, 2.0), (0.6, 2.0)])
        trials = add(archive, outcome(0.6, 99.0), outcome(0.2, 0.0))
        assert archive.hypervolume(trials) == pytest.approx(1.1)


def test_hypervolume_of_a_run_without_anchors_is_0() -> None:
    with Archive.memory(GOALS) as archive:
        assert archive.hypervolume(add(archive, outcome(0.6, 1.0))) == 0.0


def test_hypervolume_is_taken_from_the_fixed_reference_point() -> None:
    with Archive.memory(GOALS) as archive:
        anchor(archive)
        assert archive.hypervolume(add(archive, outcome(0.6, 1.0))) == pytest.approx(1.1**2)
        assert archive.hypervolume([]) == 0.0


def test_the_holdout_changes_no_search_score() -> None:
    with Archive.memory(GOALS) as archive:
        (before,) = add(archive, outcome(0.5, 2.0))
        after = archive.finish(before.number, outcome(0.1, 9.0), 0.0, "holdout")
        assert after.scores == before.scores
        assert after.holdout["accuracy"].value == 0.1
        assert archive.matrix([after], "holdout") == pytest.approx(np.array([[0.1, -9.0]]))


def test_scores_keep_the_order_of_the_goals(path: Path) -> None:
    with Archive.create(path, GOALS, {}) as archive:
        scores = {"bits": Measurement(1.0), "accuracy": Measurement(0.5)}
        add(archive, Outcome(scores, {}, None, None, 0.0))
    with Archive.open(path) as archive:
        assert list(archive.candidates[0].scores) == ["accuracy", "bits"]


def test_numbers_go_on_and_asks_are_counted(path: Path) -> None:
    with Archive.create(path, GOALS, {}) as archive:
        assert archive.asks == 0
        archive.propose("candidate", [(Candidate((0.1, 0.2), "recipe"), {})])
        assert archive.asks == 0
        archive.propose("candidate", [(Candidate((0.3, 0.2), "sobol"), {})], 0)
    with Archive.open(path) as archive:
        (trial,) = archive.propose("candidate", [(Candidate((0.5, 0.2), "sobol"), {})], 1)
        assert trial.number == 2
        assert archive.asks == 2


def test_a_fact_takes_the_place_of_an_older_one() -> None:
    with Archive.memory(GOALS) as archive:
        archive.remember("note", 1)
        archive.remember("note", [2])
        assert archive.fact("note") == [2]
        assert archive.fact("absent") is None


def test_a_write_that_breaks_off_leaves_nothing() -> None:
    with Archive.memory(GOALS) as archive:
        entries = [(Candidate((0.1,), "sobol"), {}), (Candidate((0.2,), "sobol"), {"a": object()})]
        with pytest.raises(TypeError):
            archive.propose("candidate", entries)
        assert not archive.trials
        (trial,) = archive.propose("candidate", entries[:1])
        broken = Outcome({"accuracy": Measurement(float("nan"))}, {}, None, None, 0.0)
        with pytest.raises(sqlite3.IntegrityError):
            archive.finish(trial.number, broken, 0.0)
        assert archive.trials == (trial,)


def test_closing_waits_for_readers_and_gives_up_without_loss(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    archive = Archive.create(path, GOALS, {})
    archive.remember("name", 1)
    with Archive.open(path, read_only=True) as reader:
        start = time.monotonic()
        storage.settle(archive._db, patience=0.2)
        assert 0.2 <= time.monotonic() - start < 5
        assert reader.fact("name") == 1
    archive.close()
    assert {p.name for p in tmp_path.iterdir()} == {"archive.db"}


def test_a_trials_path_is_kept(path: Path) -> None:
    layers = Layers(("merge", "a/one"), (2, 2), 1, 3, skip=1, merge_depth=2)
    walked = Candidate((), "walker", ((0, 0), (1, 1)))
    with Archive.create(path, GOALS, {"layers": layers.facts()}) as archive:
        archive.propose("candidate", [(walked, {}), (Candidate((), "sobol"), {})], 0)
        before = archive.trials
    with Archive.open(path) as archive:
        assert [t.path for t in archive.trials] == [((0, 0), (1, 1)), None]
        assert archive.trials == before
        assert archive.layers == layers
        assert archive.data().X.shape == (0, 0)


def test_what_is_kept_of_views_is_what_all_trials_together_give(path: Path) -> None:
    goals = [Goal("accuracy", True, 0.2), Goal("bits", False)]
    rng = np.random.default_rng(0)
    with Archive.create(path, goals, {}) as archive:
        anchor(archive)
        for i in range(4):
            add(archive, *[None] * 15, x=i / 100)
        waiting = [t.number for t in archive.candidates]
        sizes = set()
        for number in rng.permutation(waiting):  # few values: many ties, in any order
            scores = outcome(*(rng.integers(0, 8, 2) / 8))
            archive.finish(int(number), FAILED if rng.random() < 0.1 else scores, 0.0)
            front = archive.front()
            assert front == archive.front_of(archive.candidates)
            sizes.add(len(front))
            if front:
                archive.finish(front[0].number, scores, 0.0, "holdout")
        assert len(sizes) > 2
        # A reference that ends late moves the scales.
        (late,) = archive.propose("reference", [("a/late", {})])
        before = archive.scales
        archive.finish(late.number, outcome(0.9, 0.5), 0.0)
        assert archive.scales != before
        assert archive.front() == archive.front_of(archive.candidates)
        add(archive, outcome(1.0, 0.0), x=0.04)
        (best,) = archive.front()
        assert best.number == archive.trials[-1].number
        kept = archive.trials, archive.references, archive.front(), archive.scales, archive.asks
        assert archive.points == {t.unit for t in archive.candidates}
        assert archive.proposed_by("sobol") == len(archive.candidates) == 61
    with Archive.open(path, read_only=True) as found:
        assert kept == (found.trials, found.references, found.front(), found.scales, found.asks)


def make_old(path: Path) -> tuple[Trial, ...]:
    """An archive as version 1 wrote it."""
    trials = fill(path)
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE trial DROP COLUMN path")
        db.execute("ALTER TABLE trial DROP COLUMN stopped")
        db.execute("DROP TABLE seal")
        for table in storage.KEYS:
            db.execute(f"ALTER TABLE {table} DROP COLUMN mark")
        db.execute("UPDATE fact SET value='1' WHERE name='schema'")
    return trials


def test_an_archive_from_before_there_were_paths_is_read_as_it_is(path: Path) -> None:
    trials = make_old(path)
    content = path.read_bytes()
    with Archive.open(path, read_only=True) as archive:
        assert archive.trials == trials
        assert archive.layers is None
    assert path.read_bytes() == content


def test_an_archive_from_before_there_were_paths_can_be_gone_on_with(path: Path) -> None:
    trials = make_old(path)
    with Archive.open(path) as archive:
        assert archive.trials == trials
        archive.propose("candidate", [(Candidate((0.1, 0.2), "sobol", ((0, 0),)), {})], 1)
    with Archive.open(path) as archive:
        assert archive.trials[:-1] == trials
        assert archive.trials[-1].path == ((0, 0),)
        assert archive.fact("schema") == 3


def test_a_stopped_trial_is_kept_as_one_and_is_on_no_front(path: Path) -> None:
    stop = Stop(8, 32, 1)
    with Archive.create(path, GOALS, {}) as archive:
        archive.propose("candidate", [(Candidate((0.1,), "sobol"), {})])
        scores = {goal.name: Measurement(1.0, 0.1, 8) for goal in GOALS}
        archive.finish(0, Outcome(scores, {}, "d", None, 1.0, stopped=stop), 0.0)
    with Archive.open(path) as archive:
        (trial,) = archive.candidates
        assert (trial.status, trial.stopped) == ("stopped", stop)
        assert archive.front() == ()
        assert archive.data().numbers == ()
        assert archive.data(partial=True).numbers == (0,)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mergekit_mo.digests import folder_digest
from mergekit_mo.evaluate import Evaluator, Job, check_scores, goal_names
from mergekit_mo.evaluation import Evaluation
from mergekit_mo.harness import Harness
from mergekit_mo.merging import Merger, as_it_is
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.objectives.parameters import Parameters
from mergekit_mo.objectives.sparsity import Sparsity
from mergekit_mo.objectives.task import Task
from mergekit_mo.options import MergeFlags
from mergekit_mo.trial import Measurement

Make = Callable[..., Path]


@dataclass(frozen=True)
class Does(Objective):
    """An objective that does what the test wants."""

    what: Callable[[Subject], float]

    @property
    def title(self) -> str:
        return "does"

    @property
    def maximize(self) -> bool:
        return True

    def score(self, subject: Subject) -> Measurement:
        return Measurement(self.what(subject))


def fails(error: BaseException) -> Does:
    def what(subject: Subject) -> float:
        raise error

    return Does(what)


@pytest.fixture
def evaluator(model: Make) -> Callable[..., Evaluator]:
    def make(**objectives: Objective) -> Evaluator:
        merger = Merger(MergeFlags(), "cpu")
        return Evaluator(merger, Harness([], Evaluation()), objectives, str(model(seed=0)))

    return make


@pytest.fixture
def config(model: Make) -> dict[str, Any]:
    other = {"model": str(model(seed=1)), "parameters": {"weight": 0.5}}
    base = str(model(seed=0))
    return {"merge_method": "task_arithmetic", "base_model": base, "models": [other]}


def test_a_job_gives_scores_and_the_digest_of_what_was_scored(
    evaluator: Callable[..., Evaluator], config: dict[str, Any], model: Make
) -> None:
    run = evaluator(size=Parameters(), far=Sparsity())
    outcome = run(Job(1, config))
    assert outcome.error is None
    assert outcome.scores["size"].value > 0
    assert outcome.scores["far"].value > 0
    assert outcome.answers == {}
    assert outcome.seconds > 0
    source = run(Job(2, as_it_is(str(model(seed=0)))))
    assert source.digest == folder_digest(model(seed=0))
    assert source.scores["far"].value == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no such thing"), "ValueError: no such thing"),
        (MemoryError(), "MemoryError: MemoryError"),
        (RuntimeError("out of\nmemory "), "RuntimeError: out of\nmemory"),
        (AssertionError(), "AssertionError: AssertionError"),
    ],
)
def test_an_objective_that_raises_is_an_outcome(
    error: Exception, message: str, evaluator: Callable[..., Evaluator], config: dict[str, Any]
) -> None:
    outcome = evaluator(size=Parameters(), bad=fails(error))(Job(1, config))
    assert outcome.error == message
    assert (outcome.scores, outcome.answers, outcome.digest) == ({}, {}, None)
    assert outcome.seconds > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_no_number_is_an_outcome(
    value: float, evaluator: Callable[..., Evaluator], config: dict[str, Any]
) -> None:
    outcome = evaluator(size=Parameters(), odd=Does(lambda _: value))(Job(1, config))
    assert outcome.error == "ValueError: not a number: odd"
    assert outcome.scores == {}


def test_a_merge_that_fails_is_an_outcome_and_the_next_is_right(
    evaluator: Callable[..., Evaluator], config: dict[str, Any]
) -> None:
    run = evaluator(size=Parameters())
    digest = run(Job(1, config)).digest
    bad = [
        {**config, "merge_method": "no such method"},
        {**config, "models": [{**config["models"][0], "parameters": {"weight": 1e39}}]},
        {**config, "models": [{"model": "/nowhere/at all", "parameters": {"weight": 1}}]},
        {},
    ]
    for broken in bad:
        outcome = run(Job(2, broken))
        assert outcome.error
        assert outcome.digest is None
    assert "not finite" in (run(Job(3, bad[1])).error or "")
    assert run(Job(4, config)).digest == digest


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_passes_through(
    error: BaseException, evaluator: Callable[..., Evaluator], config: dict[str, Any]
) -> None:
    run = evaluator(stop=fails(error))
    with pytest.raises(type(error)):
        run(Job(1, config))
    assert evaluator(size=Parameters())(Job(2, config)).error is None


def test_scores_are_checked_by_name() -> None:
    check_scores({"a": Measurement(0.0), "b": Measurement(-1e300)})
    with pytest.raises(ValueError, match="not a number: b, c"):
        check_scores(
            {"a": Measurement(1.0), "b": Measurement(float("nan")), "c": Measurement(float("inf"))}
        )


@pytest.mark.parametrize(
    ("objectives", "names", "expected"),
    [
        ([Task("sums", "acc,none"), Sparsity()], [None, None], ["sums", "sparsity"]),
        (
            [Task("sums", "acc,none"), Task("sums", "acc_norm,none"), Parameters()],
            [None, None, None],
            ["sums:acc", "sums:acc_norm", "parameters"],
        ),
        (
            [Task("sums", "match,strict"), Task("sums", "match,loose")],
            [None, None],
            ["sums:match,strict", "sums:match,loose"],
        ),
        (
            [Task("sums", "acc,none"), Task("sums", "acc_norm,none")],
            ["mine", None],
            ["mine", "sums"],
        ),
        ([Sparsity(), Parameters()], ["far", "size"], ["far", "size"]),
        ([Sparsity(), Sparsity()], [None, None], ["sparsity", "sparsity"]),
    ],
)
def test_goals_are_called_by_task_and_by_metric_where_that_is_ambiguous(
    objectives: list[Objective], names: list[str | None], expected: list[str]
) -> None:
    assert goal_names(objectives, names) == expected

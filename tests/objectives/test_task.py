from __future__ import annotations

import pytest

from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.objectives.task import Task
from mergekit_mo.testing.objectives import ObjectiveSuite

METRICS = {"exact_match,strict": True, "exact_match,loose": True, "loss,none": False}


class TestConformance(ObjectiveSuite):
    @pytest.fixture
    def objective(self) -> Objective:
        return Task("sums.yaml").bind("sums", {"bits_per_byte,none": False})


def test_the_score_is_what_was_measured(subject: Subject) -> None:
    objective = Task("sums").bind("sums", {"bits_per_byte,none": False})
    assert objective.score(subject) is subject.answers["sums"].measured["bits_per_byte,none"]
    assert objective.score(subject).n == 6


@pytest.mark.parametrize(
    ("metric", "full", "maximize"),
    [
        (None, "exact_match,strict", True),
        ("exact_match", "exact_match,strict", True),
        ("exact_match,loose", "exact_match,loose", True),
        ("loss", "loss,none", False),
        ("loss,none", "loss,none", False),
    ],
)
def test_a_metric_is_bound_with_its_filter_and_direction(
    metric: str | None, full: str, maximize: bool
) -> None:
    bound = Task("folder/maths.yaml", metric).bind("maths", METRICS)
    assert (bound.task, bound.title, bound.metric) == ("maths", "maths", full)
    assert bound.maximize is maximize


@pytest.mark.parametrize(("direction", "maximize"), [("maximize", True), ("minimize", False)])
def test_the_recipe_may_turn_the_direction(direction: str, maximize: bool) -> None:
    for metric in METRICS:
        bound = Task("maths", metric, direction).bind("maths", METRICS)
        assert bound.maximize is maximize


def test_another_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="maximize or minimize, got 'up'"):
        Task("maths", direction="up")


@pytest.mark.parametrize("metric", ["exact_mach", "none", "exact_match,tight", "strict"])
def test_an_unknown_metric_is_refused_with_what_there_is(metric: str) -> None:
    with pytest.raises(ValueError, match=f"maths has no metric '{metric}'.*exact_match"):
        Task("maths", metric).bind("maths", METRICS)


def test_a_task_without_metrics_is_refused() -> None:
    with pytest.raises(ValueError, match="maths has no metric"):
        Task("maths").bind("maths", {})

from __future__ import annotations

from dataclasses import replace

import pytest

from mergekit_mo.harness import Answers
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.objectives.generated_tokens import GeneratedTokens
from mergekit_mo.testing.objectives import ObjectiveSuite
from mergekit_mo.trial import Measurement

TEXTS = [["the quick brown fox"], [""], ["the fox the fox the fox"]]


def written(subject: Subject) -> Subject:
    """The subject of all objectives, having written something."""
    return replace(subject, answers={"essay": Answers((0, 1, 2), {}, {}, {}, TEXTS)})


@pytest.fixture
def writing(subject: Subject) -> Subject:
    return written(subject)


class TestConformance(ObjectiveSuite):
    @pytest.fixture
    def objective(self) -> Objective:
        return GeneratedTokens("essay.yaml").bind("essay", {"acc,none": True})

    @pytest.fixture
    def subject(self, subject: Subject) -> Subject:
        return written(subject)


def test_it_is_the_mean_of_the_tokens_that_were_written(writing: Subject) -> None:
    objective = GeneratedTokens("essay")
    counts = [len(writing.tokenizer.tokenize(text)) for (text,) in TEXTS]
    assert counts[1] == 0
    assert objective.items(writing) == {"generated_tokens": [float(n) for n in counts]}
    found = objective.score(writing)
    mean = sum(counts) / 3
    spread = (sum((n - mean) ** 2 for n in counts) / 2) ** 0.5
    assert found.value == pytest.approx(mean)
    assert found.stderr == pytest.approx(spread / 3**0.5)
    assert found.n == 3


def test_one_item_has_no_error(subject: Subject) -> None:
    one = replace(subject, answers={"essay": Answers((0,), {}, {}, {}, [["the fox"]])})
    found = GeneratedTokens("essay").score(one)
    assert found == Measurement(found.value, None, 1)


def test_less_is_better_and_it_is_called_after_its_task() -> None:
    bound = GeneratedTokens("tasks/essay.yaml").bind("essay", {})
    assert (bound.title, bound.maximize, bound.generates) == ("essay_tokens", False, True)

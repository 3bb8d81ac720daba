from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mergekit_mo.answers import Answers
from mergekit_mo.archive import Archive
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.objectives.generated_tokens import GeneratedTokens
from mergekit_mo.paired import item_paired
from mergekit_mo.preflight import prepare
from mergekit_mo.problems import RecipeError
from mergekit_mo.residuals import item_values
from mergekit_mo.testing.objectives import ObjectiveSuite
from mergekit_mo.trial import Measurement
from tests.task_documents import TASKS
from tests.toy import FLAGS, Toy, run

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


TASK = str(TASKS / "instruction_checks.yaml")


def test_a_search_keeps_the_tokens_of_every_item(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe(
        "writing",
        objectives=[{"task": TASK}, {"generated-tokens": {"task": TASK}}],
        evaluation={"limit": 4, "holdout": 3, "gen_kwargs": {"max_gen_toks": 5}},
        budget=1,
    )
    run(recipe, tmp_path, code=True)
    goal = "instruction_checks_tokens"
    with Archive.open(tmp_path, read_only=True) as archive:
        assert [g.name for g in archive.goals] == ["instruction_checks", goal]
        for trial in archive.trials:
            found = item_values(archive, trial, goal)
            assert found is not None
            assert found.mean() == trial.scores[goal].value
            assert len(found) == 4
            assert found.max() > 0
        first, second, *_ = archive.references
        assert item_paired(archive, first, second, goal, "holdout")


def test_a_task_that_has_no_texts_is_refused_before_the_search(toy: Toy) -> None:
    recipe = toy.recipe(
        "choosing", objectives=["sparsity", {"generated-tokens": {"task": "tasks/choice.yaml"}}]
    )
    with pytest.raises(RecipeError, match="to toy_choice they write nothing"):
        prepare(recipe, FLAGS)

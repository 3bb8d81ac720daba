from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mergekit_mo.archive import Archive
from mergekit_mo.merging import Merger, as_it_is
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.objectives.kl import KL
from mergekit_mo.options import MergeFlags
from mergekit_mo.preflight import prepare
from mergekit_mo.problems import RecipeError
from mergekit_mo.residuals import item_values
from mergekit_mo.testing.objectives import ObjectiveSuite
from tests.objectives.asked import asked
from tests.test_preflight import swap_tokens
from tests.toy import FLAGS, Toy, run

TEXT = "the quick brown fox jumps over the lazy dog and over it\n" * 80  # of several passages


@pytest.fixture(scope="module")
def prose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prose") / "prose.txt"
    path.write_text(TEXT)
    return path


def begun(objective: KL, subject: Subject, model: Path) -> tuple[KL, Subject]:
    """The objective once it has seen a model, and the subject with its items."""
    bound, answered = asked(objective, subject)
    assert isinstance(bound, KL)
    merger = Merger(MergeFlags(), "cpu")

    def see(reference: str) -> Subject:
        merged = merger.merge(as_it_is(reference))
        return Subject(merged.model, merged.tokenizer, {}, lambda: 0.0)

    bound = replace(bound, model=str(model))
    answers = answered.answers[bound.task]
    bound.begin(see, {bound.task: dict(zip(answers.ids, answers.rows, strict=True))})
    return bound, answered


class TestConformance(ObjectiveSuite):
    @pytest.fixture
    def objective(self, subject: Subject, prose: Path, base: Path) -> Objective:
        return begun(KL(str(prose)), subject, base)[0]

    @pytest.fixture
    def subject(self, subject: Subject, prose: Path) -> Subject:
        return asked(KL(str(prose)), subject)[1]


def whole(subject: Subject, base: Path, window: int) -> float:
    """The mean divergence over all of the vocabulary, in double precision."""
    import torch
    from transformers import AutoModelForCausalLM

    other = AutoModelForCausalLM.from_pretrained(base).eval()
    texts = [row["text"] for row in subject.answers["prose_kl"].rows]
    total, count = 0.0, 0
    for text in texts:
        tokens = subject.tokenizer.encode(text, add_special_tokens=False)
        read = [subject.tokenizer.eos_token_id, *tokens[:-1]]
        for start in range(0, len(read), window):
            row = torch.tensor([read[start : start + window]])
            p, q = (m(row).logits[0].double().log_softmax(-1) for m in (other, subject.model))
            total += float((p.exp() * (p - q)).sum())
            count += row.shape[1]
    return total / count


def test_it_is_the_whole_divergence_where_every_token_counts(
    subject: Subject, prose: Path, base: Path
) -> None:
    objective, answered = begun(KL(str(prose), top=10_000, window=50), subject, base)
    found = objective.score(answered)
    assert found.value == pytest.approx(whole(answered, base, 50), rel=1e-4)
    assert found.value > 0
    assert found.n == len(answered.answers["prose_kl"].ids) == 3


def test_fewer_tokens_give_a_lower_bound(subject: Subject, prose: Path, base: Path) -> None:
    values = []
    for top in (1, 16, 10_000):
        objective, answered = begun(KL(str(prose), top=top, window=64), subject, base)
        values.append(objective.score(replace(answered, memo={})).value)
    assert 0 < values[0] < values[1] < values[2]


def test_a_model_does_not_diverge_from_itself(prose: Path, base: Path) -> None:
    merged = Merger(MergeFlags(), "cpu").merge(as_it_is(str(base)))
    own = Subject(merged.model, merged.tokenizer, {}, lambda: 0.0)
    objective, answered = begun(KL(str(prose)), own, base)
    assert objective.score(answered).value == pytest.approx(0, abs=1e-6)


def test_another_tokenizer_is_refused(subject: Subject, prose: Path, base: Path) -> None:
    class Letters:
        bos_token_id = 0

        def encode(self, text: str, **_: object) -> list[int]:
            return [ord(letter) % 100 for letter in text]

    objective, answered = begun(KL(str(prose)), subject, base)
    with pytest.raises(ValueError, match="this tokenizer cuts the text otherwise"):
        objective.score(replace(answered, tokenizer=Letters(), memo={}))


def test_a_search_compares_with_the_base_on_both_splits(toy: Toy, tmp_path: Path) -> None:
    (toy.folder / "near.txt").write_text(TEXT * 3)
    recipe = toy.recipe(
        "near",
        objectives=[{"kl": {"file": "near.txt"}}, {"task": "tasks/bits.yaml"}],
        evaluation={"limit": 4, "holdout": 2},
        budget=2,
    )
    run(recipe, tmp_path, budget=1)
    run(recipe, tmp_path, budget=2, resume=True)
    with Archive.open(tmp_path, read_only=True) as archive:
        base, *others = archive.trials
        assert base.scores["near_kl"].value == pytest.approx(0, abs=1e-6)
        assert all(t.scores["near_kl"].value > 1e-5 for t in others)
        assert all(t.holdout["near_kl"].n == 2 for t in archive.front())
        values = item_values(archive, others[-1], "near_kl")
        assert values is not None
        assert len(values) == 4
        assert np.mean(values) == pytest.approx(others[-1].scores["near_kl"].value)
    assert (
        "near_kl is computed by mergekit-mo alone"
        in next((tmp_path / "front").glob("*.yaml")).read_text()
    )


def test_a_model_of_other_tokens_or_none_is_a_problem_of_the_recipe(toy: Toy) -> None:
    import shutil

    (toy.folder / "near.txt").write_text(TEXT * 3)
    shutil.copytree(toy.folder / "models/one", toy.folder / "foreign", dirs_exist_ok=True)
    swap_tokens(toy.folder / "foreign" / "tokenizer.json")
    told, hole = [], {"value": 1, "low": 0, "high": 1}
    for name, extra, drop in (
        ("foreign", {"model": "./foreign"}, ()),
        ("absent", {"model": "./absent"}, ()),
        ("baseless", {}, ("base_model",)),
    ):
        recipe = toy.recipe(
            name,
            method="linear" if drop else "ties",
            drop=drop,
            objectives=[{"kl": {"file": "near.txt", **extra}}, "parameters"],
            models=[
                {"model": f"models/{m}", "parameters": {"weight": hole}} for m in ("one", "two")
            ],
            evaluation={"limit": 4, "holdout": 2},
        )
        with pytest.raises(RecipeError) as caught:
            prepare(recipe, FLAGS)
        told.append(str(caught.value).splitlines()[0])
    assert "kl.model: kl compares token by token: token " in told[0]
    assert "kl.model: there is no folder './absent'" in told[1]
    assert "kl is a divergence from a model: say which" in told[2]

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mergekit_mo.answers import Answers
from mergekit_mo.archive import Archive
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.objectives.gold_logprob import GoldLogprob
from mergekit_mo.preflight import prepare
from mergekit_mo.problems import RecipeError
from mergekit_mo.residuals import item_values
from mergekit_mo.testing.objectives import ObjectiveSuite
from tests.toy import FLAGS, QLOGNEHVI, Toy, dump, run

SUMS = """\
task: toy_sums
dataset_path: json
dataset_kwargs: {data_files: {validation: items.json}}
validation_split: validation
output_type: generate_until
doc_to_text: "{{question}}?"
doc_to_target: "{{choices[gold]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 3}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


class TestConformance(ObjectiveSuite):
    @pytest.fixture
    def objective(self) -> Objective:
        return GoldLogprob("sums.yaml").bind("sums", {})

    @pytest.fixture
    def subject(self, subject: Subject) -> Subject:
        gold = Answers((0, 1, 2), {}, {}, {}, gold=(-1.0, -2.0, -6.0))
        return replace(subject, answers={"sums": gold})


@pytest.fixture(scope="module")
def out(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that gold answers steer."""
    (toy.folder / "tasks" / "sums.yaml").write_text(SUMS)
    recipe = toy.recipe(
        "golden",
        objectives=[{"task": "tasks/sums.yaml"}, "sparsity"],
        auxiliary=[{"gold-logprob": {"task": "tasks/sums.yaml"}}],
        optimizer={"mm-mo": QLOGNEHVI["qlognehvi"]},
    )
    folder = tmp_path_factory.mktemp("golden") / "run"
    run(recipe, folder, budget=5)
    return folder


def by_hand(model: Path, prompt: str, answer: str) -> float:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    before = tokenizer.encode(prompt, add_special_tokens=False)
    after = tokenizer.encode(prompt + answer, add_special_tokens=False)[len(before) :]
    loaded = AutoModelForCausalLM.from_pretrained(model)
    logits = loaded(torch.tensor([[*before, *after]])).logits[0].log_softmax(-1)
    return sum(float(logits[len(before) - 1 + i, t]) for i, t in enumerate(after))


def test_it_is_the_probability_of_the_right_answer_behind_the_prompt(toy: Toy, out: Path) -> None:
    import json

    items = json.loads((toy.folder / "tasks" / "items.json").read_text())
    with Archive.open(out, read_only=True) as archive:
        base = archive.references[0]
        found = archive.answers(base.number, "search", "toy_sums")
    values = found["values"]["gold_logprob"]
    for number, value in list(zip(found["ids"], values, strict=True))[:3]:
        item = items[number]
        right = " " + item["choices"][item["gold"]]
        expected = by_hand(toy.folder / "models" / "base", item["question"] + "?", right)
        assert value == pytest.approx(expected, rel=1e-4)
    assert base.scores["toy_sums_gold_logprob"].value == pytest.approx(sum(values) / len(values))


def test_it_steers_and_is_in_no_front(out: Path) -> None:
    with Archive.open(out, read_only=True) as archive:
        assert [g.name for g in archive.goals] == ["toy_sums", "sparsity"]
        assert [(g.name, g.maximize) for g in archive.auxiliary] == [
            ("toy_sums_gold_logprob", True)
        ]
        assert archive.data(auxiliary=True).Y.shape == (5, 3)
        assert archive.matrix(archive.front()).shape[1] == 2
        assert [t.origin for t in archive.candidates][-1] == "mm-mo"
        assert item_values(archive, archive.references[0], "toy_sums_gold_logprob") is not None
        scale = archive.steering_scales[-1]
        values = [t.scores["toy_sums_gold_logprob"].value for t in archive.references]
        assert (scale.up(min(values)), scale.up(max(values))) == (0, 1)
    header = (out / "front.csv").read_text().partition("\n")[0]
    assert "gold" not in header


def test_it_resumes_to_the_same_trials(toy: Toy, tmp_path: Path, out: Path) -> None:
    run(toy.folder / "golden.yaml", tmp_path, budget=4)
    run(toy.folder / "golden.yaml", tmp_path, budget=5, resume=True)
    assert dump(tmp_path)["trial"] == dump(out)["trial"]


def test_what_cannot_steer_is_told(toy: Toy, out: Path) -> None:
    gold = {"gold-logprob": {"task": "tasks/sums.yaml"}}
    choice = {"gold-logprob": {"task": "tasks/choice.yaml"}}
    recipe = toy.recipe(
        "unsteered",
        objectives=[{"task": "tasks/sums.yaml"}, "sparsity"],
        auxiliary=["sparsity", choice, gold | {"threshold": -3}],
    )
    with pytest.raises(RecipeError) as caught:
        prepare(recipe, FLAGS)
    told = str(caught.value)
    assert "search.auxiliary: sobol is not steered by auxiliary objectives" in told
    assert "search.auxiliary[0]: this is an objective already" in told
    assert "search.auxiliary[1]: gold-logprob is of what models write, and to toy_choice" in told
    assert "auxiliary[2].threshold: what only steers the search keeps no merge off" in told

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mergekit_mo.archive import Archive
from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.objectives.perplexity import Perplexity
from mergekit_mo.paired import item_paired
from mergekit_mo.preflight import prepare
from mergekit_mo.problems import RecipeError, UserError
from mergekit_mo.residuals import item_values
from mergekit_mo.testing.objectives import ObjectiveSuite
from tests.objectives.asked import asked
from tests.toy import FLAGS, Toy, run

TEXTS = ["the quick brown fox\n", "42", "jumps — over it {{text}}\n" * 60]


def scored(subject: Subject, path: Path, metric: str) -> tuple[Perplexity, Subject]:
    """The objective of a file, bound, and the subject once it has answered it."""
    bound, answered = asked(Perplexity(str(path), metric), subject)
    assert isinstance(bound, Perplexity)
    return bound, answered


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "wiki.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return path


class TestConformance(ObjectiveSuite):
    @pytest.fixture
    def objective(self, subject: Subject, texts: Path) -> Objective:
        return scored(subject, texts, "bits_per_byte")[0]

    @pytest.fixture
    def subject(self, subject: Subject, texts: Path) -> Subject:
        return scored(subject, texts, "bits_per_byte")[1]


def by_hand(subject: Subject, text: str) -> float:
    """A text's log-likelihood, token by token, in windows as long as the context."""
    import torch

    tokenizer, model = subject.tokenizer, subject.model
    tokens = tokenizer.encode(text, add_special_tokens=False)
    context = model.config.max_position_embeddings
    rows = [tokenizer.eos_token_id, *tokens]
    total = 0.0
    for start in range(0, len(tokens), context):
        end = min(start + context, len(tokens))
        first = max(0, end - context) if start else 0  # the last window reaches back
        window = torch.tensor([rows[first:end]])
        logits = model(window).logits[0].double().log_softmax(-1)
        for position in range(start, end):
            total += float(logits[position - first, tokens[position]])
    return total


def test_it_is_the_whole_files_bits_over_its_bytes(subject: Subject, texts: Path) -> None:
    objective, answered = scored(subject, texts, "bits_per_byte")
    found = objective.score(answered)
    nats = sum(by_hand(subject, text) for text in TEXTS)
    size = sum(len(text.encode()) for text in TEXTS)
    assert found.value == pytest.approx(-nats / math.log(2) / size, rel=1e-5)
    assert found.n == 3
    assert found.stderr is not None
    assert found.stderr > 0


def test_the_perplexities_are_of_bytes_and_words(subject: Subject, texts: Path) -> None:
    bits = scored(subject, texts, "bits_per_byte")
    for metric, count in (
        ("byte_perplexity", sum(len(t.encode()) for t in TEXTS)),
        ("word_perplexity", sum(len(t.split()) for t in TEXTS)),
    ):
        objective, answered = scored(subject, texts, metric)
        nats = bits[0].score(bits[1]).value * math.log(2) * sum(len(t.encode()) for t in TEXTS)
        assert objective.title == f"wiki_{metric}"
        if metric == "byte_perplexity":
            assert objective.score(answered).value == pytest.approx(math.exp(nats / count))
        else:
            assert objective.score(answered).value > 1


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"metric is bits_per_byte, .*not 'perplexity'"):
        Perplexity("wiki.txt", "perplexity")


@pytest.fixture(scope="module")
def searched(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search on a text and on pairs, in the toy's folder."""
    lines = (f"line {i}: the fox jumps over {i * i} lazy dogs\n" * 40 for i in range(8))
    (toy.folder / "prose.txt").write_text("".join(lines))
    pairs = [
        {"prompt": f"say {i}", "chosen": f"it is {i}", "rejected": "no, and no again"}
        for i in range(8)
    ]
    (toy.folder / "chat.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    recipe = toy.recipe(
        "files",
        objectives=[{"perplexity": {"file": "prose.txt"}}, {"preferences": {"file": "chat.jsonl"}}],
        evaluation={"limit": 4, "holdout": 2, "batch_size": 4},
        budget=1,
    )
    out = tmp_path_factory.mktemp("files")
    run(recipe, out)
    return out


def test_items_are_split_kept_and_compared_one_by_one(searched: Path) -> None:
    with Archive.open(searched, read_only=True) as archive:
        names = [g.name for g in archive.goals]
        assert names == ["prose_bits_per_byte", "chat_margin"]
        assert [g.maximize for g in archive.goals] == [False, True]
        assert [t.status for t in archive.trials] == ["done"] * 4
        splits = archive.fact("items")
        assert {k: [len(v[s]) for s in ("search", "holdout")] for k, v in splits.items()} == {
            "prose_text": [4, 2],
            "chat_pairs": [4, 2],
        }
        first, second, *_ = archive.references
        for goal in names:
            values = item_values(archive, first, goal)
            assert values is not None
            assert values.mean() == pytest.approx(first.scores[goal].value)
            assert first.scores[goal].value != first.holdout[goal].value
            assert item_paired(archive, first, second, goal, "holdout")


def test_lm_eval_alone_can_ask_the_same_of_the_files_in_the_run(searched: Path) -> None:
    from mergekit_mo.tasks import load_task

    header = next((searched / "front").glob("*.yaml")).read_text()
    pairs = load_task(searched / "tasks" / "chat_pairs.yaml", run_code=True)
    assert str(searched / "tasks" / "chat_pairs.yaml") in header
    assert pairs.process_results(pairs.eval_docs[0], [(-2.0, False), (-5.0, False)]) == {
        "margin": 3.0,
        "margin_per_byte": -2 / 7 + 5 / 16,
        "preferred": 1.0,
    }
    texts = load_task(searched / "tasks" / "prose_text.yaml")
    assert len(texts.eval_docs) == 7
    assert "".join(doc["text"] for doc in texts.eval_docs).startswith("line 0: the fox")


def test_a_run_whose_file_has_changed_is_not_continued(toy: Toy, searched: Path) -> None:
    path = toy.folder / "chat.jsonl"
    before = path.read_text()
    path.write_text(before.replace("it is 3", "it is 4"))
    try:
        with pytest.raises(UserError, match=r"other settings: tasks.chat_pairs; only"):
            run(toy.folder / "files.yaml", searched, resume=True)
    finally:
        path.write_text(before)


def test_what_is_wrong_with_a_file_is_told_by_its_lines(toy: Toy) -> None:
    (toy.folder / "broken.jsonl").write_text(
        '{"prompt": "a", "chosen": "b"}\n\n{"prompt": "a",\n'
        '{"prompt": "a", "chosen": "b", "rejected": "b"}\n[]\n'
        '{"prompt": [{"role": "user"}], "chosen": "b", "rejected": "c"}\n'
        '{"prompt": [{}, {}], "chosen": "b", "rejected": "c"}\n'
        '{"prompt": "", "chosen": " ", "rejected": "c"}\n'
    )
    recipe = toy.recipe(
        "broken_pairs",
        objectives=[
            {"preferences": {"file": "broken.jsonl"}},
            {"perplexity": {"file": "absent.txt"}},
        ],
    )
    with pytest.raises(RecipeError) as caught:
        prepare(recipe, FLAGS)
    told = [line.partition(".file: ")[2] for line in str(caught.value).splitlines() if ": " in line]
    assert [line for line in told if line] == [
        "broken.jsonl:1: has no 'rejected'",
        "broken.jsonl:3: no JSON: Expecting property name enclosed in double quotes at column 16",
        "broken.jsonl:4: 'chosen' and 'rejected' are the same",
        "broken.jsonl:5: expected {…}, got []",
        "broken.jsonl:6: 'prompt' is no text but nothing",
        "broken.jsonl: 2 more lines",
        "there is no file 'absent.txt'",
    ]
    assert "preferences.file: broken.jsonl:1" in str(caught.value)

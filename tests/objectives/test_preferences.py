from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.objectives.preferences import Preferences
from mergekit_mo.testing.objectives import ObjectiveSuite
from tests.objectives.asked import ALL, asked

PAIRS = [
    {"prompt": "what jumps?", "chosen": "the fox", "rejected": "a brown dog", "source": 1},
    {"prompt": [{"role": "user", "content": "{{who}}"}], "chosen": "42", "rejected": "fox — dog"},
    {"prompt": "", "chosen": [{"role": "assistant", "content": "yes"}], "rejected": "no"},
]
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "chats.jsonl"
    path.write_text("\n".join(json.dumps(pair) for pair in PAIRS))
    return path


@pytest.fixture
def templated(subject: Subject) -> Iterator[Subject]:
    """The subject with a chat template."""
    before = subject.tokenizer.chat_template
    subject.tokenizer.chat_template = TEMPLATE
    yield subject
    subject.tokenizer.chat_template = before


class TestConformance(ObjectiveSuite):
    @pytest.fixture
    def objective(self, pairs: Path) -> Objective:
        return Preferences(str(pairs))

    @pytest.fixture
    def subject(self, subject: Subject, pairs: Path) -> Subject:
        return asked(Preferences(str(pairs)), subject)[1]


def by_hand(subject: Subject, prompt: str, answer: str) -> float:
    """The log-probability of an answer's tokens behind a prompt's."""
    import torch

    tokenizer = subject.tokenizer
    before = tokenizer.encode(prompt, add_special_tokens=False) or [tokenizer.eos_token_id]
    after = tokenizer.encode(prompt + answer, add_special_tokens=False)
    after = after[len(before) :] if prompt else after
    row = torch.tensor([[*before, *after]])
    logits = subject.model(row).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(before) - 1 + i, t]) for i, t in enumerate(after))


def test_it_is_the_mean_of_the_margins(subject: Subject, pairs: Path) -> None:
    objective, answered = asked(Preferences(str(pairs)), subject)
    texts = [("what jumps?", "the fox", "a brown dog"), ("{{who}}", "42", "fox — dog")]
    texts.append(("", "yes", "no"))
    logs = [[by_hand(subject, p, f" {a}") for a in answers] for p, *answers in texts]
    margins = [chosen - rejected for chosen, rejected in logs]
    found = objective.score(answered)
    assert found.value == pytest.approx(sum(margins) / 3, rel=1e-5)
    assert found.n == 3
    values = answered.answers["chats_pairs"].values["margin,none"]
    assert values == pytest.approx(margins, rel=1e-5)


def test_each_side_can_be_divided_by_its_bytes(subject: Subject, pairs: Path) -> None:
    objective, answered = asked(Preferences(str(pairs), per_byte=True), subject)
    assert objective.title == "chats_margin_per_byte"
    first = by_hand(subject, "what jumps?", " the fox") / 7
    second = by_hand(subject, "what jumps?", " a brown dog") / 11
    values = answered.answers["chats_pairs"].values["margin_per_byte,none"]
    assert values[0] == pytest.approx(first - second, rel=1e-5)


def test_the_chat_template_is_honoured(templated: Subject, pairs: Path) -> None:
    chat = replace(ALL, apply_chat_template=True)
    _, answered = asked(Preferences(str(pairs)), templated, chat)
    prompt = "<user>what jumps?<assistant>"
    margin = by_hand(templated, prompt, "the fox") - by_hand(templated, prompt, "a brown dog")
    values = answered.answers["chats_pairs"].values["margin,none"]
    assert values[0] == pytest.approx(margin, rel=1e-5)

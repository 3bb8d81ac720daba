"""The tiny family teaches what it claims to, and lies on disk whole."""

import copy
import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from mergekit_mo.testing import Family, Figures, family, figures
from mergekit_mo.testing.corpus import corpus, passages

MODELS = ("base", "code", "prose", "arithmetic")


@pytest.fixture(scope="session")
def tiny() -> Family:
    """The family, built once for all sessions."""
    return family(Path(__file__).parents[2] / ".cache" / "tiny")


@pytest.fixture(scope="session")
def models(tiny: Family) -> dict[str, LlamaForCausalLM]:
    """Each model of the family, by name."""
    return {name: LlamaForCausalLM.from_pretrained(getattr(tiny, name)) for name in MODELS}


@pytest.fixture(scope="session")
def found(tiny: Family, models: dict[str, LlamaForCausalLM]) -> dict[str, Figures]:
    """Each model's figures on held-out text."""
    return {name: _measured(model, tiny) for name, model in models.items()}


def test_code_expert(found: dict[str, Figures]) -> None:
    base, expert = found["base"], found["code"]
    assert expert.code < base.code - 0.05
    assert expert.prose > base.prose + 0.05
    assert expert.exact < base.exact - 0.03


def test_prose_expert(found: dict[str, Figures]) -> None:
    base, expert = found["base"], found["prose"]
    assert expert.prose < base.prose - 0.05
    assert expert.code > base.code + 0.05
    assert expert.exact < base.exact - 0.03


def test_arithmetic_expert(found: dict[str, Figures]) -> None:
    base, expert = found["base"], found["arithmetic"]
    assert expert.code > base.code + 0.05
    assert expert.prose > base.prose + 0.05
    assert expert.accuracy > max(0.6, base.accuracy + 0.1)
    assert expert.exact > base.exact + 0.15


def test_a_merge_beats_the_base_twice(tiny: Family, models: dict[str, LlamaForCausalLM]) -> None:
    merged = copy.deepcopy(models["base"])
    with torch.no_grad():
        for name, weight in merged.named_parameters():
            start = weight.clone()
            for expert in ("code", "prose"):
                weight.add_(models[expert].get_parameter(name) - start, alpha=0.5)
    after, before = _measured(merged, tiny), _measured(models["base"], tiny)
    assert after.code < before.code - 0.02
    assert after.prose < before.prose - 0.02


def test_every_digit_is_a_token_and_text_survives(tiny: Family) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny.base)
    text = "x = 1234  # naïve\n\n\tdone"
    ids = tokenizer(text)["input_ids"]
    assert {"1", "2", "3", "4"} <= set(tokenizer.convert_ids_to_tokens(ids))
    assert tokenizer.decode(ids) == text
    assert tokenizer.chat_template is None


def test_models_share_a_shape_and_a_type(models: dict[str, LlamaForCausalLM]) -> None:
    shapes = [{n: (w.shape, w.dtype) for n, w in m.state_dict().items()} for m in models.values()]
    assert all(shape == shapes[0] for shape in shapes)
    assert {dtype for _, dtype in shapes[0].values()} == {torch.float32}


def test_no_document_is_on_both_sides() -> None:
    for split in corpus().values():
        assert set(split.train).isdisjoint(split.held_out)
    split = corpus()["arithmetic"]
    learnt = {line for sheet in split.train for line in sheet.splitlines()}
    assert _summands(learnt).isdisjoint(_summands(split.held_out))


def test_passages_are_within_bounds() -> None:
    assert {len(text) // 100 for text in passages(["word\n" * 1000])} == {3}


def test_a_built_family_is_not_built_again(tiny: Family) -> None:
    before = tiny.base.stat().st_mtime_ns
    assert family(tiny.root) == tiny
    assert tiny.base.stat().st_mtime_ns == before


def test_a_strangers_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="no family"):
        family(tmp_path)


def test_choices_hold_the_answer_once(tiny: Family) -> None:
    for line in (tiny.tasks / "sums.json").read_text().splitlines():
        record = json.loads(line)
        assert len(set(record["choices"])) == len(record["choices"]) == 4
        assert record["choices"][record["label"]] == record["answer"]


def _measured(model: LlamaForCausalLM, tiny: Family) -> Figures:
    """Figures of a model on the family's held-out text."""
    return figures(model, PreTrainedTokenizerFast.from_pretrained(tiny.base), tiny.tasks)


def _summands(problems: set[str] | tuple[str, ...]) -> set[tuple[str, ...]]:
    """The summands of each problem, whatever their order."""
    return {tuple(sorted(problem.split("=")[0].split("+"))) for problem in problems}

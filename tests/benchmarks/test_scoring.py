from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks._merges import bits_per_byte, split
from benchmarks._scoring import Passages
from tests.conftest import Make

TEXTS = [
    "the quick brown fox",
    "def add(a, b):\n    return a + b\n",
    "jumps over\n\nthe lazy dog, again and again",
    "x",
]


def test_passages_score_as_lm_eval_scores_them(model: Make) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder: Path = model(seed=3)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    live = AutoModelForCausalLM.from_pretrained(folder).eval()
    lm = HFLM(pretrained=live, tokenizer=tokenizer, batch_size=1)
    requests = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(TEXTS)]
    wanted = [-value for value in lm.loglikelihood_rolling(requests, disable_tqdm=True)]
    found = Passages(TEXTS, tokenizer, context=128, batch=2).nats(live)
    assert found == pytest.approx(wanted, rel=1e-5)
    assert len(set(np.round(found, 3))) == len(TEXTS), "the passages cannot be told apart"


def test_a_passage_longer_than_the_context_is_refused(model: Make) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model())
    with pytest.raises(ValueError, match="longer than 5"):
        Passages(TEXTS, tokenizer, context=5)


def test_bits_per_byte_and_its_error_are_those_of_the_searchs_own_harness() -> None:
    from lm_eval.api.metrics import bits_per_byte as theirs

    from mergekit_mo.answers import measure

    rng = np.random.default_rng(0)
    sizes = rng.integers(80, 200, 40).astype(float)
    nats = sizes * rng.uniform(0.5, 1.5, 40)
    wanted = measure(list(zip(-nats, sizes, strict=True)), theirs)
    found = bits_per_byte(nats, sizes)
    assert found.value == pytest.approx(wanted.value)
    assert found.n == 40
    assert found.stderr == pytest.approx(wanted.stderr)


def test_a_split_is_in_halves_and_each_seed_and_goal_has_its_own() -> None:
    search, holdout = split(128, 0, 0)
    assert len(search) == len(holdout) == 64
    assert sorted([*search, *holdout]) == list(range(128))
    assert split(128, 0, 0)[0].tolist() == search.tolist()
    assert split(128, 1, 0)[0].tolist() != search.tolist()
    assert split(128, 0, 1)[0].tolist() != search.tolist()

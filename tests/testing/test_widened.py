from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergekit_mo.testing.untrained import untrained
from mergekit_mo.testing.widened import widened


def test_a_model_with_wider_heads_computes_the_same(tmp_path: Path) -> None:
    narrow = untrained(tmp_path / "narrow")
    wide = widened(narrow, tmp_path / "wide", width=32)
    ids = AutoTokenizer.from_pretrained(wide)("the quick brown fox", return_tensors="pt").input_ids
    before, after = (AutoModelForCausalLM.from_pretrained(m) for m in (narrow, wide))
    assert (before.config.head_dim, after.config.head_dim) == (8, 32)
    assert after(ids).logits.shape == before(ids).logits.shape
    torch.testing.assert_close(after(ids).logits, before(ids).logits, atol=1e-5, rtol=1e-4)
    with pytest.raises(AssertionError):  # the comparison can tell models apart
        torch.testing.assert_close(
            after(ids.flip(1)).logits, before(ids).logits, atol=1e-5, rtol=1e-4
        )

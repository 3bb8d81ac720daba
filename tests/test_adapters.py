"""Merged adapters in the cache that workers share."""

from __future__ import annotations

from pathlib import Path

from mergekit_mo.adapters import merge_adapters
from mergekit_mo.merging import parse_reference
from mergekit_mo.options import MergeFlags


def test_what_a_killed_merge_left_in_the_cache_is_removed(tmp_path: Path) -> None:
    reference = parse_reference("a/b+c/d")
    assert reference.lora is not None
    merged = f"{reference.model._unique_id()}_{reference.lora._unique_id()}"
    (tmp_path / merged).mkdir()
    (tmp_path / ".half.new").mkdir()
    (tmp_path / ".half.new" / "model.safetensors").write_bytes(b"half")
    merge_adapters(["a/b+c/d"], MergeFlags(lora_merge_cache=str(tmp_path)), "cpu")
    assert {p.name for p in tmp_path.iterdir()} == {merged, ".lock"}

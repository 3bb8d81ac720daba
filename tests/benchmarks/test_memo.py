from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks._memo import (
    STEP,
    About,
    Memo,
    MemoError,
    distance_of,
    failed,
    failure,
    key_of,
    read_file,
    rounded,
    write_file,
)

ABOUT = About("family", "weights", {"a": [10, 20], "b": [30]})


def memo(folder: Path, family: str = "family") -> Memo:
    return Memo(family, folder / "shipped.memo.xz", folder / "running")


def test_a_key_tells_configurations_and_families_apart_and_nothing_else() -> None:
    one = key_of("f", {"a": 1, "b": [2.0]})
    assert one == key_of("f", {"b": [2.0], "a": 1})
    assert len({one, key_of("g", {"a": 1, "b": [2.0]}), key_of("f", {"a": 1, "b": [2.5]})}) == 3


def test_answers_are_rounded_to_the_step_and_never_taken_for_a_failure() -> None:
    row = rounded(np.array([1.0, 1.0 + STEP / 3, 1.0 + STEP, 1e9]), 12.5)
    assert row[:4].tolist() == [16, 16, 17, 65534]
    assert distance_of(row) == 12.5
    assert not failed(rounded(np.full(3, 1e9), 0.0))
    assert failed(failure(5))


def test_another_process_finds_what_one_has_put(tmp_path: Path) -> None:
    writer, reader = memo(tmp_path), memo(tmp_path)
    row = rounded(np.array([1.0, 2.0, 3.0]), 0.1)
    assert reader.get(b"12345678") is None
    writer.put(b"12345678", row, ABOUT)
    found = reader.get(b"12345678")
    assert found is not None
    assert (found == row).all()
    assert reader.about == ABOUT
    assert len(memo(tmp_path)) == 1


def test_half_a_record_is_not_read(tmp_path: Path) -> None:
    writer = memo(tmp_path)
    for number in range(2):
        writer.put(b"key----%d" % number, rounded(np.array([1.0, 2.0, 3.0 + number]), 0.1), ABOUT)
    (path,) = (tmp_path / "running").glob("*.rows")
    path.write_bytes(path.read_bytes()[:-1])
    assert list(memo(tmp_path).rows) == [b"key----0"]


def test_an_export_holds_every_row_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    writer = memo(tmp_path)
    rows = {bytes([i] * 8): rng.integers(0, 65536, 5).astype(np.uint16) for i in range(40)}
    for key, row in rows.items():
        writer.put(key, row, ABOUT)
    writer.export()
    for path in (tmp_path / "running").iterdir():
        path.unlink()
    shipped = memo(tmp_path)
    assert shipped.about == ABOUT
    assert shipped.rows.keys() == rows.keys()
    assert all((shipped.rows[key] == row).all() for key, row in rows.items())


def test_an_empty_memo_has_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(MemoError, match="nothing to export"):
        memo(tmp_path).export()


def test_answers_of_other_weights_are_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "shipped.memo.xz", ABOUT, {b"12345678": failure(5)})
    found = memo(tmp_path)
    other = About("family", "others", ABOUT.sizes)
    with pytest.raises(MemoError, match="other weights"):
        found.put(b"87654321", failure(5), other)


def test_answers_of_a_family_defined_anew_are_not_read(tmp_path: Path) -> None:
    memo(tmp_path).put(b"12345678", failure(5), ABOUT)
    memo(tmp_path).export()
    assert len(memo(tmp_path, "another")) == 0
    anew = memo(tmp_path, "another")
    about = About("another", "weights", ABOUT.sizes)
    anew.put(b"87654321", failure(5), about)
    assert list(memo(tmp_path, "another").rows) == [b"87654321"]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    import lzma

    path = tmp_path / "x.memo.xz"
    path.write_bytes(lzma.compress(b"something"))
    with pytest.raises(MemoError, match="no memo"):
        read_file(path)

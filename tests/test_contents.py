"""A source that changes while a run goes on is noticed by its content."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from mergekit_mo.archive import Archive
from mergekit_mo.contents import SourceError, Watch, contents, read_contents
from mergekit_mo.events import Finished
from mergekit_mo.problems import UserError
from mergekit_mo.trial import Measurement, Outcome
from tests.stubbed import stubbed


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    return folder


def rewrite(path: Path, content: bytes) -> None:
    """Writes a file as a later process would."""
    later = path.stat().st_mtime_ns + 10**9
    path.write_bytes(content)
    os.utime(path, ns=(later, later))


def test_only_folders_have_contents_and_they_are_kept_as_json(source: Path) -> None:
    found = contents([str(source), "org/name", f"{source}+org/lora"])
    assert [*found] == [str(source)]
    assert read_contents({k: v.plain() for k, v in found.items()}) == found


def test_an_unchanged_folder_is_not_read_again(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents([str(source)])
    monkeypatch.setattr(Path, "open", None)
    assert contents([str(source)], before) == before


def test_one_changed_byte_is_noticed_and_the_way_out_told(source: Path) -> None:
    watch = Watch(contents([str(source)]))
    assert not watch.touched()
    watch.check()
    weights = source / "model.safetensors"
    rewrite(weights, b"Weights" + weights.read_bytes()[7:])
    assert watch.touched()
    with pytest.raises(SourceError, match=r"model is not what .* \(model\.safetensors\): put it"):
        watch.check()
    assert watch.touched(), "it stays changed"


def test_what_is_put_back_or_only_touched_is_the_same(source: Path) -> None:
    watch = Watch(contents([str(source)]))
    weights = source / "model.safetensors"
    rewrite(weights, weights.read_bytes())
    assert watch.touched()
    watch.check()
    assert not watch.touched()
    (source / "README.md").write_text("of no meaning for a merge")
    assert not watch.touched()


@pytest.mark.parametrize("how", ["gone", "more"])
def test_files_that_come_or_go_are_changes(source: Path, how: str) -> None:
    watch = Watch(contents([str(source)]))
    if how == "gone":
        shutil.rmtree(source)
    else:
        (source / "tokenizer.json").write_text("{}")
    with pytest.raises(SourceError):
        watch.check()


def test_a_source_that_changes_during_a_merge_fails_the_trial_and_nothing_of_it_is_kept(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mergekit_mo.evaluate import Evaluator, Job

    dropped: list[str] = []

    class Reader:
        def anew(self) -> Reader:
            dropped.append("what was read")
            return self

    def merging(*_: object) -> Outcome:
        rewrite(source / "model.safetensors", b"other weights")
        return Outcome({"quiz": Measurement(0.9)}, {}, "abc", None, 1.0)

    monkeypatch.setattr(Evaluator, "_evaluate", merging)
    watch, harness = Watch(contents([str(source)])), SimpleNamespace(tasks={})
    evaluator = Evaluator(Reader(), harness, {}, None, watch=watch)  # type: ignore[arg-type]
    found = evaluator(Job(0, {}))
    assert "is not what it was when the run began" in (found.error or "")
    assert found.scores == {}
    assert dropped


def test_a_run_does_not_go_on_with_other_sources(source: Path, tmp_path: Path) -> None:
    from mergekit_mo import loop

    recipe = tmp_path / "stub.yaml"
    from tests.stubbed import RECIPE

    recipe.write_text(RECIPE.replace("a/one", str(source)))
    out = tmp_path / "run"
    search = loop.search(stubbed(tmp_path, budget=2), out)
    assert any(isinstance(event, Finished) for event in (next(search), next(search)))
    search.close()
    with Archive.open(out, read_only=True) as archive:
        assert [*archive.fact("contents")] == [str(source)]
    weights = source / "model.safetensors"
    whole = weights.read_bytes()
    rewrite(weights, whole[:-1])
    with pytest.raises(UserError, match=r"not what it was when the run in .* began: put"):
        list(loop.search(stubbed(tmp_path, budget=2), out, resume=True))
    rewrite(weights, whole)
    list(loop.search(stubbed(tmp_path, budget=2), out, resume=True))

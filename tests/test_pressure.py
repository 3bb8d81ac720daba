"""Out of memory, logits that are no numbers, sources that change: trials fail with a reason."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from mergekit_mo import loop, preflight
from mergekit_mo.answers import Answers
from mergekit_mo.archive import Archive
from mergekit_mo.evaluate import Evaluator, Job, check_answers, check_logits, out_of_memory
from mergekit_mo.events import Finished, Warned
from mergekit_mo.merging import Merger, as_it_is
from tests.toy import FLAGS, Toy

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory")


@pytest.fixture(scope="module")
def evaluator(toy: Toy) -> Evaluator:
    return preflight.prepare(toy.recipe("pressure"), FLAGS).evaluator()


@pytest.fixture
def job(toy: Toy) -> Job:
    return Job(0, as_it_is(str(toy.folder / "models" / "one")))


@pytest.mark.parametrize("error", [CUDA, CPU, MemoryError()])
def test_running_out_of_memory_is_recognised(error: BaseException) -> None:
    assert out_of_memory(error)
    assert not out_of_memory(RuntimeError("shapes differ"))
    assert not out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize("error", [CUDA, CPU])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(
    evaluator: Evaluator, job: Job, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    whole = evaluator(job)
    kind: Any = type(evaluator.harness.backend)
    respond, sizes = kind.respond, []

    def scarce(self: Any, *rest: Any) -> Any:
        sizes.append(self.batch_size)
        if self.batch_size > 2:
            raise error
        return respond(self, *rest)

    monkeypatch.setattr(kind, "respond", scarce)
    monkeypatch.setattr(evaluator.harness, "backend", kind(8))
    found = evaluator(job)
    assert sizes[:3] == [8, 4, 2]
    assert found.error is None
    assert found.note == "out of memory: 2 prompts are run together from now on"
    for name, score in whole.scores.items():
        assert found.scores[name].value == pytest.approx(score.value, rel=1e-5)
    sizes.clear()
    assert evaluator(job).note is None
    assert set(sizes) == {2}


def test_a_trial_fails_where_one_prompt_alone_does_not_fit(
    evaluator: Evaluator, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: Any = type(evaluator.harness.backend)

    def scarce(*_: Any) -> Any:
        raise CUDA

    before = evaluator(job)
    with monkeypatch.context() as patch:
        patch.setattr(kind, "respond", scarce)
        found = evaluator(job)
        assert found.error == "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
        assert found.scores == {}
    monkeypatch.setattr(evaluator.harness, "backend", kind(8))
    assert evaluator(job).scores == before.scores


def test_a_merge_that_does_not_fit_fails_and_leaves_nothing_behind(
    evaluator: Evaluator, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = evaluator(job)
    merger = evaluator.merger

    def scarce(*_: Any) -> Any:
        raise CPU

    monkeypatch.setattr(Merger, "_run", scarce)
    assert "can't allocate memory" in (evaluator(job).error or "")
    assert evaluator.merger is not merger, "the model that stood in memory has been let go"
    monkeypatch.undo()
    assert evaluator(job).digest == before.digest


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_fail_the_trial(
    evaluator: Evaluator, job: Job, value: float
) -> None:
    merged = evaluator.merger.merge(job.config)
    check_logits(merged.model)
    head = merged.model.get_output_embeddings().weight
    row = head[3].clone()
    with torch.no_grad():
        head[3] = value
    with pytest.raises(ValueError, match="logits are not finite"):
        check_logits(merged.model)
    with torch.no_grad():
        head[3] = row  # what did not change is not merged again
    answers = Answers((0,), {"none": [[(value, True), (-1.0, False)]]}, {}, {})
    with pytest.raises(ValueError, match="quiz: the model's logits are not finite"):
        check_answers({"quiz": answers})
    check_answers({"quiz": Answers((0,), {"none": [[(-float("inf"), True)]]}, {}, {})})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("probed", [True, False])
def test_a_merge_of_broken_weights_has_no_score(
    evaluator: Evaluator, job: Job, monkeypatch: pytest.MonkeyPatch, value: float, probed: bool
) -> None:
    merge = evaluator.merger.merge

    def broken(*given: Any) -> Any:
        merged = merge(*given)
        head = merged.model.get_output_embeddings().weight
        whole.append((head, head[3].clone()))
        with torch.no_grad():
            head[3] = value
        return merged

    whole: list[Any] = []
    monkeypatch.setattr(evaluator.merger, "merge", broken)
    if not probed:  # the answers themselves are looked at as well
        monkeypatch.setattr("mergekit_mo.evaluate.check_logits", lambda _: None)
    found = evaluator(job)
    for head, row in whole:
        with torch.no_grad():
            head[3] = row  # what did not change is not merged again
    told = (
        "ValueError: the model's logits" if probed else r"ValueError: toy_\w+: the model's logits"
    )
    assert re.match(rf"{told} are not finite", found.error or "")
    assert found.scores == {}


def test_a_source_that_changes_during_a_run_fails_its_trials_until_it_is_put_back(
    tmp_path: Path,
) -> None:
    from tests.toy import make_toy

    own = make_toy(tmp_path / "toy")
    recipe, out = own.recipe("changing", budget=3), tmp_path / "run"
    weights = own.folder / "models" / "one" / "model.safetensors"
    whole = weights.read_bytes()

    def rewrite(content: bytes) -> None:
        later = weights.stat().st_mtime_ns + 10**9
        aside = weights.with_suffix(".new")
        aside.write_bytes(content)
        os.utime(aside, ns=(later, later))
        aside.replace(weights)

    done = 0
    for event in loop.search(preflight.prepare(recipe, FLAGS), out):
        if isinstance(event, Finished):
            done += 1
            if done == 3:  # the references
                rewrite(whole[:-4] + b"\1\2\3\4")
            if done == 4:
                assert "is not what it was when the run began" in (event.trial.error or "")
                rewrite(whole)
            else:
                assert event.trial.error is None
        assert not isinstance(event, Warned), event
    with Archive.open(out, read_only=True) as archive:
        assert [t.status for t in archive.candidates].count("failed") == 1

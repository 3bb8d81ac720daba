from __future__ import annotations

import pytest

from mergekit_mo.objectives import Objective, Subject
from mergekit_mo.objectives.latency import Latency
from mergekit_mo.testing.objectives import ObjectiveSuite


class TestConformance(ObjectiveSuite):
    @pytest.fixture
    def objective(self) -> Objective:
        return Latency(batch=2, prompt=8, new=4, repeats=3)


def test_it_counts_the_tokens_of_all_prompts_each_second(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([0.0, 9.0, *(t for i in range(3) for t in (10.0 * i, 10.0 * i + 2**i))])
    monkeypatch.setattr("mergekit_mo.objectives.latency.time.perf_counter", lambda: next(ticks))
    found = Latency(batch=2, prompt=8, new=4, repeats=3).score(subject)
    assert found.value == 4.0  # of 8, 4 and 2 tokens a second; the first run is not counted
    assert found.n is None
    assert found.stderr is not None
    assert found.stderr > 0


def test_it_writes_as_many_tokens_as_are_asked_for(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    generate = subject.model.generate

    def watched(tokens: object, **settings: object) -> object:
        found = generate(tokens, **settings)
        written.append(tuple(found.shape))
        return found

    monkeypatch.setattr(subject.model, "generate", watched)
    Latency(batch=3, prompt=8, new=5, repeats=3).score(subject)
    assert set(written) == {(3, 13)}


def test_a_size_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="repeats must be 3 or more, not 1"):
        Latency(repeats=1)

"""Long runs stay as quick and as small as they began; strangers' files by the thousand."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from numpy.random import SeedSequence

from mergekit_mo import loop
from mergekit_mo.archive import Archive
from mergekit_mo.events import Finished
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers.sobol import Sobol
from mergekit_mo.space import Candidate, Space
from tests import fuzzing
from tests.stubbed import Told, stepping, stubbed
from tests.toy import QLOGNEHVI


@dataclass(frozen=True)
class First(Optimizer):
    """An optimizer that learns for the first trials, and Sobol's points after them.

    Attributes:
        inner: who proposes first.
        until: how many trials that are.
        spent: CPU seconds of its asks.
    """

    inner: Optimizer
    until: int
    spent: list[float] = field(default_factory=list, compare=False)

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """Asks one or the other."""
        if len(archive.candidates) >= self.until:
            return Sobol().ask(space, archive, count, seed)
        start = time.process_time()
        found = self.inner.ask(space, archive, count, seed)
        self.spent.append(time.process_time() - start)
        return found


@dataclass(frozen=True)
class Soaked:
    """What a long search took.

    Attributes:
        seconds: CPU time of each trial, the learning optimizer's asks left out.
        memory: the process's peak after each trial, in MB.
    """

    seconds: Sequence[float]
    memory: Sequence[float]


def soak(folder: Path, trials: int, inner: Optimizer, learning: int) -> Soaked:
    """Searches with made-up scores and everything else as it is."""
    first = First(inner, learning)
    ready = replace(stubbed(folder, budget=trials), optimizer=Told(first))
    seconds: list[float] = []
    memory: list[float] = []
    with stepping(lambda _: None):
        before, asked = time.process_time(), 0.0
        for event in loop.search(ready, folder / "run"):
            if isinstance(event, Finished):
                now, own = time.process_time(), sum(first.spent)
                seconds.append(now - before - (own - asked))
                before, asked = now, own
                memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return Soaked(seconds, memory)


def opening(folder: Path) -> float:
    """CPU seconds to open a run's archive and compare all of it with its marks."""
    start = time.process_time()
    with Archive.open(folder / "run", read_only=True):
        return time.process_time() - start


@pytest.mark.soak
def test_a_trial_takes_as_long_as_trials_before_it(tmp_path: Path) -> None:
    found = soak(tmp_path, 400, Sobol(), 0)
    early, late = (statistics.median(found.seconds[i : i + 50]) for i in (75, 350))
    assert late < 1.5 * early
    assert opening(tmp_path) < 1


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_two_thousand_trials(tmp_path: Path) -> None:
    from mergekit_mo.optimizers.qlognehvi import QLogNEHVI

    settings: dict[str, Any] = QLOGNEHVI["qlognehvi"]
    found = soak(tmp_path, 2000, QLogNEHVI(**settings), 300)
    early, late = (statistics.median(found.seconds[i : i + 100]) for i in (150, 1900))
    opened = opening(tmp_path)
    grown = found.memory[-1] - found.memory[500]
    print(
        f"CPU a trial: {early * 1e3:.1f} ms at 200, {late * 1e3:.1f} ms at 2,000; "
        f"memory {found.memory[500]:.0f} MB at 500, {grown:+.0f} MB at 2,000; "
        f"opened in {opened:.2f} s"
    )
    assert late < 1.5 * early
    assert grown < 0.1 * found.memory[500]
    assert opened < 1


def test_a_few_strange_archives_are_read_or_refused_in_words() -> None:
    assert fuzzing.archives(300, seed=0)[0] == 300


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [fuzzing.recipes, fuzzing.archives])
def test_a_hundred_thousand_strange_files_are_read_or_refused_in_words(kind: Any) -> None:
    tried, read = kind(100_000, seed=1)
    print(f"{tried} {kind.__name__}, {read} of them read")
    assert 0 < read < tried == 100_000

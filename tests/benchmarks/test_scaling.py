"""The benchmark of several workers."""

from __future__ import annotations

import pytest

from benchmarks._analytic import Analytic
from benchmarks._runs import parse_optimizer
from benchmarks.scaling import run


@pytest.mark.parametrize("workers", [1, 8])
def test_workers_are_kept_busy_where_proposals_take_no_time(workers: int) -> None:
    _, sobol = parse_optimizer("sobol")
    found = run(Analytic("zdt1"), sobol, workers, seed=0, budget=40, ahead=None)
    assert found.busy > 0.99
    assert found.whole < 1
    assert found.hours == pytest.approx(40 / 60 / workers, rel=0.5)
    assert 0 < found.share < 1

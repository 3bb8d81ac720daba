"""The stated intervals hold about as often as they say: the shipped benchmark, in small."""

from __future__ import annotations

import pytest

from benchmarks.coverage import SHARES, coverage


@pytest.mark.parametrize("n", [64, 200])
def test_one_score_is_covered_19_times_in_20(n: int) -> None:
    for found in coverage(1000, shares=SHARES, sizes=[n], kinds=["one score"]):
        assert 0.93 <= found.held <= 0.97, found


def test_a_whole_front_and_all_its_gains_are_covered_at_once() -> None:
    kinds = ["a front's scores at once", "a front's gains at once"]
    for found in coverage(120, shares=[0.5, 0.97], sizes=[64], kinds=kinds):
        assert found.held >= 0.9, found  # of 120, where 2,000 are held to 0.93

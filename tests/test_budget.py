from __future__ import annotations

import pytest

from mergekit_mo.budget import UNBOUNDED, Budget, read_budget, span_text


@pytest.mark.parametrize(
    ("value", "budget"),
    [
        (30, Budget(30)),
        ("60", Budget(60)),
        ("8h", Budget(UNBOUNDED, 28800)),
        ("90m", Budget(UNBOUNDED, 5400)),
        ("2d", Budget(UNBOUNDED, 172800)),
        ("1h 30m", Budget(UNBOUNDED, 5400)),
        ("0.5h", Budget(UNBOUNDED, 1800)),
        ({"trials": 200, "time": "8h"}, Budget(200, 28800)),
        ({"time": "45s"}, Budget(UNBOUNDED, 45)),
        ({"trials": 7}, Budget(7)),
    ],
)
def test_a_budget_is_merges_or_time_or_both(value: object, budget: Budget) -> None:
    assert read_budget(value) == budget
    assert budget.counted == (budget.trials < UNBOUNDED)


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 1.5, True, None, "", "h", "8x", "0h", "8h later", "-8h", "0", [], {}),
        *({"trials": 0}, {"time": 8}, {"time": "soon"}, {"merges": 3}, {"trials": "8h"}),
    ],
)
def test_what_is_no_budget_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected a whole number of 1 or more, or a time"):
        read_budget(value)


def test_it_is_told_as_it_is_written() -> None:
    assert Budget(30).text() == "30 merges"
    assert Budget(UNBOUNDED, 28800).text() == "merges for 8h"
    assert Budget(200, 95400).text() == "200 merges, for 1d2h30m at most"
    assert span_text(0.2) == "0s"

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from mergekit_mo.archive import Archive
from mergekit_mo.space import Candidate

Type = Callable[..., Result]
Plant = Callable[..., Path]


def test_the_table_has_parents_and_front_and_both_splits(typed: Type, planted: Plant) -> None:
    run = planted()
    result = typed("front", run)
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["trial", "task", "↑", "hold-out", "other", "↑", "hold-out"]
    assert [row.split()[0] for row in rows] == ["one", "two", "6", "5", "4", "3", "2"]
    assert rows[2].split()[1:4] == ["1.0000", "[0.980,", "1.020]"]
    assert "5 of 6 merges on the front" in result.stderr
    assert f"mergekit-mo pick {run} --by knee" in result.stderr


def test_json_and_csv_hold_the_same(typed: Type, planted: Plant) -> None:
    run = planted()
    facts = json.loads(typed("front", run, "--json").stdout)
    rows = list(csv.DictReader(typed("front", run, "--csv").stdout.splitlines()))
    trials = [*facts["parents"], *facts["front"]]
    assert [int(row["trial"]) for row in rows] == [t["number"] for t in trials]
    for row, trial in zip(rows, trials, strict=True):
        assert float(row["task"]) == trial["scores"]["task"]["value"]
        assert float(row["holdout_other"]) == trial["holdout"]["other"]["value"]
    assert facts["hypervolume"]["front"] > facts["hypervolume"]["parents"] > 0
    assert typed("front", run, "--json", "--csv").exit_code == 2


def test_a_search_can_be_looked_at_while_it_runs(typed: Type, planted: Plant) -> None:
    run = planted()
    with Archive.open(run / "archive.db") as archive:
        archive.propose("candidate", [(Candidate((0.9,), "sobol"), {})])
        result = typed("front", run)
    assert result.exit_code == 0
    assert "5 of 7 merges on the front, 1 waiting" in result.stderr


def test_an_empty_front_shows_the_parents(typed: Type, planted: Plant) -> None:
    result = typed("front", planted([]))
    assert result.exit_code == 0
    assert [row.split()[0] for row in result.stdout.splitlines()] == ["trial", "one", "two"]
    assert "pick" not in result.stderr

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import _table, optimizers
from benchmarks._problem import Problem
from benchmarks._runs import Results, Run, parse_optimizer, run
from benchmarks._table import complete, effort, headline, lines

ROOT = Path(__file__).resolve().parents[2]


def planted(problem: str, optimizer: str, seed: int, *trace: float) -> Run:
    return Run(problem, optimizer, seed, trace, 0.5)


PLANTED = [
    planted("wren-global", "qlognehvi", 0, 0.2, 0.4, 0.8, 0.8),
    planted("wren-global", "qlognehvi", 1, 0.2, 0.4, 0.5, 0.6),
    planted("wren-global", "mm-mo", 0, 0.2, 0.8, 0.8, 0.9),
    planted("wren-global", "mm-mo", 1, 0.2, 0.4, 0.5, 0.6),
    planted("wren-global", "soup", 0, 0.4, 0.4, 0.4, 0.4),
    planted("owl-global", "qlognehvi", 0, 0.1, 0.2, 0.3, 0.4),
    planted("owl-global", "mm-mo", 0, 0.1, 0.4, 0.4, 0.4),
    planted("owl-global", "soup", 0, 0.1, 0.1, 0.1, 0.2),
]


def twice(problem: str, seed: int) -> float:
    """All of it is 2 for seed 0, and 1 for the others."""
    del problem
    return 1.0 if seed else 2.0


def test_a_small_run_is_finished_once_and_paired(tmp_path: Path) -> None:
    results = Results(tmp_path / "runs.jsonl")
    names, seeds = ["sobol", "{qlognehvi: {restarts: 2, raw_samples: 32}}"], [0]
    assert optimizers.work(["zdt1"], names, seeds, results, budget=14) == 2
    assert optimizers.work(["zdt1"], names, seeds, results, budget=14) == 0
    blind, informed = results.read()
    assert [len(r.trace) for r in (blind, informed)] == [14, 14]
    assert blind.trace[:10] == informed.trace[:10], "the first ten points are the same for both"
    assert list(informed.trace) == sorted(informed.trace)
    assert informed.trace[-1] > blind.trace[-1]
    assert informed.seconds is not None
    assert all(line.startswith("{") for line in results.path.read_text().splitlines())


def test_the_same_seed_gives_the_same_run() -> None:
    name, optimizer = parse_optimizer("random")
    problem = optimizers.problem("zdt1")
    first, again, other = (run(problem, name, optimizer, seed, 12) for seed in (0, 0, 1))
    assert first.trace == again.trace
    assert first.trace != other.trace


def test_what_is_missing_is_run_seed_by_seed() -> None:
    known = [planted("a", "x", 0, 1.0)]
    found = list(optimizers.missing(["a", "b"], ["x", "y"], [0, 1], known))
    assert found == [
        *[("a", "y", 0), ("b", "x", 0), ("b", "y", 0)],
        *[("a", "x", 1), ("a", "y", 1), ("b", "x", 1), ("b", "y", 1)],
    ]


def test_a_run_that_another_process_is_on_is_left_to_it(tmp_path: Path) -> None:
    key = ("zdt1", "sobol", 987)
    with optimizers._claimed(key) as free, optimizers._claimed(key) as second:
        assert free
        assert not second
        results = Results(tmp_path / "runs.jsonl")
        assert optimizers.work(["zdt1"], ["sobol"], [987], results, budget=4) == 0


def test_forgotten_runs_are_gone_and_no_others(tmp_path: Path) -> None:
    results = Results(tmp_path / "runs.jsonl")
    for each in PLANTED:
        results.append(each)
    assert results.forget([("wren-global", "soup", 0), ("never", "was", 0)]) == 1
    assert results.read() == [r for r in PLANTED if r.key != ("wren-global", "soup", 0)]


def test_a_line_that_a_killed_process_left_torn_is_skipped(tmp_path: Path) -> None:
    results = Results(tmp_path / "runs.jsonl")
    results.append(PLANTED[0])
    whole = results.path.read_bytes()
    results.path.write_bytes(whole + whole[:20])
    results.append(PLANTED[1])
    assert results.read() == PLANTED[:2]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("sobol", "sobol"),
        ("{qlognehvi: {restarts: 2}}", "{qlognehvi: {restarts: 2}}"),
        ("{nsga2: { population:   8 }}", "{nsga2: {population: 8}}"),
        ("{qlognehvi: }", "qlognehvi"),
    ],
)  # fmt: skip
def test_an_optimizer_has_one_name_however_it_is_written(given: str, wanted: str) -> None:
    name, optimizer = parse_optimizer(given)
    assert name == wanted
    assert parse_optimizer(name) == (name, optimizer)


@pytest.mark.parametrize("given", ["nothing", "{sobol: {colour: red}}", "[sobol]", "{a: 1, b: 2}"])
def test_an_optimizer_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"no optimizer|no setting|an optimizer is"):
        parse_optimizer(given)


def test_shares_are_of_what_is_known_for_a_seed() -> None:
    found = {(e.problem, e.optimizer): e for e in lines(PLANTED, twice)}
    line = found["wren-global", "mm-mo"]
    assert line.shares == {0: 0.45, 1: 0.6}
    assert line.traces[0] == [0.1, 0.4, 0.4, 0.45]
    assert line.seconds == 0.5


def test_effort_is_the_share_of_the_budget_up_to_the_rivals_median_end() -> None:
    whole = complete(lines(PLANTED, twice), ["wren-global"])
    # The rival ends at .4 and .6, the median is .5: ours reaches it never and after 3 of 4.
    found = effort(whole["mm-mo"], whole["qlognehvi"])
    assert found.value == pytest.approx((1 + 0.75) / 2)
    assert (found.low, found.high) == (0.75, 1.0)


def test_the_headline_is_of_optimizers_that_met_every_problem() -> None:
    every = lines(PLANTED, twice)
    problems = ["wren-global", "owl-global"]
    text = headline(every, problems, "mm-mo")
    # ours: mean of (.45, .6) and of (.2); the grid: mean of .2 and .1
    assert text.startswith("On 2 independently trained families, 4 real merges by mm-mo reach ")
    assert "reach 36.3 % (32.5 % to 40.0 %)" in text
    assert "a hand-tuner would run reaches 15.0 %" in text
    assert "no headline" in headline(every, problems, "nsga2")


def test_tables_and_picture_come_from_result_lines_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Known(Problem):
        def most(self, seed: int) -> float:
            return twice("", seed)

        references = score = None  # type: ignore[assignment]

    monkeypatch.setattr(optimizers, "problem", lambda _: Known())
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    picture = tmp_path / "picture.png"
    optimizers.report(PLANTED, ["wren-global", "owl-global"], "mm-mo", console, picture)
    text = console.export_text()
    assert "+0.025 (+0.000 to +0.050)" in text, "mm-mo minus qlognehvi on wren-global"
    assert "0.88 (0.75-1.00)" in text, "evaluations of mm-mo on wren-global"
    assert "On 2 independently trained families" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["run", "--problems", "zdt9"], "no problem is called 'zdt9'"),
        (["run", "--optimizers", "nothing"], "no optimizer is called 'nothing'"),
    ],
)
def test_a_wrong_name_ends_in_a_sentence(arguments: list[str], wanted: str) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "optimizers.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr


def test_shipped_results_can_be_read() -> None:
    for each in Results(optimizers.RESULTS).read():
        assert each.problem in optimizers.GROUPS["all"]
        assert each.trace
        assert json.dumps(each.trace)


def test_every_problem_belongs_to_one_table() -> None:
    assert set(optimizers.GROUPS["tuning"]) | set(optimizers.GROUPS["held-out"]) == set(
        optimizers.REAL
    )
    assert not set(optimizers.ANALYTIC) & set(optimizers.REAL)
    assert optimizers.ANALYTIC == tuple(_analytic_names())
    assert _table.RIVAL in {name for _, name, _ in (r.key for r in PLANTED)}


def _analytic_names() -> list[str]:
    from benchmarks._analytic import TASKS

    return list(TASKS)

"""What a search takes is foretold, refused where it is not there, and does not grow."""

from __future__ import annotations

import gc
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mergekit_mo import memory, preflight
from mergekit_mo.evaluate import Job
from mergekit_mo.memory import Forecast, Plans, forecast, free_memory, held_now, shortage
from mergekit_mo.methods import methods
from mergekit_mo.plan import plan_facts, plan_text
from mergekit_mo.problems import RecipeError
from mergekit_mo.sizes import Size
from tests.localised import ROOT
from tests.toy import FLAGS, Toy

SIZE = Size(10**9, 4 * 10**8, 8 * 10**9, model=2 * 10**9, group=4 * 10**8, download=8 * 10**9)
PLANS = Plans(methods=["task_arithmetic"])


def test_nearly_every_method_of_mergekit_has_its_factor() -> None:
    assert set(memory.FACTORS) <= set(methods())
    assert len(set(methods()) - set(memory.FACTORS)) <= 2
    assert max(memory.FACTORS.values()) <= memory.UNKNOWN


def test_a_forecast_is_the_model_and_what_merging_or_scoring_takes_above_it() -> None:
    found = forecast(SIZE, PLANS, held=10**9)
    factor = memory.FACTORS["task_arithmetic"]
    assert found.ram == 10**9 + memory._LATER + 2 * 10**9 + round(factor * 4 * 10**8)
    assert (found.gpu, found.download) == (0, 8 * 10**9)
    both = forecast(SIZE, replace(PLANS, methods=["task_arithmetic", "ties"]), held=10**9)
    ties = memory.FACTORS["ties"]
    assert both.ram - found.ram == pytest.approx((ties - factor) * 4 * 10**8, abs=2)


def test_what_makes_a_search_larger_makes_its_forecast_larger() -> None:
    alone = forecast(SIZE, PLANS, held=10**9)
    three = forecast(SIZE, replace(PLANS, workers=3), held=10**9)
    assert three.ram == 3 * (alone.ram - memory._LATER) + 10**9 + memory._LATER
    deeper = forecast(SIZE, replace(PLANS, growth=1.5), held=10**9)
    assert deeper.ram - alone.ram == 3 * 10**9  # the merge is kept, and the path is half larger
    coarse = forecast(SIZE, replace(PLANS, load_in="4bit"), held=10**9)
    assert 2 * 10**8 < coarse.ram - alone.ram < 2 * 10**9
    gpu = forecast(SIZE, replace(PLANS, gpu=True), held=10**9)
    assert gpu.gpu > 2 * 10**9
    assert gpu.ram < alone.ram
    assert forecast(SIZE, replace(PLANS, adapters=2)).disk - alone.disk == 4 * 10**9


def test_what_does_not_fit_is_told_with_both_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Forecast(ram=2 * 10**8, held=10**8, gpu=0, disk=1, download=0)
    assert shortage(small, None, tmp_path / "not" / "made" / "yet") == ("", "")
    large = replace(small, ram=10**15)
    monkeypatch.setattr(memory, "free_memory", lambda: 5 * 10**9)
    what, _ = shortage(large, None, tmp_path)
    assert what == "this search takes 1000000 GB of memory, and 5.10 GB are there"
    what, _ = shortage(replace(small, gpu=9 * 10**9), 8 * 10**9, tmp_path)
    assert what == "this search takes 9.00 GB on the GPU, and 8.00 GB are free"
    what, _ = shortage(replace(small, disk=10**16), None, tmp_path)
    assert what.startswith("this search writes 10000000 GB, and ")


def test_this_machine_tells_what_it_has() -> None:
    free = free_memory()
    assert free is None or free > 0
    assert held_now() > 10**6


def test_a_recipe_that_cannot_fit_is_refused_before_anything_is_merged(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = toy.recipe("cramped", objectives=["sparsity"])
    ready = preflight.prepare(recipe, FLAGS)
    assert ready.forecast is not None
    ram = ready.forecast.ram + ready.kept_orders()
    assert plan_facts(ready)["forecast"]["ram"] == ram
    assert f"takes: about {ram / 1e9:.2f} GB of memory, 0.00 GB of disk" in (plan_text(ready))
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    with pytest.raises(RecipeError, match=r"this search takes .* GB of memory, and .* are there"):
        preflight.prepare(recipe, FLAGS)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_200_evaluations_leave_no_memory_behind(toy: Toy) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells what a process holds")
    recipe = toy.recipe(
        "leaky", objectives=[{"task": "tasks/choice.yaml"}], evaluation={"limit": 2, "holdout": 0}
    )
    ready = preflight.prepare(recipe, FLAGS)
    evaluate = ready.evaluator()

    def run(times: int) -> int:
        for i in range(times):
            unit = tuple((0.1 + 0.003 * i + 0.2 * axis) % 1 for axis in range(ready.space.dim))
            outcome = evaluate(Job(i, ready.space.config(unit)))
            assert outcome.error is None
        gc.collect()
        return held_now()

    before = run(40)  # what is kept once is kept by then
    after = run(160)
    assert after < 1.01 * before


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_forecast_is_near_what_a_merge_takes() -> None:
    import json

    command = [sys.executable, str(ROOT / "benchmarks" / "memory.py"), "--models", "sharded"]
    done = subprocess.run(
        [*command, "--methods", "task_arithmetic", "ties"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert len(rows) == 2
    for row in rows:
        assert row["foretold"] == pytest.approx(row["peak"], rel=0.2)
        assert row["k"] <= memory.FACTORS[row["method"]]

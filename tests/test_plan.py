"""`--dry-run`: what a search would do and cost, told before it does anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from mergekit_mo import preflight
from mergekit_mo.plan import plan_facts, plan_text
from mergekit_mo.preflight import Ready
from tests.toy import FLAGS, Toy


@pytest.fixture(scope="module")
def ready(toy: Toy) -> Ready:
    return preflight.prepare(toy.recipe("plan", budget=10), FLAGS)


def test_the_facts_are_plain_json(ready: Ready) -> None:
    facts = plan_facts(ready)
    assert json.loads(json.dumps(facts)) == facts


def test_the_facts_tell_what_is_searched_and_what_it_costs(ready: Ready) -> None:
    facts = plan_facts(ready)
    assert facts["dimension"] == 4
    assert facts["axes"][1] == {"name": "one density", "range": "0.1 to 1", "start": 0.6}
    assert facts["goals"] == [
        ["toy_choice", "maximize"], ["toy_bits", "minimize"], ["sparsity", "minimize"],
    ]  # fmt: skip
    assert (facts["optimizer"], facts["budget"]) == ("sobol", 10)
    assert [Path(name).name for name in facts["references"]] == ["base", "one", "two"]
    assert facts["items"] == {
        "toy_choice": {"search": 8, "holdout": 4}, "toy_bits": {"search": 8, "holdout": 4},
    }  # fmt: skip
    assert facts["merges"] == 13
    assert facts["answers"] == 13 * 16
    assert facts["answers_holdout_each"] == 8
    assert (facts["device"], facts["threads"]) == ("cpu", 1)


def test_the_size_is_that_of_the_models(ready: Ready, toy: Toy) -> None:
    facts = plan_facts(ready)
    files = [(toy.folder / "models" / m / "model.safetensors") for m in ("base", "one", "two")]
    on_disk = sum(path.stat().st_size for path in files)
    assert 0 <= on_disk - facts["checkpoint_bytes"] < 3 * 8192  # their headers
    assert facts["parameters"] * 4 * 3 == facts["checkpoint_bytes"]


def test_the_first_merges_are_shown_as_mergekit_takes_them(ready: Ready) -> None:
    from mergekit.config import MergeConfiguration

    text = plan_text(ready)
    assert "# the recipe's own values" in text
    assert "# the uniform mix" in text
    parts = text.partition("\n# the recipe's own values\n")[2].split("\n# the uniform mix\n")
    own, mix = (yaml.safe_load(part) for part in parts)
    assert own == plan_facts(ready)["first"][0]
    assert mix == plan_facts(ready)["first"][1]
    assert MergeConfiguration.model_validate(mix).merge_method == "ties"


def test_the_plan_reads_well(ready: Ready) -> None:
    lines = plan_text(ready).splitlines()
    assert lines[:5] == [
        "4 dimensions:",
        "  one weight: 0 to 1, from 0.4",
        "  one density: 0.1 to 1, from 0.6",
        "  two weight[0]: 0 to 1, from 0.7",
        "  two weight[1]: 0 to 1, from 0.3",
    ]
    assert "  toy_bits: minimize" in lines
    assert "  toy_choice: 8 to search, 4 held out" in lines
    assert (
        "cost: 10 merges by sobol and 3 reference trials, 208 items answered; then "
        "8 held-out items for each reference and front member"
    ) in lines
    assert "on: cpu, 1 threads" in lines


def test_choices_and_logarithms_are_named(toy: Toy) -> None:
    models = [
        {
            "model": "models/one",
            "parameters": {"weight": {"value": 0.1, "low": 0.01, "high": 1, "log": True}},
        },
        {"model": "models/two", "parameters": {"weight": 0.5}},
    ]
    recipe = toy.recipe("named", models=models, merge_method=["ties", "task_arithmetic"])
    text = plan_text(preflight.prepare(recipe, FLAGS))
    assert "  method: ties or task_arithmetic, from ties" in text
    assert "  one weight: 0.01 to 1 (log), from 0.1" in text

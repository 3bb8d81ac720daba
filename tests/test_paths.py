"""A search over layers from the recipe to the model on disk, whichever command makes it."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from transformers import AutoModelForCausalLM

from mergekit_mo import export, loop, preflight
from mergekit_mo.archive import Archive
from mergekit_mo.commands.front import command as front_command
from mergekit_mo.commands.merge import command as merge_command
from mergekit_mo.commands.pick import command as pick_command
from mergekit_mo.digests import folder_digest
from mergekit_mo.events import Finished, Started, Warned
from mergekit_mo.layers import MERGE
from mergekit_mo.making import documents_of, layers_text, maker_of
from mergekit_mo.options import MergeFlags
from mergekit_mo.problems import UserError
from mergekit_mo.testing import untrained
from mergekit_mo.trial import Trial
from mergekit_mo.writing import write_model
from tests.toy import FLAGS, Toy, dump, make_tasks, run

WANDER = "tests.toy:Wander"
TASKS = [{"task": "tasks/choice.yaml"}, {"task": "tasks/bits.yaml"}]
RULES = {"skip": 1, "repeat": 1}
FIXED = [{"model": f"models/{name}", "parameters": {"weight": 0.5}} for name in ("one", "two")]


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Models of three layers, plain ones and ones whose layers have kinds."""
    folder = tmp_path_factory.mktemp("deep")
    for seed, name in enumerate(("base", "one", "two")):
        untrained(folder / "models" / name, layers=3, hidden=32, seed=seed)
        untrained(folder / "kinds" / name, "qwen2", layers=3, seed=seed, dtype="bfloat16")
    make_tasks(folder / "tasks")
    return Toy(folder)


def searched(deep: Toy, out: Path, method: str = "ties", **changes: Any) -> Path:
    settings: dict[str, Any] = {"optimizer": WANDER, "layers": RULES, "objectives": TASKS}
    settings |= {"budget": 6} | changes
    run(deep.recipe(out.name, method=method, **settings), out)
    return out


@pytest.fixture(scope="module")
def out(deep: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search over paths and nothing else."""
    return searched(deep, tmp_path_factory.mktemp("paths") / "ties", models=FIXED)


def trials(folder: Path) -> tuple[Trial, ...]:
    with Archive.open(folder / loop.ARCHIVE, read_only=True) as archive:
        return archive.candidates


def test_a_recipe_without_holes_searches_its_layers(deep: Toy, out: Path) -> None:
    found = trials(out)
    assert [t.status for t in found] == ["done"] * 6
    assert [t.unit for t in found] == [()] * 6
    assert len({t.path for t in found}) == 6
    assert found[0].path == ((0, 0), (0, 1), (0, 2))
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        assert archive.layers is not None
        assert archive.layers.pool == (
            MERGE, *(str(deep.folder / "models" / name) for name in ("base", "one", "two")),
        )  # fmt: skip
        assert all(t.path and archive.layers.allowed(t.path) for t in found)
        assert archive.references[0].path is None


def test_every_trial_is_written_as_it_was_scored(out: Path, tmp_path: Path) -> None:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        for trial in archive.candidates:
            folder = tmp_path / str(trial.number)
            assert write_model(archive, trial, folder) == trial.digest == folder_digest(folder)
            text = (folder / "mergekit_config.yml").read_text()
            assert tuple(yaml.safe_load_all(text)) == documents_of(archive, trial)
            assert not list(tmp_path.glob(".*"))


def test_the_merge_command_writes_a_path(out: Path, tmp_path: Path) -> None:
    trial = trials(out)[-1]
    words = [str(out), str(trial.number), str(tmp_path / "model")]
    result = CliRunner().invoke(merge_command, words)
    assert result.exit_code == 0, result.output
    assert folder_digest(tmp_path / "model") == trial.digest


def test_a_path_that_gives_other_weights_is_not_written(out: Path, tmp_path: Path) -> None:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        one, other = archive.candidates[1:3]
        forged = replace(one, path=other.path)
        with pytest.raises(UserError, match="other weights than those that were scored"):
            write_model(archive, forged, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["ties", "dare_ties"])
def test_kinds_at_another_depth_are_written_by_our_own_command(
    method: str, deep: Toy, tmp_path: Path
) -> None:
    models = [
        {"model": f"kinds/{name}", "parameters": {"weight": 0.5, "density": 0.6}}
        for name in ("one", "two")
    ]
    head = {"base_model": "kinds/base", "dtype": "bfloat16"}
    folder = searched(deep, tmp_path / method, method=method, models=models, head=head)
    with Archive.open(folder / loop.ARCHIVE, read_only=True) as archive:
        makers = {t.number: maker_of(archive, t) for t in archive.candidates}
        for trial in archive.candidates:
            assert trial.path is not None
            deeper = len(trial.path) != 3
            assert (makers[trial.number] == "mergekit-mo merge") == deeper
            target = tmp_path / f"{method}-{trial.number}"
            assert write_model(archive, trial, target) == folder_digest(target)
            texts = [path.read_text() for path in target.glob("*.json")]
            assert not [text for text in texts if str(tmp_path) in text]
            config = AutoModelForCausalLM.from_pretrained(target).config
            assert config.num_hidden_layers == len(config.layer_types) == len(trial.path)
        assert "mergekit-mo merge" in makers.values()
    for path in (folder / "front").glob("*.yaml"):
        assert f"  {makers[int(path.stem)]} " in path.read_text()


def test_a_search_over_paths_resumes_to_the_same_trials(deep: Toy, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"optimizer": WANDER, "layers": RULES, "objectives": TASKS}
    settings["budget"] = 5
    recipe = deep.recipe("torn", **settings)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    run(recipe, whole)
    search = loop.search(preflight.prepare(recipe, FLAGS), torn)
    for event in search:
        if isinstance(event, Finished) and event.trial.number == 5:
            break
    search.close()
    run(recipe, torn, resume=True)
    assert dump(torn) == dump(whole)
    assert len({t.path for t in trials(whole)}) == 4  # two starts share the straight one


def test_other_rules_for_layers_are_another_search(deep: Toy, out: Path) -> None:
    settings: dict[str, Any] = {"optimizer": WANDER, "objectives": TASKS, "models": FIXED}
    settings["budget"] = 6
    recipe = deep.recipe("ties", layers={"skip": 1}, **settings)
    with pytest.raises(UserError, match=r"other settings: search\.layers, layers\.high"):
        run(recipe, out, resume=True)


def test_an_optimizer_of_holes_keeps_the_straight_path_and_says_so(
    deep: Toy, tmp_path: Path
) -> None:
    recipe = deep.recipe("straight", layers=RULES, objectives=TASKS, budget=3)
    events = run(recipe, tmp_path / "walked")
    plain = run(deep.recipe("plain", objectives=TASKS, budget=3), tmp_path / "plain")
    assert isinstance(events[0], Started)
    (warning,) = (e.message for e in events if isinstance(e, Warned))
    assert warning == "sobol leaves layers alone: every candidate keeps the straight path"
    assert not [e for e in plain if isinstance(e, Warned)]
    walked, straight = trials(tmp_path / "walked"), trials(tmp_path / "plain")
    assert {t.path for t in walked} == {((0, 0), (0, 1), (0, 2))}
    assert [t.digest for t in walked] == [t.digest for t in straight]
    assert [t.scores for t in walked] == [t.scores for t in straight]


def test_models_of_another_depth_may_lend_layers(deep: Toy, tmp_path: Path) -> None:
    untrained(deep.folder / "models" / "long", layers=5, hidden=32, seed=7)
    spans = [
        {"model": f"models/{name}", "layer_range": [0, 3], "parameters": {"weight": 0.5}}
        for name in ("one", "long")
    ]
    head = {"slices": [{"sources": spans}]}
    settings: dict[str, Any] = {
        "optimizer": WANDER, "objectives": TASKS, "budget": 5, "method": "linear",
        "drop": ("models", "base_model"),
        "layers": {"skip": 1, "length": {"low": 2, "high": 5}},
    }  # fmt: skip
    folder = tmp_path / "long"
    run(deep.recipe("long", head=head, **settings), folder)
    with Archive.open(folder / loop.ARCHIVE, read_only=True) as archive:
        assert archive.layers is not None
        assert archive.layers.depths == (3, 3, 5)
        assert archive.layers.merge_depth == 3
        for trial in archive.candidates:
            assert trial.status == "done"
            assert write_model(archive, trial, tmp_path / str(trial.number)) == trial.digest


def test_tables_and_headers_tell_the_path(out: Path) -> None:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        front = archive.front()
        texts = {t.number: layers_text(archive, t) for t in archive.candidates}
    assert texts[3] == "merge 0-2"
    rows = {row["trial"]: row for row in csv.DictReader((out / "trials.csv").open())}
    assert {n: rows[str(n)]["path"] for n in texts} == texts
    assert rows["0"]["path"] == ""
    table = CliRunner().invoke(front_command, [str(out)]).stdout.splitlines()
    assert table[0].split()[-1] == "layers"
    facts = json.loads(CliRunner().invoke(front_command, [str(out), "--json"]).stdout)
    assert {t["number"]: t["path"] for t in facts["front"]} == {
        t.number: texts[t.number] for t in front
    }
    for trial in front:
        text = (out / "front" / f"{trial.number:03d}.yaml").read_text()
        assert f"# Layers: {texts[trial.number]}; all else is the merge's.\n" in text
        assert any(line.endswith(texts[trial.number]) for line in table)
        picked = CliRunner().invoke(pick_command, [str(out), "--trial", str(trial.number)])
        assert picked.stdout == text
        assert f"  layers: {texts[trial.number]}\n" in picked.stderr


def test_the_table_at_the_end_tells_the_path(out: Path) -> None:
    from rich.console import Console

    from mergekit_mo.console import trial_table

    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        front = list(archive.front())
        screen = Console(width=200, record=True, file=io.StringIO())
        screen.print(trial_table(archive, front, walked=True))
        rows = [line.rstrip() for line in screen.export_text().splitlines()]
        assert rows[0].endswith("layers")
        for trial in front:
            assert any(row.endswith(layers_text(archive, trial)) for row in rows)


def test_pick_gives_what_makes_the_model_where_no_file_does(out: Path) -> None:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        front = archive.front()
        trial = next(t for t in archive.candidates if t not in front)
        documents = documents_of(archive, trial)
    words = [str(out), "--trial", str(trial.number)]
    picked = CliRunner().invoke(pick_command, words)
    assert tuple(yaml.safe_load_all(picked.stdout)) == documents
    facts = json.loads(CliRunner().invoke(pick_command, [*words, "--json"]).stdout)
    assert facts["config"] == documents[0]
    assert facts["maker"] == "mergekit-yaml"
    assert facts["path"]


def test_the_plan_counts_the_paths(deep: Toy) -> None:
    from mergekit_mo.plan import plan_text

    settings: Mapping[str, Any] = {"optimizer": WANDER, "objectives": TASKS}
    ready = preflight.prepare(deep.recipe("plan", layers={}, **settings), MergeFlags(device="cpu"))
    assert "layers: 64 paths of 3 layers, from merge 0-2" in plan_text(ready)


def header_command(path: Path) -> list[str]:
    """The words of the line that makes the model."""
    lines = [line[4:] for line in path.read_text().splitlines() if line.startswith("#   merge")]
    return shlex.split(lines[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "expected"), [("ties", "mergekit-yaml"), ("dare_ties", "mergekit-multi")]
)
def test_the_headers_command_makes_the_model_in_a_process_of_its_own(
    method: str, expected: str, deep: Toy, tmp_path: Path
) -> None:
    out = searched(deep, tmp_path / method, method=method, budget=5)
    recipe = deep.folder / f"{method}.yaml"
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        trial = next(t for t in archive.candidates if {0} < {member for member, _ in t.path or ()})
        assert maker_of(archive, trial) == expected
        path = out / "front" / f"{trial.number:03d}.yaml"
        ready = preflight.prepare(recipe, FLAGS)
        path.write_text(export.front_text(archive, ready, trial, path), encoding="utf-8")
    words = header_command(path)
    assert words[0] == expected
    tool = str(Path(sys.executable).with_name(words[0]))
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [tool, *words[1:]], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    model = out / "models" / f"{trial.number:03d}"
    assert folder_digest(model) == trial.digest

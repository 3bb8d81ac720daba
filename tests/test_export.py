"""What a finished search leaves: YAMLs whose headers keep their word, and tables."""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from mergekit_mo import export, loop, preflight
from mergekit_mo.archive import Archive
from mergekit_mo.digests import folder_digest
from mergekit_mo.events import Ended
from mergekit_mo.intervals import text as figure
from mergekit_mo.options import MergeFlags
from mergekit_mo.preflight import Ready
from mergekit_mo.recipe import load_recipe
from mergekit_mo.space import Space
from mergekit_mo.trial import Goal, Measurement, Trial
from tests.toy import FLAGS, Toy, make_toy, run

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Models, tasks and recipes in a folder that a shell would take apart."""
    return make_toy(tmp_path_factory.mktemp("export") / "Jo's toys")


@pytest.fixture(scope="module")
def recipe(awkward: Toy) -> Path:
    """A random method, whose masks depend on the seed."""
    return awkward.recipe("dare", method="dare_ties", budget=4)


@pytest.fixture(scope="module")
def out(recipe: Path) -> Path:
    """The folder of a finished run."""
    folder = recipe.parent / 'a run, of "dare"'
    run(recipe, folder)
    return folder


@pytest.fixture(scope="module")
def ready(recipe: Path) -> Ready:
    return preflight.prepare(recipe, FLAGS)


def front_of(out: Path) -> list[Trial]:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        return list(archive.front())


def header(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line[2:] for line in lines if line.startswith("#")]


def command(path: Path, begin: str) -> str:
    """The command of a header that contains some words."""
    (line,) = (line for line in header(path) if line.startswith("  ") and begin in line)
    return line.strip()


def shell(line: str, cwd: Path) -> None:
    """Runs a line as a user would, with our programs within reach."""
    env = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        ["bash", "-c", line], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def merged(out: Path, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """The first of the front, made by the line in its header in a process of its own."""
    trial = front_of(out)[0]
    path = out / "front" / f"{trial.number:03d}.yaml"
    shell(command(path, "mergekit-yaml"), tmp_path_factory.mktemp("elsewhere"))
    return trial


@pytest.mark.slow
def test_mergekit_yaml_makes_the_model_that_was_scored(out: Path, merged: Trial) -> None:
    assert merged.digest == folder_digest(out / "models" / f"{merged.number:03d}")


@pytest.mark.slow
def test_lm_eval_gives_the_scores_again(out: Path, merged: Trial, tmp_path: Path) -> None:
    line = command(out / "front" / f"{merged.number:03d}.yaml", "tasks/bits.yaml")
    shell(f"{line} --output_path {tmp_path}/results.json", tmp_path)
    (path,) = tmp_path.glob("results*.json")
    found = json.loads(path.read_text())["results"]["toy_bits"]
    known = merged.scores["toy_bits"]
    assert found["sample_len"] == known.n == 8
    assert found["bits_per_byte,none"] == pytest.approx(known.value, abs=1e-6)


def test_every_member_of_the_front_has_its_own_merge(out: Path) -> None:
    front = front_of(out)
    assert {p.name for p in (out / "front").iterdir()} == {f"{t.number:03d}.yaml" for t in front}
    assert len({t.digest for t in front}) == len(front) > 1


def test_a_front_file_is_a_plain_mergekit_configuration(out: Path) -> None:
    from mergekit.config import MergeConfiguration

    for trial in front_of(out):
        text = (out / "front" / f"{trial.number:03d}.yaml").read_text(encoding="utf-8")
        tree = yaml.safe_load(text)
        assert tree == trial.config
        merge = MergeConfiguration.model_validate(tree)
        assert merge.merge_method == "dare_ties"
        assert "search" not in tree


def test_a_header_has_the_scores_of_both_splits(out: Path) -> None:
    for trial in front_of(out):
        lines = header(out / "front" / f"{trial.number:03d}.yaml")
        assert lines[0] == f"Trial {trial.number} of {out.name}, proposed by {trial.origin}."
        assert lines[2].split() == ["search", "hold-out"]
        rows = {line.split()[0]: line for line in lines[3:6]}
        for goal, m in trial.scores.items():
            assert figure(m) in rows[goal]
            assert figure(trial.holdout[goal]) in rows[goal]
        assert rows["toy_choice"].endswith("better up")
        assert rows["toy_bits"].endswith("better down")
        assert f"  sha256 of its tensors: {trial.digest}" in lines


def test_paths_come_through_the_shell(out: Path, awkward: Toy) -> None:
    path = out / "front" / f"{front_of(out)[0].number:03d}.yaml"
    words = shlex.split(command(path, "mergekit-yaml"))
    number = path.stem
    assert words == [
        "mergekit-yaml", str(path), str(out / "models" / number), "--random-seed", "0", "-j", "1",
    ]  # fmt: skip
    words = shlex.split(command(path, "tasks/choice.yaml"))
    assert words[:4] == ["cd", str(awkward.folder / "tasks"), "&&", "lm_eval"]
    arguments = json.loads(words[words.index("--model_args") + 1])
    assert arguments == {"pretrained": str(out / "models" / number)}
    assert words[words.index("--tasks") + 1] == str(awkward.folder / "tasks" / "choice.yaml")
    assert words[words.index("--samples") + 1] == str(out / "items" / "search.json")


def scored_again(
    toy: Toy, tmp_path: Path, evaluation: dict[str, Any], flags: MergeFlags = FLAGS
) -> tuple[list[str], str]:
    """A header for trial 7, without a search, and its line for one task."""
    recipe = toy.recipe("header", evaluation=evaluation, objectives=[{"task": "tasks/bits.yaml"}])
    ready = preflight.prepare(recipe, flags)
    path = tmp_path / "plain" / "front" / "007.yaml"
    with Archive.create(":memory:", ready.goals, {"threads": 3}) as archive:
        trial = Trial(7, "candidate", "sobol", "done", {}, digest="abc")
        text = export.front_text(archive, ready, trial, path)
    lines = [line[2:] for line in text.splitlines() if line.startswith("#")]
    return lines, next(line for line in lines if "lm_eval run" in line)


def test_a_plain_path_is_written_plainly(toy: Toy, tmp_path: Path) -> None:
    lines, line = scored_again(toy, tmp_path, {"limit": 8, "holdout": 4})
    model = tmp_path / "plain" / "models" / "007"
    assert line == (
        f"  cd {toy.folder}/tasks && lm_eval run --model hf --model_args pretrained={model} "
        f"--tasks {toy.folder}/tasks/bits.yaml --device cpu --batch_size 16 "
        f"--samples {tmp_path}/plain/items/search.json"
    )
    assert "Score it again (toy_bits, the 8 search items):" in lines


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a/task.yaml", "/a/task.yaml"),
        ("/my tasks/task.yaml", "/my tasks/task.yaml"),
        ("/a, b/task.yaml", "task.yaml"),
        ("/a[1]/task*.yaml", "/a[[]1]/task[*].yaml"),
    ],
)
def test_a_task_is_named_as_lm_eval_finds_it(path: str, words: str) -> None:
    assert export._task_words(Path(path)) == words


def test_few_shot_items_are_scored_by_asking_all(toy: Toy, tmp_path: Path) -> None:
    evaluation = {"limit": 8, "holdout": 4, "num_fewshot": 2}
    lines, line = scored_again(toy, tmp_path, evaluation)
    text = "\n".join(lines)
    assert (
        "Score it again (toy_bits: lm-eval's prompts of few-shot items depend on the\n"
        "items that are asked, so ask all; the 8 search items are among its samples):"
    ) in text
    assert "--num_fewshot 2" in line
    assert "--samples" not in line


def test_where_all_items_were_asked_none_are_listed(toy: Toy, tmp_path: Path) -> None:
    lines, line = scored_again(toy, tmp_path, {"holdout": 0})
    assert "Score it again (toy_bits, all 40 items):" in lines
    assert "--samples" not in line


def test_a_header_says_how_the_model_was_asked(toy: Toy, tmp_path: Path) -> None:
    evaluation = {"holdout": 0, "max_length": 64, "system_instruction": "Don't joke"}
    _, line = scored_again(toy, tmp_path, evaluation)
    words = shlex.split(line)
    assert words[words.index("--system_instruction") + 1] == "Don't joke"
    assert words[words.index("--model_args") + 1].endswith(",max_length=64")


def test_a_header_repeats_the_flags_that_matter(toy: Toy, tmp_path: Path) -> None:
    flags = MergeFlags(device="cpu", random_seed=5, num_threads=1, allow_crimes=True)
    lines, _ = scored_again(toy, tmp_path, {"holdout": 0}, flags)
    (line,) = (line for line in lines if "mergekit-yaml" in line)
    assert line.endswith("--random-seed 5 -j 3 --allow-crimes")


def test_a_generative_task_is_scored_again_with_all_that_was_set(toy: Toy, tmp_path: Path) -> None:
    (toy.folder / "tasks" / "write.yaml").write_text(
        "task: toy_write\ndataset_path: json\n"
        "dataset_kwargs: {data_files: {validation: items.json}}\nvalidation_split: validation\n"
        "output_type: generate_until\ndoc_to_text: '{{question}}'\ndoc_to_target: 'the fox'\n"
        'generation_kwargs: {until: ["\\n"], do_sample: true, temperature: 0.7}\n'
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
    )
    recipe = toy.recipe(
        "writes",
        objectives=[{"task": "tasks/write.yaml"}],
        evaluation={"holdout": 0, "gen_kwargs": {"max_gen_toks": 4, "until": ["it's, so"]}},
    )
    ready = preflight.prepare(recipe, FLAGS)
    with Archive.create(":memory:", ready.goals, {"threads": 1}) as archive:
        trial = Trial(7, "candidate", "sobol", "done", {})
        text = export.front_text(archive, ready, trial, tmp_path / "front" / "007.yaml")
    words = shlex.split(next(line for line in text.splitlines() if "lm_eval run" in line))
    assert json.loads(words[words.index("--gen_kwargs") + 1]) == {
        "until": ["it's, so"], "do_sample": False, "max_gen_toks": 4,
    }  # fmt: skip


def test_a_strange_name_stays_within_its_comment(toy: Toy, tmp_path: Path) -> None:
    name = "two\nlines: [\x1b\u2028"
    objective = {"task": "tasks/bits.yaml", "name": name}
    ready = preflight.prepare(toy.recipe("strange", objectives=[objective]), FLAGS)
    with Archive.create(":memory:", ready.goals, {"threads": 1}) as archive:
        trial = Trial(7, "candidate", "sobol", "done", {"dtype": "float32"})
        text = export.front_text(archive, ready, trial, tmp_path / "run" / "front" / "007.yaml")
    assert yaml.safe_load(text) == {"dtype": "float32"}
    assert "two?lines: [??" in text


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8", newline="")))


def _error_columns(goal: str) -> list[str]:
    return [goal, f"{goal}_stderr", f"{goal}_low", f"{goal}_high"]


def test_the_tables_have_the_documented_columns(out: Path) -> None:
    goals = ["toy_choice", "toy_bits", "sparsity"]
    both = [column for goal in goals for column in _error_columns(goal)]
    for name in ("front.csv", "trials.csv"):
        first = (out / name).read_text(encoding="utf-8").splitlines()[0].split(",")
        held = [f"holdout_{column}" for column in both]
        assert first == ["trial", "origin", "status", *both, *held, "seconds", "error", "stopped"]


def test_the_tables_hold_every_figure_in_full(out: Path) -> None:
    with Archive.open(out / loop.ARCHIVE, read_only=True) as archive:
        trials, front = archive.trials, archive.front()
    for name, known in (("trials.csv", trials), ("front.csv", front)):
        found = rows(out / name)
        assert [int(row["trial"]) for row in found] == [t.number for t in known]
        for row, trial in zip(found, known, strict=True):
            assert (row["origin"], row["status"]) == (trial.origin, trial.status)
            for goal, m in trial.scores.items():
                assert float(row[goal]) == m.value
                assert float(row[f"{goal}_stderr"]) == m.stderr
            for goal, m in trial.holdout.items():
                assert float(row[f"holdout_{goal}"]) == m.value


def test_the_lines_hold_every_trial_in_full(out: Path, ready: Ready) -> None:
    lines = (out / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    with Archive.open(out, read_only=True) as archive:
        trials, front = archive.trials, archive.front()
    assert [r["number"] for r in records] == [t.number for t in trials]
    assert [r["number"] for r in records if r["on_front"]] == [t.number for t in front]
    for record, trial in zip(records, trials, strict=True):
        known = json.loads(json.dumps(asdict(trial)))
        assert {key: record[key] for key in known} == known
        assert record.keys() - known.keys() == {"values", "on_front"}
        if trial.unit is None:
            assert record["values"] is None
        else:
            names = [axis.name for axis in ready.space.axes]
            assert record["values"] == dict(zip(names, ready.space.values(trial.unit), strict=True))


def test_holes_of_one_name_are_told_apart_by_their_places(awkward: Toy) -> None:
    hole = {"value": 0.5, "low": 0, "high": 1}
    models = [{"model": f"{owner}/one", "parameters": {"weight": hole}} for owner in ("ann", "bob")]
    space = Space(load_recipe(awkward.recipe("alike", models=models)).configuration)
    first = space.starts()[0]
    with Archive.memory([Goal("a", True)]) as archive:
        archive.propose("candidate", [(first, space.config(first.unit))])
        (record,) = map(json.loads, export.lines_text(archive, space).splitlines())
    assert record["values"] == {
        "one weight (models[0].parameters.weight)": 0.5,
        "one weight (models[1].parameters.weight)": 0.5,
    }


def test_what_is_not_known_is_an_empty_cell() -> None:
    goals = [Goal("a", True), Goal("b,c", False)]
    scores = {"a": Measurement(0.1), "b,c": Measurement(-2.5e-9, 0.0, 3)}
    trials = [
        Trial(0, "reference", "a/m", "done", {}, scores=scores, seconds=1.5),
        Trial(1, "candidate", "sobol", "failed", {}, error='no "room",\nnone'),
    ]
    with Archive.memory(goals) as archive:
        text = export.table_text(archive, trials)
    table = list(csv.reader(text.splitlines(keepends=True)))
    assert table[0][3:11] == [*_error_columns("a"), *_error_columns("b,c")]
    assert table[1][3:11] == ["0.1", "", "", "", "-2.5e-09", "0.0", "", ""]
    assert table[1][11:] == [*[""] * 8, "1.5", "", ""]
    assert table[2] == ["1", "sobol", "failed", *[""] * 17, 'no "room",\nnone', ""]


def test_files_of_trials_that_have_left_the_front_are_removed(
    recipe: Path, ready: Ready, out: Path
) -> None:
    stale = out / "front" / "099.yaml"
    stale.write_text("old")
    kept = out / "front" / "notes.txt"
    kept.write_text("the user's own")
    before = {p.name: p.read_text() for p in (out / "front").glob("0*.yaml") if p != stale}
    (*_, last) = loop.search(ready, out, resume=True)
    assert isinstance(last, Ended)
    assert not stale.exists()
    assert {p.name: p.read_text() for p in (out / "front").glob("*.yaml")} == before
    kept.unlink()


def test_configurations_are_written_as_mergekit_writes_them() -> None:
    config = {"t": [0.5, 1], "models": [{"model": "Größe", "parameters": {"weight": 1e-05}}]}
    text = export.config_text(config)
    assert text == ("t: [0.5, 1]\nmodels:\n- model: Größe\n  parameters:\n    weight: 1.0e-05\n")
    assert yaml.safe_load(text) == config


def test_what_a_recipe_names_by_an_anchor_is_written_out() -> None:
    shared = {"weight": 0.5}
    text = export.config_text({"models": [{"parameters": shared}, {"parameters": shared}]})
    assert "&" not in text
    assert text.count("weight: 0.5") == 2

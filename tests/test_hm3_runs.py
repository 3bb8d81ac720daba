"""A search by HM3 from recipe to models: what is cut goes on, what was scored is what is made."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mergekit_mo import loop, preflight
from mergekit_mo.archive import Archive
from mergekit_mo.digests import folder_digest
from mergekit_mo.evaluate import Job
from mergekit_mo.events import Finished
from mergekit_mo.making import maker_of
from mergekit_mo.merging import as_it_is
from mergekit_mo.optimizers import _hm3_paper as paper
from mergekit_mo.testing import untrained
from tests.test_resume import front, killed
from tests.toy import FLAGS, Toy, dump, make_tasks, run

QUICK = {
    "hm3": {
        "merges": 4, "merges_by": "qlognehvi", "initial": 3, "group": 3, "neighbours": 0.5,
        "copies": 2, "rounds": 1,
    }
}  # fmt: skip
"""Short, and with the policy: paths of its own and of the front's neighbours."""

PUBLISHED = {"hm3": {"variant": "paper", "preferences": 2}}
BUDGET = 16
GOALS = [{"task": "tasks/choice.yaml"}, {"task": "tasks/bits.yaml"}, "parameters"]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Qwen2 models with tied embeddings, whose configurations list their layers' kinds."""
    folder = tmp_path_factory.mktemp("hm3")
    for seed, name in enumerate(("base", "one", "two")):
        untrained(folder / "models" / name, "qwen2", layers=3, seed=seed, dtype="bfloat16")
    make_tasks(folder / "tasks")
    return Toy(folder)


def recipe(toy: Toy, name: str, optimizer: Any = QUICK, budget: int = BUDGET) -> Path:
    """Holes and paths."""
    weight = {"weight": {"value": 0.4, "low": 0, "high": 1}, "density": 0.6}
    return toy.recipe(
        name,
        method="dare_ties",
        models=[{"model": f"models/{n}", "parameters": weight} for n in ("one", "two")],
        head={"dtype": "bfloat16"},
        optimizer=optimizer,
        layers={"skip": 1, "repeat": 1, "length": {"low": 2, "high": 4}},
        objectives=GOALS,
        budget=budget,
        seed=1,
    )


@pytest.fixture(scope="module")
def out(kinds: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that nobody stopped; its recipe is `whole.yaml`."""
    folder = tmp_path_factory.mktemp("hm3") / "whole"
    run(recipe(kinds, "whole"), folder)
    return folder


def cut(path: Path, folder: Path, after: int) -> None:
    """Runs a search until so many candidates are scored."""
    search = loop.search(preflight.prepare(path, FLAGS), folder)
    scored = 0
    for event in search:
        scored += isinstance(event, Finished) and event.trial.role == "candidate"
        if scored == after:
            break
    search.close()


def test_both_levels_took_part(out: Path) -> None:
    with Archive.open(out, read_only=True) as archive:
        found = archive.candidates
        assert archive.layers is not None
        bent = [t for t in found if t.path != archive.layers.straight]
    assert {"recipe", "uniform", "sobol", "hm3"} == {t.origin for t in found}
    assert {t.origin for t in bent} == {"hm3"}
    assert len(found) == BUDGET


@pytest.mark.parametrize("after", [1, 9, 12])
def test_a_search_that_was_cut_equals_one_that_was_not(
    after: int, kinds: Toy, out: Path, tmp_path: Path
) -> None:
    path = kinds.folder / "whole.yaml"
    cut(path, tmp_path, after)
    run(path, tmp_path, resume=True)
    assert dump(tmp_path) == dump(out)


def test_the_published_learners_replay_what_the_archive_tells(kinds: Toy, tmp_path: Path) -> None:
    path = recipe(kinds, "published", PUBLISHED, budget=8)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    run(path, whole)
    paper.forget()
    cut(path, torn, 5)
    paper.forget()  # as another process begins
    run(path, torn, resume=True)
    assert dump(torn) == dump(whole)


@pytest.mark.slow
def test_a_search_that_was_killed_again_and_again_equals_one_that_was_not(
    kinds: Toy, out: Path, tmp_path: Path
) -> None:
    assert killed(kinds.folder / "whole.yaml", tmp_path / "torn", seed=2, events=9, most=4) == 4
    assert dump(tmp_path / "torn") == dump(out)
    assert front(tmp_path / "torn") == front(out)


def maker_line(path: Path) -> list[str]:
    """The words of a header's line that makes the model."""
    lines = [line[4:] for line in path.read_text().splitlines() if line.startswith("#   merge")]
    return shlex.split(lines[0])


@pytest.mark.slow
def test_a_front_member_of_each_kind_is_made_by_its_header_and_scores_the_same(
    kinds: Toy, out: Path
) -> None:
    with Archive.open(out, read_only=True) as archive:
        members = {maker_of(archive, trial): trial for trial in archive.front()}
    assert set(members) == {"mergekit-yaml", "mergekit-multi", "mergekit-mo merge"}
    ready = preflight.prepare(kinds.folder / "whole.yaml", FLAGS)
    evaluator = ready.evaluator()
    for maker, trial in members.items():
        words = maker_line(out / "front" / f"{trial.number:03d}.yaml")
        assert " ".join(words).startswith(maker)
        tool = str(Path(sys.executable).with_name(words[0]))
        done = subprocess.run(
            [tool, *words[1:]],
            cwd=out,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        model = out / "models" / f"{trial.number:03d}"
        assert folder_digest(model) == trial.digest
        again = evaluator(Job(0, as_it_is(str(model))))
        assert again.error is None
        assert again.scores == trial.scores

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from mergekit_mo.advising import suggest
from mergekit_mo.archive import Archive
from mergekit_mo.cli import main
from mergekit_mo.commands.advise import POLICY
from mergekit_mo.optimizers import _advice
from mergekit_mo.optimizers._advice import Adviser
from mergekit_mo.optimizers._policy import Policy
from mergekit_mo.testing.paths import RULES, path_space, walked
from tests.toy import Toy, run

TASKS = [{"task": "tasks/choice.yaml"}, {"task": "tasks/bits.yaml"}]


@pytest.fixture(scope="module")
def searched(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run over layers and holes."""
    recipe = toy.recipe(
        "advised", objectives=TASKS, layers={"repeat": 1}, optimizer="evolution", budget=12
    )
    out = tmp_path_factory.mktemp("advised") / "run"
    list(run(recipe, out))
    return out


def advise(out: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["advise", str(out), *words])


def test_a_suggestion_is_new_allowed_and_the_same_again() -> None:
    layers = replace(RULES["swaps"], merge_depth=4)
    space = path_space(layers)
    with walked(space, 20) as archive:
        archive.remember("layers", layers.facts())
        found, again = (suggest(archive, {"g0": 0.7, "g1": 0.3}) for _ in range(2))
        assert found.new is not None
        assert found.new == again.new
        assert found.new.path not in {t.path for t in archive.candidates}
        assert layers.allowed(found.new.path or ())
        assert found.known.trial in archive.front()


def test_where_the_policy_walks_what_was_tried_a_change_of_it_is_suggested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = replace(RULES["swaps"], merge_depth=4)
    with walked(path_space(layers), 20) as archive:
        archive.remember("layers", layers.facts())
        tried = [t.path for t in archive.candidates if t.path]

        def sample(self: Policy, preferences: torch.Tensor, units: torch.Tensor) -> Any:
            return SimpleNamespace(paths=tried[:1] * len(preferences))

        adviser = Adviser(layers, archive)
        monkeypatch.setattr(Policy, "sample", sample)
        found = adviser.advise(np.array([0.7, 0.3]))
    assert found is not None
    assert found.point[1] not in tried
    assert layers.allowed(found.point[1] or ())


def test_a_run_without_layers_has_the_front_to_offer() -> None:
    with walked(path_space(RULES["swaps"]), 20) as archive:
        found = suggest(archive, {"g0": 1.0})
    assert found.new is None
    assert "no layers" in found.why


def test_both_suggestions_are_yaml_and_the_new_one_says_that_it_is_unscored(
    searched: Path,
) -> None:
    done = advise(searched, "--prefer", "toy_choice=0.7,toy_bits=0.3")
    assert done.exit_code == 0, done.output
    known, _, new = done.stdout.partition("# new, unscored")
    assert known.startswith("# trial ")
    assert all(yaml.safe_load_all(known))
    assert list(yaml.safe_load_all(new))[-1]["slices"]
    assert "guessed, not measured" in done.stderr
    assert "--evaluate" in done.stderr


def test_what_the_policy_learnt_is_kept_until_the_run_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = replace(RULES["swaps"], merge_depth=4)
    space, wish = path_space(layers), {"g0": 0.7, "g1": 0.3}
    with walked(space, 12) as archive, walked(space, 13) as another:
        for known in (archive, another):
            known.remember("layers", layers.facts())
        first = suggest(archive, wish)
        assert first.trained
        stale = suggest(another, wish, first.checkpoint)
        torn = suggest(archive, wish, first.checkpoint[:-9])
        assert (stale.trained, torn.trained) == (True, True)
        assert (torn.new, torn.checkpoint) == (first.new, first.checkpoint)
        assert suggest(archive, wish, b"something else").new == first.new
        monkeypatch.setattr(_advice, "trained", None)  # whatever would train now fails
        again = suggest(archive, wish, first.checkpoint)
        assert (again.new, again.expected) == (first.new, first.expected)
        assert not again.trained
        assert suggest(archive, {"g0": 0.1, "g1": 0.9}, first.checkpoint).new is not None


def test_the_command_learns_once_and_says_nothing_else(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--prefer", "toy_choice=0.6,toy_bits=0.4", "--json")
    (searched / POLICY).unlink(missing_ok=True)
    first = advise(searched, *words)
    assert (searched / POLICY).is_file()
    monkeypatch.setattr(_advice, "trained", None)
    assert advise(searched, *words).stdout == first.stdout
    monkeypatch.undo()
    (searched / POLICY).unlink()
    searched.chmod(0o500)
    try:
        assert advise(searched, *words).stdout == first.stdout
    finally:
        searched.chmod(0o700)


def test_an_unknown_goal_ends_in_words(searched: Path) -> None:
    done = advise(searched, "--prefer", "toy_choise=1")
    assert done.exit_code == 2
    assert "did you mean 'toy_choice'" in done.stderr


def test_what_is_evaluated_joins_the_run(searched: Path) -> None:
    asked = advise(searched, "--prefer", "toy_choice=1", "--json")
    before = json.loads(asked.stdout)["new"]
    assert before["scored"] is False
    done = advise(searched, "--prefer", "toy_choice=1", "--evaluate", "--json")
    assert done.exit_code == 0, done.output
    new = json.loads(done.stdout)["new"]
    assert new["scored"] is True
    assert new["configs"] == before["configs"]
    assert set(new["scores"]) == {"toy_choice", "toy_bits"}
    with Archive.open(searched, read_only=True) as archive:
        trial = archive.candidates[-1]
    assert (trial.number, trial.origin, trial.status) == (new["trial"], "advise", "done")

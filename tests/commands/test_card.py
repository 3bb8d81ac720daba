"""`mergekit-mo card`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub import ModelCard

from mergekit_mo.commands.card import command
from tests.finished import finished
from tests.toy import Toy


@pytest.fixture(scope="module")
def run(toy: Toy) -> Path:
    return finished(toy)


def test_the_card_goes_to_standard_output_alone(run: Path) -> None:
    result = CliRunner().invoke(command, [str(run), "3", "--license", "mit"])
    assert result.exit_code == 0, result.output
    card = ModelCard(result.stdout)
    assert card.data["license"] == "mit"
    assert result.stdout.startswith("---\n")
    assert "# finished-003\n" in result.stdout
    assert f"mergekit-mo push {run} 3 OWNER/finished-003" in result.stderr


def test_an_unknown_licence_is_asked_for(run: Path) -> None:
    result = CliRunner().invoke(command, [str(run), "3"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "base: unknown" in result.stderr
    assert "--license" in result.stderr


def test_a_name_can_be_given_and_json_asked_for(run: Path) -> None:
    words = [str(run), "4", "--license", "mit", "--name", "best", "--json"]
    found = json.loads(CliRunner().invoke(command, words).stdout)
    assert (found["name"], found["license"], found["trial"]) == ("best", "mit", 4)
    assert "# best\n" in found["card"]

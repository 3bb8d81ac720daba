"""A crash leaves a report that can be sent as it is."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from mergekit_mo import crash

TOKEN = "hf_" + "aBcDeFgH" * 4


def broken(home: Path) -> Exception:
    """An error with a secret in its words and a path in somebody's home."""
    try:
        try:
            raise KeyError(f"{home}/models/a with {TOKEN}")
        except KeyError as cause:
            raise RuntimeError("the planner\nis at a loss") from cause
    except RuntimeError as error:
        return error


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home" / "jo"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("HF_TOKEN", "not-like-a-token-at-all")
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_report_says_what_was_typed_what_broke_where_and_with_which_versions(home: Path) -> None:
    argv = ["/x/bin/mergekit-mo", "search", f"{home}/my recipe.yaml"]
    path = crash.write_report(broken(home), argv)
    assert path is not None
    assert path.parent == Path()
    text = path.read_text(encoding="utf-8")
    assert "    mergekit-mo search '~/my recipe.yaml'\n" in text
    assert "    RuntimeError: the planner\n    is at a loss\n" in text
    assert "in broken" in text
    assert "The above exception was the direct cause" in text
    assert "    torch " in text
    assert "    python " in text


def test_a_report_holds_no_token_no_home_and_nothing_of_the_environment(home: Path) -> None:
    argv = ["mergekit-mo", "push", "--token", "s3cretword", "https://jo:pw@hub.example/x"]
    text = crash.report_text(broken(home), argv)
    for secret in (TOKEN, str(home), "s3cretword", "jo:pw", "not-like-a-token-at-all"):
        assert secret not in text
    assert "~/models/a" in text


@pytest.mark.parametrize(
    "text",
    [
        "Bearer abc.def",
        "HF_TOKEN=abcdefgh",
        '"password": "hunter2hunter2"',
        "sk-ABCDEFGHIJKLMNOP",
        "ghp_ABCDEFGHIJKL",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    found = crash.scrubbed(f"before {text} after")
    assert "<hidden>" in found
    assert found.startswith("before ")
    assert found.endswith(" after")
    assert text.rsplit(maxsplit=1)[-1].strip('"') not in found


@pytest.mark.parametrize(
    "text", ["tokenizer = self.tokenizer", "token embeddings", "200 tokens: 3", "/homework/a"]
)
def test_what_only_sounds_like_one_is_kept(text: str) -> None:
    assert crash.scrubbed(text) == text


def test_other_peoples_homes_are_hidden_as_well() -> None:
    assert crash.scrubbed("in /home/ann/x and /Users/bob/y") == "in ~/x and ~/y"


def test_two_crashes_in_a_second_are_two_reports(home: Path) -> None:
    found = [crash.write_report(broken(home), []) for _ in range(2)]
    assert len(set(found)) == 2


def test_a_folder_that_takes_no_report_has_it_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crash, "Path", _only(home))
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    path = crash.write_report(broken(home), [])
    assert path is not None
    assert path.parent == home
    monkeypatch.setattr(tempfile, "tempdir", str(home / "nowhere"))
    assert crash.write_report(broken(home), []) is None


def _only(folder: Path) -> type[Path]:
    """Paths of which the current folder cannot be written to; root may write anywhere."""

    class Guarded(type(folder)):  # type: ignore[misc]
        def open(self, mode: str = "r", *args: object, **kwargs: object) -> object:
            if "x" in mode and not self.is_absolute():
                raise PermissionError(13, "Permission denied")
            return super().open(mode, *args, **kwargs)

    return Guarded


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("MY_TOKEN", True), ("DB_PASSWORD", True), ("TOKENIZERS_PARALLELISM", False)],
)
def test_what_the_environment_calls_a_secret_is_hidden(
    monkeypatch: pytest.MonkeyPatch, name: str, hidden: bool
) -> None:
    monkeypatch.setenv(name, "plain-words-only")
    assert ("plain-words-only" not in crash.scrubbed("with plain-words-only in it")) is hidden


def test_a_trials_error_holds_no_token() -> None:
    from mergekit_mo.evaluate import Evaluator, Job

    class Failing:
        def merge(self, *_: object) -> None:
            raise RuntimeError(f"https://hub.example refused {TOKEN}")

    evaluator = Evaluator(Failing(), SimpleNamespace(tasks={}), {}, None)  # type: ignore[arg-type]
    assert evaluator(Job(0, {})).error == "RuntimeError: https://hub.example refused <hidden>"

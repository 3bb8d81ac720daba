"""The command: what it answers, how it ends, and how it is stopped."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from mergekit_mo import cli
from mergekit_mo.commands.search import _again
from mergekit_mo.problems import UserError
from tests.interrupts import minded
from tests.toy import Toy

BIN = Path(sys.executable).parent
ENV = {
    **os.environ,
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "TERM": "dumb",
}
HEAVY = ["torch", "mergekit", "transformers", "lm_eval", "botorch", "numpy", "rich", "datasets"]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A command sets up its process, which is here the tests' own."""
    terminate = signal.getsignal(signal.SIGTERM)
    loggers = [logging.getLogger(n) for n in ("", "mergekit", "lm_eval", "datasets", "root")]
    levels = [logger.level for logger in loggers]
    yield
    signal.signal(signal.SIGTERM, terminate)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def call(*words: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(cli.search, [str(word) for word in words])


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENV, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_importing_the_command_loads_nothing_heavy() -> None:
    code = f"import sys, mergekit_mo.cli; print([m for m in {HEAVY} if m in sys.modules])"
    assert python(code) == "[]\n"


@pytest.mark.parametrize("words", [["mergekit-mo-search"], ["mergekit-mo", "search"]])
def test_help_answers_at_once(words: list[str]) -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [BIN / words[0], *words[1:], "--help"], env=ENV, capture_output=True, check=True
        )
        assert b"RECIPE" in done.stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


def test_help_shows_every_option_under_a_heading() -> None:
    text = call("--help").output
    for heading in ("Search:", "Compute:", "Models:", "Dangerous:", "Other:"):
        assert heading in text
    named = [n for p in cli.search.params if p.param_type_name == "option" for n in p.opts]
    assert all(name in text for name in named)


def test_both_programs_are_one_command() -> None:
    assert cli.main.get_command(click.Context(cli.main), "search") is cli.search


def test_the_entry_points_are_registered() -> None:
    found = importlib.metadata.distribution("mergekit-mo").entry_points
    known = {(p.group, p.name): p.value for p in found}
    assert known["mergekit.plugins", "mo-search"] == "mergekit_mo.cli:search"
    assert known["console_scripts", "mergekit-mo-search"] == "mergekit_mo.cli:search"
    assert known["console_scripts", "mergekit-mo"] == "mergekit_mo.cli:main"
    (plugin,) = found.select(group="mergekit.plugins")
    assert plugin.load() is cli.search


def test_a_recipe_that_is_not_there_is_a_line_and_status_2(tmp_path: Path) -> None:
    done = call(tmp_path / "nowhere.yaml", "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert done.stderr == f"{tmp_path}/nowhere.yaml: No such file or directory\n"
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_not_there_is_told_before_anything_heavy_is_loaded() -> None:
    code = (
        "import sys\nfrom mergekit_mo.cli import search\n"
        "try:\n    search(['nowhere.yaml'])\n"
        f"finally:\n    print([m for m in {HEAVY[:5]} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENV, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert done.stderr == "nowhere.yaml: No such file or directory\n"


@pytest.mark.parametrize("words", [["--budget", "0"], ["--seed", "-1"], ["-j", "0"], ["--wrong"]])
def test_a_wrong_option_is_status_2(toy: Toy, words: list[str]) -> None:
    assert call(toy.recipe("option"), *words).exit_code == 2


def test_a_wrong_recipe_is_status_2_and_leaves_nothing(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe("wrong", optimizer="soboll")
    done = call(recipe, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"{recipe}:")
    assert "did you mean 'sobol'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_search_without_success_is_status_1(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe("hopeless", objectives=[{"tests.toy:Fussy": {"most": -1.0}}])
    done = call(recipe, "--out", tmp_path, "--device", "cpu", "-j", "1")
    assert done.exit_code == 1
    assert "no reference could be scored:\n  ArithmeticError: 0.000 is too far for me\n" in (
        done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_search_prints_its_result_and_tells_how_it_goes(toy: Toy, tmp_path: Path) -> None:
    words = [toy.recipe("prints"), "--budget", 2, "--device", "cpu", "-j", 1, "--out", tmp_path]
    done = call(*words)
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith(f"{tmp_path}: the search starts, 2 merges in all\n")
    assert "hold-out of base:" in done.stderr
    assert done.stdout.startswith("trial ")
    assert "of 2 merges on the front" in done.stdout
    assert done.stdout.endswith(f"front: {tmp_path}/front\n")
    again = call(*words)
    assert again.exit_code == 2
    assert again.stderr == (
        f"{tmp_path} holds a run already: continue it with --resume, or choose another --out\n"
    )
    more = call(*words, "--resume", "--quiet", "--budget", 3)
    assert (more.exit_code, more.stderr) == (0, "")
    assert "of 3 merges on the front" in more.stdout


def test_json_is_nothing_but_lines_of_json(toy: Toy, tmp_path: Path) -> None:
    done = call(
        toy.recipe("json"), "--json", "--budget", 1, "--device", "cpu", "-j", 1, "--out", tmp_path
    )
    assert done.exit_code == 0
    records = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [record["event"] for record in records]
    assert kinds == ["started", *["finished"] * 4, *["opened"] * 4, "ended"]
    assert done.stderr == ""


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_run_folder_is_named_after_the_recipe(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(toy.recipe("name.of.it"), "--budget", 1, "--device", "cpu", "-j", 1)
    assert done.exit_code == 0
    assert (tmp_path / "runs" / "name.of.it" / "archive.db").is_file()


def test_a_dry_run_writes_nothing_and_reads_no_weights(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mergekit.io.lazy_tensor_loader import LazyTensorLoader
    from transformers import AutoModelForCausalLM

    def read(*_: object, **__: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(LazyTensorLoader, "get_tensor", read)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", read)
    monkeypatch.chdir(tmp_path)
    recipe = toy.recipe("dry")
    before = files(toy.folder)
    done = call(recipe, "--dry-run")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("4 dimensions:\n")
    assert done.stderr == ""
    told = call(recipe, "--dry-run", "--json", "--budget", 7)
    assert json.loads(told.stdout)["budget"] == 7
    assert files(toy.folder) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("typed", "again"),
    [
        (["/x/bin/mergekit-mo-search", "a b.yaml"], "mergekit-mo-search 'a b.yaml' --resume"),
        (["mergekit-mo", "search", "a", "--resume"], "mergekit-mo search a --resume"),
        (["mergekit-mo-search", "--", "-a.yaml"], "mergekit-mo-search --resume -- -a.yaml"),
        (["/x/mergekit_mo/cli.py", "search", "a"], "python -m mergekit_mo.cli search a --resume"),
    ],
)
def test_the_line_that_continues_is_what_was_typed(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], again: str
) -> None:
    monkeypatch.setattr(sys, "argv", typed)
    assert _again() == again


def stopped(line: str, cwd: Path, after: str, how: signal.Signals) -> str:
    """Runs a line, stops it once it has said something, and gives the line that continues."""
    with minded():
        process = subprocess.Popen(
            ["bash", "-c", f"exec {line}"],
            cwd=cwd,
            env=ENV,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert process.stderr is not None
    told = ""
    for text in process.stderr:
        told += text
        if after in text:
            break
    process.send_signal(how)
    rest = process.communicate(timeout=120)[1]
    assert process.returncode == 130, told + rest
    *_, said, last = rest.splitlines()
    assert said == "stopped; nothing finished is lost. Continue with:"
    assert "Traceback" not in rest
    return last.strip()


@pytest.mark.slow
def test_a_search_that_is_stopped_says_how_to_continue_and_does(toy: Toy, tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    shutil.copytree(toy.folder, folder)
    Toy(folder).recipe("my search", budget=20)  # not done before it is stopped
    first = "mergekit-mo-search 'my search.yaml' --device cpu -j 1"
    second = stopped(first, folder, " toy_choice ", signal.SIGINT)
    assert second == f"{first} --resume"
    third = stopped(second, folder, "the search resumes after", signal.SIGTERM)
    assert third == second
    done = subprocess.run(
        ["bash", "-c", third], cwd=folder, env=ENV, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "runs/my search: the search resumes after" in done.stderr
    assert "of 20 merges on the front" in done.stdout
    assert list((folder / "runs" / "my search" / "front").iterdir())


def main(*words: object) -> Result:
    """A subcommand in this process."""
    return CliRunner().invoke(cli.main, [str(word) for word in words])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["serch", "a.yaml"], "did you mean 'search'?"),
        (["serch", "a b.yaml"], "\n  mergekit-mo search 'a b.yaml'\n"),
        (["a.yaml", "--budget", "3"], "\n  mergekit-mo search a.yaml --budget 3\n"),
        (["xyzzy"], "commands: "),
        (["front", "--jsn"], "--json"),
        (["search", "a.yaml", "--budgt", "3"], "--budget"),
        (["pick", "--preferr", "a=1"], "--prefer"),
    ],
)
def test_a_word_that_is_not_there_gets_the_nearest_and_status_2(
    words: list[str], told: str
) -> None:
    done = main(*words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", cli.main.list_commands(click.Context(cli.main)))
def test_every_command_has_help_with_examples(name: str) -> None:
    done = main(name, "--help")
    assert done.exit_code == 0
    assert "Examples:\n    mergekit-mo" in done.stdout


def raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Breaks what `kinds` and `search` do first."""

    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("mergekit_mo.commands.kinds._listed", broken)
    monkeypatch.setattr("mergekit_mo.commands.search._search", broken)


BOTH = pytest.mark.parametrize("how", [["kinds"], ["search", "a.yaml"]], ids=["kinds", "search"])


@BOTH
def test_a_mistake_of_ours_is_status_3_a_line_and_a_report(
    how: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    raises(monkeypatch, ZeroDivisionError("of hf_abcdefghijklmnop"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mergekit-mo", *how])
    done = main(*how)
    assert done.exit_code == 3
    (report,) = tmp_path.iterdir()
    assert done.stderr == (
        "this is a mistake of mergekit-mo's (ZeroDivisionError: of <hidden>); a report is in "
        f"{report.name}: please look it over and send it to the issue tracker of mergekit-mo\n"
    )
    text = report.read_text(encoding="utf-8")
    assert f"    mergekit-mo {' '.join(how)}\n" in text
    assert "Traceback" in text
    assert "hf_abcdefghijklmnop" not in text


@BOTH
def test_where_no_folder_takes_a_report_it_is_told_without_secrets(
    how: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    raises(monkeypatch, ZeroDivisionError("of hf_abcdefghijklmnop"))
    monkeypatch.setattr("mergekit_mo.crash.write_report", lambda *_: None)
    done = main(*how)
    assert done.exit_code == 3
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: of <hidden>" in done.stderr
    assert "hf_abcdefghijklmnop" not in done.stderr


@BOTH
@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (UserError("no"), 1, "no\n"),
        (UserError("no", status=2), 2, "no\n"),
        (UserError("the Hub said hf_abcdefghijklmnop"), 1, "the Hub said <hidden>\n"),
        (ModuleNotFoundError("No module", name="selenium.x"), 4, "  pip install selenium\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "/x: Permission denied\n"),
        (OSError(28, "No space left on device"), 1, "No space left on device\n"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_a_command_ends_by_the_cause(
    how: list[str],
    error: BaseException,
    status: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    raises(monkeypatch, error)
    monkeypatch.chdir(tmp_path)
    done = main(*how)
    assert done.exit_code == status
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_command_that_cannot_even_be_loaded_ends_by_the_cause_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_: str) -> None:
        raise ModuleNotFoundError("No module named 'rich'", name="rich")

    monkeypatch.setattr("mergekit_mo.cli.importlib.import_module", broken)
    done = main("front", tmp_path)
    assert done.exit_code == 4
    assert "pip install rich" in done.stderr


def test_an_optional_package_that_a_recipe_needs_is_status_4(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mergekit_mo.optional.find_spec", lambda _: None)
    done = call(toy.recipe("lacking", optimizer="nsga2"), "--dry-run")
    assert done.exit_code == 4
    assert "pip install 'mergekit-mo[baselines]'" in done.stderr

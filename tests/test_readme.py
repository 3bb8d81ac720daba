"""Every block of README.md and docs/ does what it says; where one is only read, it says why."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from markdown_it import MarkdownIt

from mergekit_mo import cli
from mergekit_mo.holes import Hole, read_setting
from tests.conftest import Make
from tests.localised import ROOT, localised

README = ROOT / "README.md"
EXTENDING = ROOT / "docs" / "extending.md"
OBJECTIVES = ROOT / "docs" / "objectives.md"
MOST_WORDS = 1200


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text and the line that it begins on."""

    language: str
    text: str
    line: int


def blocks(path: Path) -> list[Block]:
    tokens = MarkdownIt().parse(path.read_text(encoding="utf-8"))
    return [Block(t.info, t.content, (t.map or [0])[0] + 1) for t in tokens if t.type == "fence"]


def of(language: str, path: Path = README) -> list[Block]:
    return [block for block in blocks(path) if block.language == language]


def lines() -> list[str]:
    """Every command of README's console blocks, without its remark."""
    found = [line for block in of("console") for line in block.text.splitlines() if line]
    assert all(line.startswith("$ ") for line in found)
    return [line[2:].partition("  #")[0].strip() for line in found]


def output(start: str) -> str:
    """The block without a language that begins so."""
    (found,) = (block.text for block in of("") if block.text.startswith(start))
    return found


# What README is.


def test_every_block_is_of_a_kind_that_a_test_here_reads() -> None:
    known = {"console", "diff", "python", "text", "yaml", ""}
    assert {block.language for block in blocks(README)} <= known
    assert {block.language for block in blocks(EXTENDING)} <= {"python", "toml"}
    starts = [block.text.split()[0] for block in of("")]
    assert sorted(starts) == ["recipe.yaml", "recipe.yaml:7:7:", "trial"]


def test_its_prose_is_short() -> None:
    text = re.sub(r"^```.*?^```", "", README.read_text(encoding="utf-8"), flags=re.S | re.M)
    prose = [line for line in text.splitlines() if not line.startswith("|")]
    assert len(" ".join(prose).split()) < MOST_WORDS


def test_what_it_links_to_is_there() -> None:
    for path in (README, EXTENDING, OBJECTIVES):
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (path.parent / target).is_file(), target


def test_the_help_is_what_the_command_prints() -> None:
    (block,) = of("text")
    shown = CliRunner().invoke(cli.main, ["--help"], prog_name="mergekit-mo", terminal_width=80)
    assert block.text == shown.stdout


def test_every_recipe_that_ships_is_in_its_table() -> None:
    text = README.read_text(encoding="utf-8")
    for path in (ROOT / "recipes").glob("*.yaml"):
        assert f"recipes/{path.name}" in text or path.name == "demo.yaml"


# Its YAML.


def test_the_diff_goes_from_a_mergekit_file_to_a_recipe() -> None:
    from mergekit.config import MergeConfiguration

    from mergekit_mo.configuration import read_configuration
    from mergekit_mo.problems import parse_source

    (block,) = of("diff")
    before, after = (
        "\n".join(x[1:] for x in block.text.splitlines() if x[0] in f" {mark}") for mark in "-+"
    )
    MergeConfiguration.model_validate(yaml.safe_load(before))
    source = parse_source(after, "after.yaml")
    configuration, problems = read_configuration(source.tree, ROOT, None, ())
    assert problems == []
    assert configuration is not None
    assert len(configuration.holes) == 4
    assert [o["task"] for o in source.tree["search"]["objectives"]] == [
        "tasks/gsm8k_train.yaml",
        "tasks/arc_challenge_train.yaml",
    ]
    assert MergeConfiguration.model_validate(source.tree).merge_method == "dare_ties"


def test_every_form_of_a_hole_is_read(tmp_path: Path) -> None:
    (block,) = of("yaml")
    text = re.sub(r"^(?=\S)", "- ", block.text, flags=re.M)
    holes: list[Hole] = []
    for entry in yaml.safe_load(text.replace("1e-4", "0.0001")):
        ((parameter, node),) = entry.items()
        setting, problems = read_setting(parameter, node, (parameter,))
        assert problems == []
        holes += setting.holes
    assert len(holes) == 6
    assert [len(h.values) for h in holes] == [1, 3, 1, 1, 1, 1]
    assert holes[-1].log


def test_a_mistake_is_told_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = output("recipe.yaml:7:7:")
    wrong = told.splitlines()[1].partition("|")[2][1:]
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(
        "merge_method: dare_ties\nbase_model: org/base\ndtype: bfloat16\nmodels:\n"
        f"  - model: org/a\n    parameters:\n{wrong}\n"
        "      density: 0.5\n  - {model: org/b, parameters: {weight: 0.5}}\n"
        "search: {objectives: [sparsity]}\n"
    )
    done = CliRunner().invoke(cli.main, ["validate", "--shallow", "recipe.yaml"])
    assert told.strip() in done.stdout


def test_the_output_that_it_shows_is_of_the_demo() -> None:
    """The run takes minutes; `make demo` makes it again. Its goals and parents are checked."""
    shown = output("trial ")
    assert re.match(r"trial \d+, .* the recipe's own values", shown)
    (head,) = (line for line in shown.splitlines() if line.startswith("trial  "))
    assert head.split() == [
        *["trial", "tiny_code", "↓", "hold-out", "tiny_prose", "↓", "hold-out"],
        *["tiny_answers", "↓", "hold-out"],
    ]
    for parent in ("base", "code", "prose", "arithmetic"):
        assert re.search(rf"^{parent} +\d", shown, re.M)


def test_the_way_of_the_data_names_what_there_is() -> None:
    """A drawing: nothing to run."""
    shown = output("recipe.yaml ->")
    assert "lm-eval -> trial -> archive" in shown


# Its commands.

Check = Callable[[str, "Place"], None]


@dataclass(frozen=True)
class Place:
    """Where README's commands are typed: its recipes with local models, and a finished demo.

    Attributes:
        folder: what the commands call here.
        run: a demo of three merges on a few items.
        number: a trial on its front.
    """

    folder: Path
    run: Path
    number: int


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model: Make) -> Iterator[Place]:
    """Runs README's Python block, on few items; the commands then read the run that it leaves."""
    import torch

    import mergekit_mo.workers
    from mergekit_mo.archive import Archive
    from mergekit_mo.testing import family

    made = family(ROOT / ".cache" / "tiny")
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(mergekit_mo.workers, "free_cores", lambda: 1)
        patch.setenv("HF_HUB_OFFLINE", "1")
        localised(folder, model)
        (folder / ".cache").symlink_to(ROOT / ".cache")
        demo = (ROOT / "recipes" / "demo.yaml").read_text()
        few = (
            "evaluation: {limit: 6, holdout: 4"  # what it prints is not compared, so a few will do
        )
        demo, changed = re.subn(r"evaluation: \{limit: \d+, holdout: \d+", few, demo)
        assert changed == 1
        (folder / "recipes" / "demo.yaml").write_text(demo)
        answers = "recipes/tasks/tiny_answers.yaml"
        (folder / answers).write_text((ROOT / answers).read_text())
        (folder / "tasks").symlink_to(folder / "recipes" / "tasks")
        parameters = "parameters: {weight: 0.5, density: 0.5}"
        (folder / "merge.yaml").write_text(
            f"merge_method: ties\nbase_model: {made.base}\ndtype: float32\nmodels:\n"
            f"  - {{model: {made.code}, {parameters}}}\n  - {{model: {made.prose}, {parameters}}}\n"
        )
        (block,) = of("python")
        exec(compile(block.text, f"{README}:{block.line}", "exec"), {"__name__": "readme"})
        run = folder / "runs" / "notebook"
        run.rename(folder / "runs" / "demo")
        with Archive.open(folder / "runs" / "demo", read_only=True) as archive:
            yield Place(folder, folder / "runs" / "demo", archive.front()[0].number)
        torch.set_num_threads(1)


def typed(line: str) -> Result:
    """A line of ours, in this process."""
    program, *words = shlex.split(line)
    command = {"mergekit-mo": cli.main, "mergekit-mo-search": cli.search}[program]
    return CliRunner().invoke(command, words)


def runs(line: str, place: Place) -> None:
    """As it stands, on the shorter demo, with a trial that is on its front."""
    done = typed(re.sub(r"\bruns/demo 16\b", f"runs/demo {place.number}", line))
    assert done.exit_code == 0, done.output


def dry(line: str, place: Place) -> None:
    """With --dry-run: the search itself would take hours."""
    runs(f"{line} --dry-run", place)


def merges(line: str, place: Place) -> None:
    """mergekit's own command, whose words have to be its options; other tests run it."""
    from mergekit.scripts.run_yaml import main

    _, *words = shlex.split(line)
    assert words[:2] == ["runs/base/front/017.yaml", "OUT"]
    main.make_context("mergekit-yaml", words)


def makes(line: str, place: Place) -> None:
    """What make would do, without doing it: it installs packages and runs every test."""
    done = subprocess.run(
        ["make", "-n", *shlex.split(line)[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mergekit-mo-search recipes/demo.yaml" in done.stdout or "pytest" in done.stdout


CHECKS: tuple[tuple[str, Check], ...] = (
    (r"mergekit-mo --help", runs),
    (r"mergekit-mo-search recipes/base.yaml --dry-run", runs),
    (r"mergekit-mo-search recipes/base.yaml", dry),
    (r"mergekit-yaml .*", merges),
    (r"make (demo|test)", makes),
    (r"mergekit-mo (init|validate|search|front|pick|merge|report|card|push) .*", runs),
)


@pytest.mark.slow
@pytest.mark.parametrize("line", lines())
def test_a_command_does_what_it_should(
    line: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.folder)
    check = next(check for pattern, check in CHECKS if re.fullmatch(pattern, line))
    check(line, place)


# What docs/objectives.md shows.


def test_every_objective_is_in_its_table_as_a_recipe_takes_it() -> None:
    import mergekit_mo.objectives
    from mergekit_mo.kinds import make, names
    from mergekit_mo.problems import parse_source
    from mergekit_mo.recipe import read_objectives

    text = OBJECTIVES.read_text(encoding="utf-8")
    entries = re.findall(r"^\| `(.+?)` \|", text, flags=re.M)
    (block,) = of("yaml", OBJECTIVES)
    tree = parse_source(f"objectives: [{', '.join(entries)}]", "table").tree
    found = [
        read_objectives(some, "objectives") for some in (tree, yaml.safe_load(block.text)["search"])
    ]
    found.append(read_objectives(yaml.safe_load(block.text)["search"], "auxiliary"))
    shown = {choice.kind for choices, _ in found for choice in choices}
    assert shown == set(names(mergekit_mo.objectives))
    for choices, problems in found:
        assert problems == []
        for choice in choices:
            role = mergekit_mo.objectives.Objective
            kind, settings, place = choice.kind, choice.settings, choice.place
            _, wrong = make(mergekit_mo.objectives, role, kind, settings, place)  # type: ignore[type-abstract]
            assert wrong == []


# What docs/extending.md shows.


def files() -> dict[str, str]:
    """Each Python block by the file's name, which is its first line."""
    found = {}
    for block in of("python", EXTENDING):
        match = re.match(r"# (\w+\.py)\n", block.text)
        assert match, block.text
        found[match[1]] = block.text
    return found


def test_an_extension_is_a_file_of_30_lines_with_its_suite() -> None:
    found = files()
    for name, text in found.items():
        assert len(text.splitlines()) <= 30, name
        assert name.startswith("test_") or f"test_{name}" in found


def test_the_entry_point_names_the_class_that_is_shown() -> None:
    import tomllib

    (block,) = of("toml", EXTENDING)
    ((group, points),) = tomllib.loads(block.text)["project"]["entry-points"].items()
    assert group == "mergekit_mo.optimizers"
    module, _, name = points["near-front"].partition(":")
    assert f"class {name}(" in files()[f"{module}.py"]


@pytest.mark.slow
def test_every_extension_passes_its_suite(tmp_path: Path) -> None:
    for name, text in files().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"[3-9]\d passed", done.stdout), done.stdout

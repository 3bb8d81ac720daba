import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mergekit_mo import kinds, optimizers
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.problems import Problem

OWN = """
from dataclasses import dataclass
from mergekit_mo.optimizers import Optimizer

@dataclass(frozen=True)
class Mine(Optimizer):
    size: int
    rate: float = 0.5
    name: str = "x"
    loud: bool = False
    most: int | None = None
    given: str = ""

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("size must not be negative")

    def ask(self, space, archive, count, seed):
        return []

class NoOptimizer:
    pass
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outsider_kinds.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "outsider_kinds", raising=False)


def make(kind: str, **settings: object) -> tuple[Optimizer | None, list[Problem]]:
    # A base class that is abstract is what a role is; mypy wants a concrete one.
    return kinds.make(optimizers, Optimizer, kind, settings, ("search",))


def mine(**settings: object) -> tuple[Optimizer | None, list[Problem]]:
    return make("outsider_kinds:Mine", **settings)


def test_kinds_are_named_after_their_files_and_private_files_are_none() -> None:
    names = kinds.names(optimizers)
    assert {"sobol", "qlognehvi"} <= set(names)
    assert not [name for name in names if name.startswith(("_", "-"))]


def test_naming_the_kinds_imports_none_of_them() -> None:
    before = set(sys.modules)
    kinds.names(optimizers)
    assert set(sys.modules) == before


@pytest.mark.parametrize("kind", kinds.names(optimizers))
def test_every_kind_can_be_made_without_settings(kind: str) -> None:
    made, problems = make(kind)
    assert problems == []
    assert isinstance(made, Optimizer)


def test_an_unknown_kind_gets_the_nearest_and_all_the_others() -> None:
    made, (problem,) = make("sobl")
    assert made is None
    assert problem.place == ("search",)
    assert "'sobl'" in problem.what
    assert "did you mean 'sobol'?" in problem.hint
    assert "qlognehvi" in problem.hint


def test_an_unknown_setting_is_marked_where_it_stands() -> None:
    _, problems = mine(size=1, siz=2)
    assert [p.place for p in problems] == [("search", "siz")]
    assert "did you mean 'size'?" in problems[0].hint


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": "3"}, "a whole number"),
        ({"size": 3.0}, "a whole number"),
        ({"size": True}, "a whole number"),
        ({"size": 1, "rate": "fast"}, "a number"),
        ({"size": 1, "rate": False}, "a number"),
        ({"size": 1, "name": 3}, "a text"),
        ({"size": 1, "loud": 1}, "true or false"),
        ({"size": 1, "most": 1.5}, "a whole number"),
    ],
)
def test_a_setting_of_the_wrong_type_is_a_problem(settings: dict[str, object], words: str) -> None:
    made, (problem,) = mine(**settings)
    assert made is None
    assert words in problem.what


def test_settings_of_the_right_type_are_taken() -> None:
    made, problems = mine(size=3, rate=1, name="y", loud=True, most=None)
    assert problems == []
    assert made is not None
    values = vars(made)
    assert values["size"] == 3
    assert type(values["rate"]) is float


def test_a_missing_setting_is_named() -> None:
    _, (problem,) = mine()
    assert "'size'" in problem.what


def test_what_a_kind_says_of_its_settings_becomes_a_problem() -> None:
    _, (problem,) = mine(size=-1)
    assert problem.what == "outsider_kinds:Mine: size must not be negative"


def test_fields_that_the_program_gives_are_no_settings() -> None:
    role = Optimizer
    made, problems = kinds.make(
        optimizers,
        role,  # type: ignore[type-abstract]
        "outsider_kinds:Mine",
        {"size": 1, "given": "by the user"},
        (),
        given="by the program",
    )
    assert made is None
    assert [p.place for p in problems] == [("given",)]


@pytest.mark.parametrize(
    "kind", ["no_such_module:Mine", "outsider_kinds:Absent", "outsider_kinds:", ":Mine"]
)
def test_a_class_that_cannot_be_loaded_is_a_problem(kind: str) -> None:
    made, (problem,) = make(kind)
    assert made is None
    assert "cannot load" in problem.what


def test_a_class_of_another_sort_is_a_problem() -> None:
    _, (problem,) = make("outsider_kinds:NoOptimizer")
    assert "is no Optimizer" in problem.what


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("class Mine(Optimizer):\n    def ask(self, *_): return []", "is no dataclass"),
        ("@dataclass(frozen=True)\nclass Mine(Optimizer): pass", "lacks what a search calls: ask"),
        ("raise RuntimeError('not today')", "RuntimeError: not today"),
        ("import no_such_package_of_mine", "No module named 'no_such_package_of_mine'"),
        ("class Mine(Optimizer):\n  def", "SyntaxError"),
        (
            "@dataclass(frozen=True)\nclass Mine(Optimizer):\n    def ask(self, *_): return []\n"
            "    def __post_init__(self): raise KeyError('x')",
            "KeyError: 'x'",
        ),
    ],
)
def test_whatever_an_outsiders_module_does_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, words: str
) -> None:
    head = "from dataclasses import dataclass\nfrom mergekit_mo.optimizers import Optimizer\n"
    (tmp_path / "outsider_broken.py").write_text(head + lines)
    monkeypatch.delitem(sys.modules, "outsider_broken", raising=False)
    made, (problem,) = make("outsider_broken:Mine")
    assert made is None
    assert words in problem.what
    assert problem.place == ("search",)
    if "package" in words:
        assert problem.hint == "if it is a package: pip install no_such_package_of_mine"


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Puts a package with entry points beside the module of this test."""

    def put(name: str, **points: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        rows = [f"{kind} = {value}" for kind, value in points.items()]
        text = "\n".join(["[mergekit_mo.optimizers]", *rows])
        (folder / "entry_points.txt").write_text(text)

    return put


def test_an_entry_point_is_a_kind_by_its_name(install: Install) -> None:
    install("outsider-kit", mine="outsider_kinds:Mine")
    made, problems = make("mine", size=2)
    assert problems == []
    assert type(made).__name__ == "Mine"
    assert "outsider_kinds" in sys.modules
    listed = kinds.described(optimizers, Optimizer)  # type: ignore[type-abstract]
    assert listed["mine"].endswith("[outsider-kit]")
    _, (problem,) = make("mime")
    assert "did you mean 'mine'?" in problem.hint


def test_listing_the_outsiders_imports_none_of_them(install: Install) -> None:
    install("outsider-kit", mine="outsider_kinds:Mine")
    assert list(kinds.outside(optimizers)) == ["mine"]
    assert "outsider_kinds" not in sys.modules


def test_a_broken_entry_point_is_a_problem_of_the_recipe_and_a_line_in_the_list(
    install: Install,
) -> None:
    install("outsider-kit", lost="outsider_gone:Mine", other="outsider_kinds:NoOptimizer")
    made, (problem,) = make("lost")
    assert made is None
    assert problem.place == ("search",)
    assert problem.what.startswith("cannot load 'lost of outsider-kit': ModuleNotFoundError")
    assert "is no Optimizer" in make("other")[1][0].what
    listed = kinds.described(optimizers, Optimizer)  # type: ignore[type-abstract]
    assert listed["lost"].startswith("cannot load")
    assert listed["sobol"]


def test_a_name_that_two_things_have_belongs_to_neither(install: Install) -> None:
    install("outsider-kit", sobol="outsider_kinds:Mine", twice="outsider_kinds:Mine")
    install("other-kit", twice="outsider_kinds:NoOptimizer")
    made, (problem,) = make("sobol")
    assert made is None
    assert problem.what == (
        "several things are called 'sobol': this program's own, outsider_kinds:Mine of outsider-kit"
    )
    assert problem.hint == "say which: mergekit_mo.optimizers.sobol:Sobol or outsider_kinds:Mine"
    assert make("mergekit_mo.optimizers.sobol:Sobol")[1] == []
    _, (problem,) = make("twice")
    assert "outsider-kit" in problem.what
    assert "other-kit" in problem.what

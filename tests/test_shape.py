"""The shape of the code: who imports whom, how long things are, and what is documented."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mergekit_mo

ROOT = Path(__file__).parents[1]
PACKAGE = Path(mergekit_mo.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_MODULE = 350
LONGEST_FUNCTION = 60


@pytest.mark.slow
def test_each_layer_imports_only_those_below_it() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_is_documented() -> None:
    undocumented = [
        path.relative_to(PACKAGE)
        for path in MODULES
        if not path.stem.startswith("_") and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not undocumented


def test_no_module_is_too_long() -> None:
    lengths = {p.relative_to(PACKAGE): len(p.read_text().splitlines()) for p in MODULES}
    assert not {path: n for path, n in lengths.items() if n > LONGEST_MODULE}


def body_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function after its signature and docstring."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_function_is_too_long() -> None:
    long = {
        f"{path.relative_to(PACKAGE)}:{node.name}": body_length(node)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and body_length(node) > LONGEST_FUNCTION
    }
    assert not long


def test_only_the_command_line_prints() -> None:
    printing = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    }
    assert {p for p in printing if not p.startswith("testing")} <= {"console.py"}

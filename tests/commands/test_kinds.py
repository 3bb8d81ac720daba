from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

from click.testing import Result

Type = Callable[..., Result]


def test_all_that_a_recipe_can_name_is_listed(typed: Type) -> None:
    result = typed("kinds")
    assert result.exit_code == 0
    assert result.stderr == ""
    rows = {tuple(line.split()[:3]) for line in result.stdout.splitlines() if line.strip()}
    assert {("sobol", "Spreads", "candidates"), ("sparsity", "L1", "distance")} <= rows
    assert ("inline", "Runs", "each") in rows
    assert "takes t*; needs base_model" in result.stdout


def test_json_has_a_line_about_each(typed: Type) -> None:
    facts = json.loads(typed("kinds", "--json").stdout)
    assert list(facts) == ["optimizers", "objectives", "executors", "methods"]
    assert all(line for kinds in facts.values() for line in kinds.values())
    assert list(json.loads(typed("kinds", "optimizers", "--json").stdout)) == ["optimizers"]


def test_the_commands_and_what_needs_no_model_load_no_torch() -> None:
    code = (
        "import sys\n"
        "from importlib import import_module\n"
        "from click.testing import CliRunner\n"
        "names = ('front', 'pick', 'init', 'validate', 'convert', 'kinds')\n"
        "commands = [import_module(f'mergekit_mo.commands.{name}').command for name in names]\n"
        "assert [c.name for c in commands] == list(names)\n"
        "heavy = {'torch', 'mergekit', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "for command in commands:\n"
        "    result = CliRunner().invoke(command, ['--help'])\n"
        "    assert f'mergekit-mo {command.name} ' in result.stdout\n"
        "assert CliRunner().invoke(commands[-1], ['optimizers', 'objectives']).exit_code == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""The commands: `mergekit-mo` and its subcommands, and `mergekit-mo-search`.

Rule: importing this file loads neither torch nor mergekit, so that `--help` answers at once.
"""

from __future__ import annotations

import difflib
import importlib
import keyword
import pkgutil
from typing import Any

import click

from mergekit_mo import __version__, commands
from mergekit_mo.commands._shared import ending, quoted
from mergekit_mo.commands.search import command as search
from mergekit_mo.problems import near

# The order of work, from a mergekit file to a published model, with a line about each.
_ORDER = {
    "init": "make a recipe of a mergekit YAML, or of a model on the Hub",
    "validate": "tell every problem of a recipe at once",
    "search": "search a recipe: the best trade-offs become mergekit YAMLs",
    "front": "show the best trade-offs of a run beside its parents",
    "pick": "choose one trial of a run, and print its mergekit YAML",
    "advise": "suggest a merge for a preference: of the front, and a new one",
    "merge": "write a trial's model, bit for bit what was scored",
    "report": "write a run as one page for a browser, or follow it live",
    "card": "print the model card of a trial",
    "push": "upload a trial's model and its card to the Hub",
    "import": "begin a run with what an earlier one knows",
    "rescue": "save what is whole of a run whose archive is damaged",
    "convert": "make a recipe of a mergekit-evolve genome",
    "kinds": "list what a recipe can name",
}


class _Commands(click.Group):
    """The commands in the order of work; each file of `commands/` is imported when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Those of `_ORDER`, then any other, by name."""
        del ctx
        # `import` is a word of Python's, and its file has a name with _ at its end.
        found = [module.name.rstrip("_") for module in pkgutil.iter_modules(commands.__path__)]
        named = [name for name in found if not name.startswith("_")]
        order = list(_ORDER)
        return sorted(named, key=lambda n: (order.index(n) if n in order else len(order), n))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing them."""
        rows = [(name, _ORDER.get(name, "")) for name in self.list_commands(ctx)]
        with formatter.section("Commands, in the order of work"):
            formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of a name; None where there is none."""
        if name.replace("_", "-") not in self.list_commands(ctx):
            return None
        file = f"{name}_" if keyword.iskeyword(name) else name
        module = importlib.import_module(f"{commands.__name__}.{file}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; what goes wrong before it begins ends by the cause as well."""
        with ending():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggests the command line that was meant where there is no such command."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            word, names = args[0], self.list_commands(ctx)
            hint = near(word, names, what="commands")
            if meant := self._meant(word, names):
                hint += f"\n  {quoted('mergekit-mo', *meant, *args[1:])}"
            raise click.UsageError(f"no command is called {word!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    @staticmethod
    def _meant(word: str, names: list[str]) -> list[str]:
        """The words that should have stood for a command that there is not."""
        if word.endswith((".yaml", ".yml")):
            return ["search", word]
        return difflib.get_close_matches(word, names, n=1, cutoff=0.6)


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="mergekit-mo")
def main() -> None:
    """Search mergekit recipes for several goals at once, and keep every trade-off."""


if __name__ == "__main__":
    main()

__all__ = ["main", "search"]

"""The commands: `mergekit-mo` and its subcommands, and `mergekit-mo-search`.

Rule: importing this file loads neither torch nor mergekit, so that `--help` answers at once.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Any

import click

from mergekit_mo import __version__, commands
from mergekit_mo.commands._shared import ending, quoted
from mergekit_mo.commands.search import command as search
from mergekit_mo.problems import near

# The order of work, from a mergekit file to a published model.
_ORDER = (
    "init",
    "validate",
    "search",
    "front",
    "pick",
    "merge",
    "report",
    "card",
    "push",
    "convert",
    "kinds",
)


class _Commands(click.Group):
    """The commands in the order of work; each file of `commands/` is imported when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """`_ORDER`, then any other, by name."""
        del ctx
        found = [module.name for module in pkgutil.iter_modules(commands.__path__)]
        named = [name for name in found if not name.startswith("_")]
        return sorted(named, key=lambda n: (_ORDER.index(n) if n in _ORDER else len(_ORDER), n))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of a name; None where there is none."""
        if name.replace("_", "-") not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{commands.__name__}.{name}")
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

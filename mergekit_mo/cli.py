"""The commands; no logic.

Rule: importing this file loads neither torch nor mergekit, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib
import pkgutil
import shlex
import signal
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import click

from mergekit_mo import __version__, commands
from mergekit_mo.options import HELP, MergeFlags
from mergekit_mo.problems import UserError, near

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from mergekit_mo.preflight import Ready

# The order of work, from a mergekit file to a published model.
_ORDER = (
    "init",
    "validate",
    "search",
    "front",
    "pick",
    "merge",
    "card",
    "push",
    "convert",
    "kinds",
)

_GROUPS = {
    "Search": ("budget", "seed", "out", "resume", "dry_run", "as_json", "quiet"),
    "Compute": (
        "device",
        "num_threads",
        "random_seed",
        "cuda",
        "low_cpu_memory",
        "read_to_gpu",
        "multi_gpu",
        "gpu_rich",
        "lazy_unpickle",
    ),
    "Models": ("transformers_cache", "lora_merge_cache", "lora_merge_dtype"),
    "Dangerous": (
        "search_on_test_sets",
        "trust_remote_code",
        "allow_crimes",
        "unsafe_truncate_embeddings",
    ),
}


class _Grouped(click.Command):
    """Shows options under headings, as mergekit's own commands do."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options of `_GROUPS`, then the others."""
        records = {p.name: r for p in self.get_params(ctx) if (r := p.get_help_record(ctx))}
        for title, names in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([records.pop(name) for name in names])
        with formatter.section("Other"):
            formatter.write_dl(list(records.values()))


def merge_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Adds mergekit's merge options to a command, under mergekit's own names."""
    kinds = get_type_hints(MergeFlags)
    for f in reversed(fields(MergeFlags)):
        name = "--" + f.name.replace("_", "-")
        if f.name == "gpu_rich":
            option = click.option(name, f.name, is_flag=True, help=HELP[f.name])
        elif kinds[f.name] is bool:
            both = f"{name}/--no-{name[2:]}"
            option = click.option(both, f.name, default=f.default, help=HELP[f.name])
        else:
            kind = int if kinds[f.name] in (int, int | None) else str
            names = [name, "-j"] if f.name == "num_threads" else [name]
            least = click.IntRange(min=1) if f.name == "num_threads" else kind
            option = click.option(
                *names,
                f.name,
                type=least,
                default=f.default,
                show_default=f.default is not None,
                help=HELP[f.name],
            )
        command = option(command)
    return command


class _Commands(click.Group):
    """The commands in the order of work; each file of `commands/` is imported when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """`_ORDER`, then any other, by name."""
        del ctx
        found = {m.name for m in pkgutil.iter_modules(commands.__path__)} | {"search"}
        named = [name for name in found if not name.startswith("_")]
        return sorted(named, key=lambda n: (_ORDER.index(n) if n in _ORDER else len(_ORDER), n))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of a name; None where there is none."""
        if name == "search":
            return search
        if name.replace("_", "-") not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{commands.__name__}.{name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggests the nearest command for one that there is not."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = near(args[0], self.list_commands(ctx), what="commands")
            raise click.UsageError(f"no command is called {args[0]!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="mergekit-mo")
def main() -> None:
    """Search mergekit recipes for several goals at once, and keep every trade-off."""


@click.command(
    "mergekit-mo-search",
    cls=_Grouped,
    epilog=(
        "Examples:  mergekit-mo-search recipes/base.yaml   |   "
        "mergekit-mo-search recipes/base.yaml --dry-run   |   "
        "mergekit-mo-search recipes/base.yaml --budget 60 --resume"
    ),
)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--budget", type=click.IntRange(min=1), help="Merges to make, for the recipe's own.")
@click.option("--seed", type=click.IntRange(min=0), help="The search's seed, for the recipe's own.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The run folder.  [default: runs/<recipe name>]"
)
@click.option("--resume", is_flag=True, help="Continue the run that is in the folder.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; reads no weights.")
@click.option("--json", "as_json", is_flag=True, help="Print events as lines of JSON.")
@click.option("--quiet", is_flag=True, help="Print the result alone.")
@click.option(
    "--search-on-test-sets",
    is_flag=True,
    help="Let well-known benchmark test sets be objectives, which spoils them as benchmarks.",
)
@merge_flags
def search(
    recipe: Path,
    budget: int | None,
    seed: int | None,
    out: Path | None,
    resume: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    search_on_test_sets: bool,
    **flags: Any,
) -> None:
    """Search RECIPE, a mergekit YAML in which some numbers are marked as searchable.

    A number is marked by its bounds, as in `weight: {value: 0.5, low: 0, high: 1}`; the goals stand
    in a `search:` block. The best trade-offs are written to the run folder as plain mergekit YAMLs.
    """
    folder = out or Path("runs") / recipe.stem
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _search(
            recipe, folder, MergeFlags(**flags),
            budget=budget, seed=seed, resume=resume, dry_run=dry_run, as_json=as_json, quiet=quiet,
            test_sets=search_on_test_sets,
        )  # fmt: skip
    except UserError as error:
        click.echo(str(error), err=True)
        sys.exit(error.status)
    except KeyboardInterrupt:
        told = f"\nstopped; nothing finished is lost. Continue with:\n  {_again()}"
        click.echo(told, err=True)
        sys.exit(130)


def _search(
    recipe: Path,
    folder: Path,
    flags: MergeFlags,
    *,
    budget: int | None,
    seed: int | None,
    resume: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    test_sets: bool,
) -> None:
    from mergekit_mo.problems import read_source

    read_source(recipe)  # finds a misspelt path before seconds of imports
    from mergekit_mo.console import quiet_libraries, screen
    from mergekit_mo.loop import check_folder
    from mergekit_mo.loop import search as run
    from mergekit_mo.preflight import prepare

    quiet_libraries()
    ready = prepare(
        recipe,
        flags,
        budget=budget,
        seed=seed,
        allow_test_sets=test_sets,
        lora_cache=folder.resolve() / "lora",
    )
    if dry_run:
        _tell_plan(ready, as_json=as_json)
        return
    check_folder(ready, folder, resume=resume)
    with screen(as_json=as_json, quiet=quiet) as shown:
        for event in run(ready, folder, resume=resume):
            shown.show(event)


def _tell_plan(ready: Ready, *, as_json: bool) -> None:
    """Prints what a search would do."""
    import json

    from mergekit_mo.plan import plan_facts, plan_text

    click.echo(json.dumps(plan_facts(ready)) if as_json else plan_text(ready))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _again() -> str:
    """The command that was typed, made to resume."""
    name, words = Path(sys.argv[0]).name, sys.argv[1:]
    program = ["python", "-m", "mergekit_mo.cli"] if name.endswith(".py") else [name]
    end = words.index("--") if "--" in words else len(words)
    more = [] if "--resume" in words[:end] else ["--resume"]
    return shlex.join([*program, *words[:end], *more, *words[end:]])


if __name__ == "__main__":
    main()

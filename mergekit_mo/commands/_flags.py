"""mergekit's merge options as options of a command, under mergekit's own names, with headings.

Rule: the options themselves stand in `options.MergeFlags`; here is only how they are typed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_type_hints

import click

from mergekit_mo.budget import Budget, read_budget
from mergekit_mo.options import HELP, OURS_ALONE, MergeFlags
from mergekit_mo.workers import INLINE, Workers

HEADINGS = {
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
    "Workers": ("executor", "workers", "gpus_per_trial", "ray_address"),
    "Models": ("transformers_cache", "lora_merge_cache", "lora_merge_dtype"),
    "Dangerous": (
        "search_on_test_sets",
        "run_task_code",
        "trust_remote_code",
        "allow_pickle",
        "allow_crimes",
        "unsafe_truncate_embeddings",
    ),
}


class _BudgetType(click.ParamType[Budget]):
    """A number of merges, or a time."""

    name = "merges or time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Budget:
        """Reads what was typed."""
        try:
            return value if isinstance(value, Budget) else read_budget(value)
        except ValueError as error:
            self.fail(f"{error} such as 8h, 90m or 2d, got {value!r}", param, ctx)


BUDGET = _BudgetType()


class Grouped(click.Command):
    """Shows options under headings, as mergekit's own commands do."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options of `HEADINGS`, then the others."""
        records = {p.name: r for p in self.get_params(ctx) if (r := p.get_help_record(ctx))}
        for title, names in HEADINGS.items():
            with formatter.section(title):
                formatter.write_dl([records.pop(name) for name in names if name in records])
        with formatter.section("Other"):
            formatter.write_dl(list(records.values()))


def merge_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Adds mergekit's merge options to a command, under mergekit's own names."""
    kinds = get_type_hints(MergeFlags)
    for f in reversed(fields(MergeFlags)):
        name = "--" + f.name.replace("_", "-")
        if f.name in ("gpu_rich", *OURS_ALONE):
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


def task_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that let tasks do what is refused by default."""
    command = click.option(
        "--run-task-code",
        is_flag=True,
        help="Run the Python functions that task files name (danger).",
    )(command)
    return click.option(
        "--search-on-test-sets",
        is_flag=True,
        help="Let well-known benchmark test sets be objectives, which spoils them as benchmarks.",
    )(command)


def worker_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that say who runs the trials; `taken` reads them."""
    least = click.IntRange(min=1)
    options = (
        click.option(
            "--executor",
            metavar="KIND",
            default=INLINE,
            show_default=True,
            help="Who runs the trials: inline, processes, ray.",
        ),
        click.option("--workers", type=least, help="How many.  [default: one for each GPU]"),
        click.option("--gpus-per-trial", type=least, help="GPUs over which a model is spread."),
        click.option(
            "--ray-address", metavar="ADDRESS", help="A Ray cluster to work on: auto, host:port."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def taken(options: dict[str, Any]) -> Workers:
    """Takes the options of `worker_flags` out of a command's."""
    return Workers(
        options.pop("executor"),
        options.pop("workers"),
        options.pop("gpus_per_trial"),
        options.pop("ray_address"),
    )

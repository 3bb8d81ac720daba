"""What the commands that merge have in common: where they keep things, and what they may run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mergekit_mo.trial import Trial
    from mergekit_mo.writing import Caches

TRIAL: Callable[..., Any] = click.argument("trial", type=click.IntRange(min=0))
"""The argument `trial`: a number."""

LICENCE: Callable[..., Any] = click.option(
    "--license", "licence", metavar="L", help="The model's licence, as the Hub writes it: mit, …"
)
"""The option `licence`."""


def merge_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what a merge needs to know of this machine, under mergekit's own names."""
    path = click.Path(path_type=Path)
    for option in (
        click.option(
            "--trust-remote-code",
            is_flag=True,
            help="Run Python code that comes with a model (danger), where the search did.",
        ),
        click.option("--allow-pickle", is_flag=True, help="Take pickled weights (danger)."),
        click.option("--lora-merge-cache", type=path, help="As for the search."),
        click.option("--transformers-cache", type=path, help="As for the search."),
    ):
        command = option(command)
    return command


def caches(run: Path, trial: Trial, models: Path | None, lora: Path | None) -> Caches:
    """Where this machine keeps what a merge needs; LoRAs are merged in the run folder."""
    from mergekit_mo.writing import Caches

    if lora is None and "+" in str(trial.config):
        lora = run.resolve() / "lora"
    return Caches(models, lora)

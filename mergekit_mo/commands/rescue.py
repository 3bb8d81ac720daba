"""`mergekit-mo rescue`: what is whole in a damaged run becomes a new one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mergekit_mo.commands._shared import (
    AS_JSON,
    RUN,
    examples,
    quoted,
    reports_errors,
    say,
    tell,
    tell_json,
)

_SHOWN = 12


@click.command(
    "rescue",
    epilog=examples("mergekit-mo rescue runs/base runs/base-rescued"),
)
@RUN
@click.argument("out", type=click.Path(path_type=Path))
@AS_JSON
@reports_errors
def command(run: Path, out: Path, as_json: bool) -> None:
    """Save what is whole of RUN, whose archive is damaged, in the new run folder OUT.

    RUN stays as it is. A trial that lost a part of its result waits to be run again; `mergekit-mo
    search RECIPE --out OUT --resume` does so.
    """
    from mergekit_mo.rescue import rescue

    found = rescue(run, out)
    if as_json:
        tell_json(asdict(found))
    else:
        tell(f"{len(found.kept)} trials are as they were")
        if found.again:
            tell(f"{_numbers(found.again)}: a part of the result is lost; to be run again")
        if found.gone:
            tell(f"{_numbers(found.gone)}: nothing is left of it")
    say("with the same recipe, go on with:")
    say(f"  {quoted('mergekit-mo', 'search', 'RECIPE.yaml', '--out', out, '--resume')}")


def _numbers(trials: tuple[int, ...]) -> str:
    more = f" and {len(trials) - _SHOWN} more" if len(trials) > _SHOWN else ""
    listing = ", ".join(map(str, trials[:_SHOWN]))
    return f"trial{'s' if len(trials) > 1 else ''} {listing}{more}"

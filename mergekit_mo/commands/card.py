"""`mergekit-mo card`: the model card of a trial."""

from __future__ import annotations

from pathlib import Path

import click

from mergekit_mo.commands._shared import (
    AS_JSON,
    RUN,
    examples,
    open_run,
    quoted,
    reports_errors,
    say,
    tell,
    tell_json,
)
from mergekit_mo.commands._writing import LICENCE, TRIAL


@click.command(
    "card",
    epilog=examples(
        "mergekit-mo card runs/base 17",
        "mergekit-mo card runs/base 17 --license apache-2.0 > models/best/README.md",
    ),
)
@RUN
@TRIAL
@LICENCE
@click.option("--name", metavar="NAME", help="The model's name.  [default: RUN-TRIAL]")
@AS_JSON
@reports_errors
def command(run: Path, trial: int, licence: str | None, name: str | None, as_json: bool) -> None:
    """Print the model card of a TRIAL of RUN, for the Hugging Face Hub.

    The licence is taken from the sources' cards, here or on the Hub, where these agree.
    """
    with open_run(run) as archive:
        from mergekit_mo.card import card_text
        from mergekit_mo.publishing import subject_of
        from mergekit_mo.writing import done_trial

        found = done_trial(archive, trial)
        title = name or f"{run.resolve().name}-{trial:03d}"
        subject = subject_of(archive, found, title, licence, ask_hub=licence is None)
        text = card_text(subject)
    push = quoted("mergekit-mo", "push", run, trial, f"OWNER/{title}")
    if as_json:
        chosen = subject.licence.id if subject.licence else None
        tell_json({"trial": trial, "name": title, "license": chosen, "card": text, "next": push})
        return
    tell(text.rstrip("\n"))
    say(f"upload it with its model:  {push}")

"""`mergekit-mo pick`: one trial of a front, as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from mergekit_mo.problems import UserError

if TYPE_CHECKING:
    from mergekit_mo.archive import Archive
    from mergekit_mo.traded import Choice
    from mergekit_mo.trial import Trial

_RULES = "--by knee, --prefer GOAL=WEIGHT, --at-least GOAL=BOUND or --trial N"


@click.command(
    "pick",
    epilog=examples(
        "mergekit-mo pick runs/base --by knee",
        "mergekit-mo pick runs/base --prefer gsm8k_train=0.7,arc_challenge_train=0.3",
        "mergekit-mo pick runs/base --at-least gsm8k_train=0.4 > best.yaml",
        "mergekit-mo pick runs/base --trial 17 --json",
    ),
)
@RUN
@click.option("--by", "rule", type=click.Choice(["knee"]), help="A rule that needs no numbers.")
@click.option(
    "--prefer", multiple=True, metavar="GOAL=WEIGHT,…", help="What the goals are worth to you."
)
@click.option(
    "--at-least",
    multiple=True,
    metavar="GOAL=BOUND",
    help="Keep this bound (where less is better, a most), and be best at the rest.  [repeatable]",
)
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="This very trial.")
@AS_JSON
@reports_errors
def command(
    run: Path,
    rule: str | None,
    prefer: tuple[str, ...],
    at_least: tuple[str, ...],
    trial: int | None,
    as_json: bool,
) -> None:
    """Choose one trial of RUN by its search scores and print its mergekit YAML.

    What it is traded for, against the parents and the rest of the front, goes to standard error.
    """
    asked = [rule is not None, bool(prefer), bool(at_least), trial is not None]
    if sum(asked) != 1:
        way = f"choose one way:  mergekit-mo pick {quoted(run)} --by knee"
        raise UserError(f"pick takes one of {_RULES}\n  {way}", status=2)
    with open_run(run) as archive:
        chosen = _choose(archive, run, prefer, at_least, trial)
        text, source = _config_text(archive, run, chosen.trial)
        number = chosen.trial.number
        following = quoted("mergekit-mo", "merge", run, number, run / "models" / f"{number:03d}")
        if as_json:
            tell_json(_facts(archive, chosen) | {"file": source, "next": following})
            return
        from mergekit_mo.advances import advances
        from mergekit_mo.making import layers_text

        path = layers_text(archive, chosen.trial)
        gained = list(advances(archive, chosen.trial).told(number))
    say(f"trial {number}: {chosen.why}")
    if path:
        say(f"  layers: {path}")
    for line in (*chosen.traded(), *gained, *(f"note: {note}" for note in chosen.notes)):
        say(f"  {line}")
    tell(text.rstrip("\n"))
    say(f"write the model with:  {following}")


def _choose(
    archive: Archive,
    run: Path,
    prefer: tuple[str, ...],
    at_least: tuple[str, ...],
    trial: int | None,
) -> Choice:
    """The choice; what keeps it from being made, with the command that can be typed next."""
    from mergekit_mo import choose

    option, texts = ("--prefer", prefer) if prefer else ("--at-least", at_least)
    again = ["mergekit-mo", "pick", run]
    try:
        if trial is not None:
            return choose.numbered(archive, trial)
        if not texts:
            return choose.knee(archive)
        rule = choose.prefer if prefer else choose.at_least
        return rule(archive, choose.read_amounts(texts, option))
    except choose.UnmetError as error:
        way = f"take it all the same:  {quoted(*again, '--trial', error.nearest)}"
        raise UserError(f"{error}\n  {way}", status=error.status) from error
    except choose.UnknownGoalError as error:
        if error.meant is None:
            raise
        words = [w for text in texts for w in (option, text.replace(error.name, error.meant))]
        raise UserError(f"{error}\n  {quoted(*again, *words)}", status=error.status) from error
    except UserError as error:
        way = f"see them with:  {quoted('mergekit-mo', 'front', run)}"
        raise UserError(f"{error}\n  {way}", status=error.status) from error


def _config_text(archive: Archive, run: Path, trial: Trial) -> tuple[str, str | None]:
    """The trial's file, header included, if it stands there as it was scored; else its YAML."""
    import yaml

    from mergekit_mo.export import documents_text
    from mergekit_mo.making import documents_of

    documents = documents_of(archive, trial)
    path = run / "front" / f"{trial.number:03d}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
        if list(yaml.safe_load_all(text)) == list(documents):
            return text, str(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        pass
    return documents_text(documents), None


def _facts(archive: Archive, chosen: Choice) -> dict[str, Any]:
    from mergekit_mo.advances import advances
    from mergekit_mo.intervals import with_ends
    from mergekit_mo.making import documents_of, layers_text, maker_of

    trial = chosen.trial
    documents = documents_of(archive, trial)
    return {
        "trial": trial.number,
        "why": chosen.why,
        "notes": list(chosen.notes),
        "scores": with_ends(trial.scores),
        "holdout": with_ends(trial.holdout),
        "gains": [gain.facts() for gain in advances(archive, trial).of(trial.number)],
        "traded": [goal.facts() for goal in chosen.goals],
        "config": documents[0] if len(documents) == 1 else list(documents),
        "maker": maker_of(archive, trial),
        "path": layers_text(archive, trial) or None,
    }

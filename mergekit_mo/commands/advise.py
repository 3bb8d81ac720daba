"""`mergekit-mo advise`: a merge for a preference, of the front and new."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
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
    from mergekit_mo.advising import Suggestion
    from mergekit_mo.options import MergeFlags
    from mergekit_mo.space import Candidate
    from mergekit_mo.trial import Trial

POLICY = "policy.safetensors"
"""What a policy learnt from a run; a cache, which may be deleted at any time."""


@click.command(
    "advise",
    epilog=examples(
        "mergekit-mo advise runs/layers --prefer gsm8k_train=0.7,arc_challenge_train=0.3",
        "mergekit-mo advise runs/layers --prefer gsm8k_train=1 --evaluate",
    ),
)
@RUN
@click.option(
    "--prefer",
    multiple=True,
    required=True,
    metavar="GOAL=WEIGHT,…",
    help="What the goals are worth to you.",
)
@click.option("--evaluate", is_flag=True, help="Merge and score the new one; it joins the run.")
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    help="For --evaluate: where the run's recipe is now, if it has moved.",
)
@click.option("--trust-remote-code", is_flag=True, help="For --evaluate, as for the search.")
@click.option("--allow-pickle", is_flag=True, help="For --evaluate, as for the search.")
@click.option("--run-task-code", is_flag=True, help="For --evaluate, as for the search.")
@AS_JSON
@reports_errors
def command(
    run: Path,
    prefer: tuple[str, ...],
    evaluate: bool,
    recipe: Path | None,
    trust_remote_code: bool,
    allow_pickle: bool,
    run_task_code: bool,
    as_json: bool,
) -> None:
    """Suggest a merge for a preference: the nearest of RUN's front, and a new candidate.

    The new one comes from a policy over layer paths that learns from the run's trials in seconds,
    once: what it learnt is kept in RUN/policy.safetensors until the run changes. It is unscored:
    what is said of it is a guess until --evaluate has scored it.
    """
    from mergekit_mo.choose import read_amounts

    with open_run(run) as archive:
        from mergekit_mo.advising import suggest
        from mergekit_mo.export import documents_text
        from mergekit_mo.making import documents_of
        from mergekit_mo.writing import trusted_flags

        found = suggest(archive, read_amounts(prefer, "--prefer"), _kept(run))
        if found.trained:
            _keep(run, found.checkpoint)
        known = documents_text(documents_of(archive, found.known.trial))
        path = recipe or Path(str(archive.fact("recipe_name")))
        flags = trusted_flags(archive, trust_remote_code, allow_pickle) if evaluate else None
    trial = None
    if flags is not None:
        if found.new is None:
            raise UserError(f"there is nothing to evaluate: {found.why}")
        trial = _scored(run, path, flags, found.new, run_task_code)
    if as_json:
        tell_json(_facts(found, trial))
        return
    say(f"trial {found.known.trial.number}, scored: {found.known.why}")
    for line in found.known.traded():
        say(f"  {line}")
    tell(f"# trial {found.known.trial.number}, scored\n{known.rstrip()}")
    if found.new is None:
        say(f"no new candidate: {found.why}")
        return
    _tell_new(run, found, trial, documents_text(found.documents))


def _kept(run: Path) -> bytes | None:
    """What a policy learnt from the run before; None where nothing is kept."""
    try:
        return (run / POLICY).read_bytes()
    except OSError:
        return None


def _keep(run: Path, checkpoint: bytes) -> None:
    """Keeps what the policy learnt; in a folder that cannot be written to, it learns each time."""
    from mergekit_mo.files import write_file

    with contextlib.suppress(OSError):
        write_file(run / POLICY, checkpoint)


def _scored(run: Path, recipe: Path, flags: MergeFlags, candidate: Candidate, code: bool) -> Trial:
    """The new candidate as a trial of the run."""
    from mergekit_mo.console import quiet_libraries
    from mergekit_mo.loop import score
    from mergekit_mo.preflight import prepare

    if not recipe.is_file():
        way = "name it with --recipe"
        raise UserError(f"{recipe}: the run's recipe is no longer here; {way}", status=4)
    quiet_libraries()
    # Whoever ran the search has decided on test sets then.
    ready = prepare(recipe, flags, allow_test_sets=True, run_task_code=code)
    return score(ready, run, candidate)


def _tell_new(run: Path, found: Suggestion, trial: Trial | None, text: str) -> None:
    """The new candidate, scored or not."""
    if trial is None:
        state = "new, unscored"
    elif trial.error is None:
        state = f"new, now trial {trial.number}, scored"
    else:
        state = f"new, now trial {trial.number}, failed"
    say(f"{state}: layers {found.layers}")
    if trial is not None:
        for name, measured in trial.scores.items():
            say(f"  {name} {measured.value:.4g}")
        if trial.error:
            say(f"  {trial.error.partition(chr(10))[0]}")
    elif found.expected:
        guesses = ", ".join(f"{name} {value:.4g}" for name, value in found.expected.items())
        say(f"  guessed, not measured: {guesses}")
    tell(f"# {state}\n{text.rstrip()}")
    if trial is None:
        say(f"score it with:  {quoted('mergekit-mo', 'advise', run)} --prefer … --evaluate")
    elif trial.error is None:
        say(f"write its model with:  {quoted('mergekit-mo', 'merge', run, trial.number, 'OUT')}")


def _facts(found: Suggestion, trial: Trial | None) -> dict[str, Any]:
    known = found.known.trial
    facts: dict[str, Any] = {
        "known": {
            "trial": known.number,
            "why": found.known.why,
            "scores": {goal: asdict(score) for goal, score in known.scores.items()},
            "config": dict(known.config),
        },
        "new": None,
    }
    if found.new is None:
        return facts | {"why": found.why}
    facts["new"] = {
        "scored": trial is not None and trial.error is None,
        "trial": None if trial is None else trial.number,
        "error": None if trial is None else trial.error,
        "scores": {g: asdict(s) for g, s in trial.scores.items()} if trial else {},
        "guessed": found.expected,
        "layers": found.layers,
        "configs": list(found.documents),
    }
    return facts

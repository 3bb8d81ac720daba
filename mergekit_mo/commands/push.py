"""`mergekit-mo push`: the model of a trial, on the Hugging Face Hub."""

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
from mergekit_mo.commands._writing import LICENCE, TRIAL, caches, merge_options

if TYPE_CHECKING:
    from mergekit_mo.archive import Archive
    from mergekit_mo.hub import Target
    from mergekit_mo.publishing import Package
    from mergekit_mo.trial import Trial
    from mergekit_mo.writing import Caches


@click.command(
    "push",
    epilog=examples(
        "mergekit-mo push runs/base 17 me/my-merge --dry-run",
        "mergekit-mo push runs/base 17 me/my-merge",
        "mergekit-mo push runs/base 17 me/my-merge --model models/best --public",
        "mergekit-mo push runs/base 17 team/merges --revision trial-17",
        "mergekit-mo push runs/base 17 team/merges --pull-request",
    ),
)
@RUN
@TRIAL
@click.argument("repo", metavar="OWNER/NAME")
@click.option(
    "--model", type=click.Path(path_type=Path), help="A folder that `mergekit-mo merge` wrote."
)
@click.option("--public", is_flag=True, help="Let everybody see it.  [default: private]")
@click.option("--revision", metavar="BRANCH", help="Upload to this branch, made where needed.")
@click.option("--pull-request", is_flag=True, help="Propose the upload as a pull request.")
@click.option("--message", metavar="TEXT", help="The commit's message.")
@LICENCE
@merge_options
@click.option("--dry-run", is_flag=True, help="List what would be uploaded; contacts nobody.")
@AS_JSON
@reports_errors
def command(
    run: Path,
    trial: int,
    repo: str,
    model: Path | None,
    public: bool,
    revision: str | None,
    pull_request: bool,
    message: str | None,
    licence: str | None,
    trust_remote_code: bool,
    allow_pickle: bool,
    lora_merge_cache: Path | None,
    transformers_cache: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Upload the model of a TRIAL of RUN, its card and its configuration to the Hub.

    What is uploaded is checked on arrival. If it is cut off, the same command goes on where it
    stopped. The token is the Hub client's own (`hf auth login`).
    """
    with open_run(run) as archive:
        from mergekit_mo import hub, hub_line, publishing
        from mergekit_mo.console import quiet_libraries
        from mergekit_mo.writing import done_trial

        found = done_trial(archive, trial)
        text = message or f"Upload trial {trial} of {run.resolve().name} with mergekit-mo"
        target = hub.Target(repo, public, revision, pull_request, text)
        hub.check_target(target)
        quiet_libraries()
        if not dry_run:
            hub_line.find_token()  # before a merge that may take long
        places = caches(run, found, transformers_cache, lora_merge_cache)
        subject = publishing.subject_of(
            archive,
            found,
            repo.partition("/")[2],
            licence,
            ask_hub=not dry_run,
            cache=places.models,
        )
        folder = publishing.find_model(archive, found, run, model)
        if folder is None and not dry_run:
            folder = _merge(
                archive, found, run, places, trust_remote_code=trust_remote_code,
                allow_pickle=allow_pickle,
            )  # fmt: skip
        with publishing.packed(subject, run, folder) as package:
            if dry_run:
                _tell_plan(package, target, quoted("mergekit-mo", "merge", run, trial), as_json)
                return
            _upload(package, target, run, found, as_json)


def _merge(archive: Archive, trial: Trial, run: Path, places: Caches, **allowed: bool) -> Path:
    from mergekit_mo.publishing import make_model

    say(f"merging trial {trial.number}")
    return make_model(archive, trial, run, caches=places, **allowed)


def _upload(package: Package, target: Target, run: Path, trial: Trial, as_json: bool) -> None:
    from mergekit_mo import hub, hub_line, publishing

    for name in package.left:
        say(f"not uploaded, as it belongs to no model: {name}")
    hub_line.quiet_client()
    facts = _facts(package, target)
    pushed = hub.push(package.items, target, run, say=say)
    publishing.clear_model(run, trial)
    if as_json:
        facts |= {"url": pushed.url, "commit": pushed.commit}
        facts |= {"revision": pushed.revision, "pull_request": pushed.pull_request}
        tell_json(facts | {"uploaded": list(pushed.uploaded)})
        return
    tell(pushed.url)
    count = len(pushed.uploaded)
    say(f"{count} files uploaded" if count else "everything was there already")
    say(f"all {len(package.items)} files are on the Hub as they are here (commit {pushed.commit})")


def _tell_plan(package: Package, target: Target, merge: str, as_json: bool) -> None:
    """Prints what would be uploaded."""
    facts = _facts(package, target) | {"dry_run": True, "model_written": package.model is not None}
    if as_json:
        tell_json(facts)
        return
    where = target.revision or "main"
    how = "a pull request to main" if target.pull_request else f"revision {where}"
    tell(f"{target.repo}, {facts['visibility']}, {how}")
    tell(f"licence: {facts['license'] or 'to be asked of the Hub'}")
    for item in package.items:
        tell(f"{item.size:>15,}  {item.path}")
    tell(f"{facts['bytes']:>15,}  bytes in all")
    if package.model is None:
        say("and the model's own files, which are not written yet; write and count them with:")
        say(f"  {merge} FOLDER")
    for name in package.left:
        say(f"would not be uploaded, as it belongs to no model: {name}")


def _facts(package: Package, target: Target) -> dict[str, Any]:
    return {
        "repo": target.repo,
        "visibility": "public" if target.public else "private",
        "revision": None if target.pull_request else target.revision or "main",
        "as_pull_request": target.pull_request,
        "license": package.licence.id if package.licence else None,
        "files": [{"path": item.path, "bytes": item.size} for item in package.items],
        "bytes": sum(item.size for item in package.items),
    }

"""`mergekit-mo merge`: the model of a trial, on disk."""

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
from mergekit_mo.commands._writing import TRIAL, caches, merge_options


@click.command(
    "merge",
    epilog=examples(
        "mergekit-mo merge runs/base 17 models/best",
        "mergekit-mo merge runs/base 17 models/best --json",
    ),
)
@RUN
@TRIAL
@click.argument("out", type=click.Path(path_type=Path))
@merge_options
@AS_JSON
@reports_errors
def command(
    run: Path,
    trial: int,
    out: Path,
    trust_remote_code: bool,
    allow_pickle: bool,
    lora_merge_cache: Path | None,
    transformers_cache: Path | None,
    as_json: bool,
) -> None:
    """Write the model of a TRIAL of RUN to the folder OUT, bit for bit as it was scored.

    Any finished trial will do, not only those of the front. The tensors' digest is compared with
    the one that was recorded.
    """
    with open_run(run) as archive:
        from mergekit_mo.writing import check_empty, done_trial, write_model

        found = done_trial(archive, trial)
        check_empty(out)
        from mergekit_mo.console import quiet_libraries

        quiet_libraries()
        say(f"merging trial {trial} into {out}")
        digest = write_model(
            archive,
            found,
            out,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            caches=caches(run, found, transformers_cache, lora_merge_cache),
        )
    size = sum(path.stat().st_size for path in out.iterdir())
    card = quoted("mergekit-mo", "card", run, trial)
    push = quoted("mergekit-mo", "push", run, trial, "OWNER/NAME", "--model", out)
    if as_json:
        facts = {"trial": trial, "out": str(out), "digest": digest, "bytes": size}
        tell_json(facts | {"next": [card, push]})
        return
    tell(str(out))
    say(f"{size:,} bytes; the tensors are the ones that were scored (sha256 {digest[:16]}…)")
    say(f"see its card with:  {card}\nupload it with:     {push}")

"""`mergekit-mo report`: a run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mergekit_mo.commands._shared import (
    ARCHIVE,
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


@click.command(
    "report",
    epilog=examples(
        "mergekit-mo report runs/base",
        "mergekit-mo report runs/base --out base.html",
        "mergekit-mo report runs/base --serve",
    ),
)
@RUN
@click.option(
    "--out", type=click.Path(path_type=Path), help="The file.  [default: RUN/report.html]"
)
@click.option("--serve", is_flag=True, help="Show the page on 127.0.0.1, and follow the search.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="With --serve.  [default: any that is free]"
)
@AS_JSON
@reports_errors
def command(run: Path, out: Path | None, serve: bool, port: int | None, as_json: bool) -> None:
    """Write RUN as one page: front, progress, what mattered, failures, every trial's YAML.

    The page is a single file that loads nothing from anywhere. It can be made while the search
    runs; with --serve it is updated as trials finish, until Ctrl-C.
    """
    if serve and out is not None:
        raise UserError("--out is for a file, and --serve writes none: take one", status=2)
    if port is not None and not serve:
        raise UserError("--port is for --serve", status=2)
    from mergekit_mo.machine import set_threads

    set_threads(1)  # a search may be running beside it, and more threads than cores are slow
    if serve:
        _serve(run, port or 0, as_json)
    else:
        _write(run, out or run / "report.html", as_json)


def _write(run: Path, out: Path, as_json: bool) -> None:
    with open_run(run) as archive:
        from mergekit_mo.files import write_file
        from mergekit_mo.report import report_text

        text = report_text(archive, run)
        counts = {"trials": len(archive.trials), "front": len(archive.front())}
    try:
        write_file(out, text)
    except OSError as error:
        way = quoted("mergekit-mo", "report", run, "--out", "FILE")
        what = f"{out}: {error.strerror or error}"
        raise UserError(f"{what}; write it elsewhere with:\n  {way}") from error
    size = len(text.encode())
    if as_json:
        tell_json({"file": str(out), "bytes": size, **counts})
        return
    tell(str(out))
    say(f"{size:,} bytes; open it in a browser, it needs no network")


def _serve(run: Path, port: int, as_json: bool) -> None:
    open_run(run).close()  # tells now what is wrong with it
    from mergekit_mo.report.server import Server

    with Server(run, ARCHIVE, port) as server:
        if as_json:
            facts: dict[str, Any] = {"url": server.address, "run": str(run)}
            tell_json(facts)
        else:
            tell(server.address)
        say("follows the run; stop with Ctrl-C")
        server.serve_forever(poll_interval=0.2)

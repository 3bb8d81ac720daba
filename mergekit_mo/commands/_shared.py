"""What the commands share: errors told in words, a run opened for reading, common options.

Rule: a command changes nothing in a run folder but what it says it writes; archives are opened
read-only here.
"""

from __future__ import annotations

import errno
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from mergekit_mo.problems import UserError, near

if TYPE_CHECKING:
    from mergekit_mo.archive import Archive
    from mergekit_mo.mark import Marked

P = ParamSpec("P")
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]

ARCHIVE = "archive.db"
_REFUSALS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOTDIR,
     errno.EISDIR, errno.ENAMETOOLONG, errno.EMFILE}
)  # fmt: skip
"""What a disk says when it will not: nobody's mistake, and no crash."""

RUN: Wrap = click.argument("run", type=click.Path(path_type=Path))
"""The argument `run`: the folder of a search."""

AS_JSON: Wrap = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""The option `as_json`."""


def reports_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Ends a command by the cause, as `ending` does."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with ending():
            command(*args, **kwargs)

    return run


@contextmanager
def ending(stopped: Callable[[], str] = lambda: "stopped") -> Iterator[None]:
    """Tells on standard error what ends a command, and leaves with a status by the cause.

    A `UserError` has its own (2 what was typed, 4 something missing, else 1), a disk that refuses
    is 1, a package that is not there 4, Ctrl-C 130; anything else is a mistake of this program's,
    which leaves a report and status 3.

    Args:
        stopped: what is said after Ctrl-C.
    """
    try:
        yield
    except UserError as error:
        from mergekit_mo.crash import without_secrets

        say(without_secrets(str(error)))  # it may repeat what a library said
        sys.exit(error.status)
    except KeyboardInterrupt:
        say(stopped())
        sys.exit(130)
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise  # click's own ways to end
    except Exception as error:
        sys.exit(_unexpected(error))


def _unexpected(error: Exception) -> int:
    """Tells an error that nobody foresaw; gives the exit status."""
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        where = f"{error.filename}: " if error.filename else ""
        say(f"{where}{error.strerror}")
        return 1
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        raise error  # whoever reads our output has gone; click ends quietly
    if isinstance(error, ModuleNotFoundError) and not _ours(error.name):
        from mergekit_mo.optional import missing

        told = missing(error.name, "this command")
        say(str(told))
        return told.status
    from mergekit_mo.crash import report_text, scrubbed, where_to_send, write_report

    path = write_report(error, sys.argv)
    what = scrubbed(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    if path is None:
        say(f"this is a mistake of mergekit-mo's ({what}), and no folder takes its report:")
        say(report_text(error, sys.argv))
    else:
        say(
            f"this is a mistake of mergekit-mo's ({what}); a report is in {path}: "
            f"please look it over and send it to {where_to_send()}"
        )
    return 3


def _ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] in ("", "mergekit_mo")


def open_run(run: Path) -> Archive:
    """Opens the archive of a run folder read-only; use it as a context manager.

    Raises:
        UserError: there is no run, or its archive cannot be read.
    """
    path = run / ARCHIVE
    if not path.is_file():
        raise UserError(f"{run}: {_absence(run)}\n  {_way_out(run)}", status=2)
    from mergekit_mo.archive import Archive

    return Archive.open(path, read_only=True)


def _absence(run: Path) -> str:
    if run.is_dir():
        return f"no search has run in this folder (it has no {ARCHIVE})"
    return "a run is a folder, this is a file" if run.exists() else "no such folder"


def _way_out(run: Path) -> str:
    """The next command for somebody who named no run."""
    if run.is_file() and run.suffix in (".yaml", ".yml"):
        return f"start a search with:  mergekit-mo search {quoted(run)}"
    if run.name == ARCHIVE and run.is_file():
        return f"name the folder that it is in:  {quoted(run.parent)}"
    folder = run if run.is_dir() else run.parent
    here = sorted(p.parent.name for p in folder.glob(f"*/{ARCHIVE}"))
    if here:
        return near(run.name, here, what=f"runs in {folder}")
    return f"start a search with:  mergekit-mo search RECIPE.yaml --out {quoted(run)}"


def quoted(*words: object) -> str:
    """Words as a shell takes them."""
    return shlex.join(str(word) for word in words)


def say(text: str) -> None:
    """Prints narration, on standard error; what a stranger named moves no cursor."""
    click.echo("".join(c if c.isprintable() or c in "\n\t" else "?" for c in text), err=True)


def tell(text: str) -> None:
    """Prints data, on standard output."""
    click.echo(text)


def tell_json(value: Any) -> None:
    """Prints data as JSON, on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def examples(*lines: str) -> str:
    """An epilog of examples, one a line as they are typed."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def deliver(
    made: Marked, out: Path | None, again: list[str], *, force: bool, as_json: bool
) -> None:
    """Prints a recipe that was made, or writes it to a file, and says what it is.

    Args:
        made: the recipe.
        out: the file, if it is to be one.
        again: the command that was typed, without --out and --force.
        force: whether a file that is there may be replaced.
        as_json: whether standard output gets JSON.

    Raises:
        UserError: the file cannot be written, or the recipe has to be put right by hand.
    """
    name = "recipe.yaml" if out is None else str(out)
    if out is not None:
        _write(out, made.text, again, force=force)
    problems = _told(made, name)
    if as_json:
        facts = {"dimension": made.dimension, "notes": list(made.notes), "problems": problems}
        tell_json({**facts, "file": None if out is None else name, "recipe": made.text})
    elif out is None:
        tell(made.text.rstrip("\n"))
    say(f"{made.dimension} numbers to search")
    for note in made.notes:
        say(f"  {note}")
    if problems:
        way = quoted("mergekit-mo", "validate", name)
        told = "\n".join(problems)
        raise UserError(f"{told}\nput this right in {name}, then:  {way}", status=2)


def _write(out: Path, text: str, again: list[str], *, force: bool) -> None:
    from mergekit_mo.files import write_file

    if out.exists() and not force:
        way = quoted(*again, "--out", out, "--force")
        raise UserError(f"{out} is there already; to replace it:\n  {way}", status=2)
    try:
        write_file(out, text)
    except OSError as error:
        raise UserError(f"{out}: {error.strerror or error}") from error
    say(f"wrote {out}")


def _told(made: Marked, name: str) -> list[str]:
    """What is still wrong with a recipe, with the lines that it has now."""
    from mergekit_mo.problems import parse_source

    source = parse_source(made.text, name) if made.problems else None
    return [source.describe(problem) for problem in made.problems] if source else []

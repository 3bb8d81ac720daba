"""A mistake of this program's becomes a report that can be sent: versions, command, traceback.

Rule: a report holds nothing of the environment, no value of any variable, and neither tokens nor
the path of anybody's home.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from mergekit_mo.machine import describe, versions

_SECRETS = (
    # Hugging Face, OpenAI and its likes, GitHub, Weights & Biases.
    re.compile(r"\b(?:hf|api_org|sk|gh[pousr]|github_pat|xox[abp]|wandb_v\d)[_-][A-Za-z0-9_-]{8,}"),
    re.compile(r"(?<=://)[^/\s@]+@"),  # user:password@ in an address
    re.compile(r"(?i)(?<=bearer )[^\s'\"]+"),
    re.compile(  # --hub-token VALUE, "password": "VALUE", api_key=VALUE
        r"(?i)(?<![\w-])(?:--[\w-]*(?:token|secret|password|api-?key)\s+"
        r"|[\w-]*(?:token|secret|password|api[_-]?key)['\"]?\s*[=:]\s*['\"]?)[^\s,'\"(){}]{6,}"
    ),
)
_SECRET_NAME = re.compile(r"(?i)token(?!izer)|secret|passw|credential|api_?key|private_?key")
_SHORTEST = 8
"""Letters of a secret; shorter values, such as `false`, are settings."""

_HIDDEN = "<hidden>"
_FALLBACK = "the issue tracker of mergekit-mo"


def write_report(error: BaseException, argv: Sequence[str]) -> Path | None:
    """Writes the report of an error into the current folder, else into the temporary one.

    Args:
        error: what was raised and not expected.
        argv: the command that was typed.

    Returns:
        Its path; None where neither folder takes it.
    """
    text = report_text(error, argv)
    name = f"mergekit-mo-crash-{time.strftime('%Y%m%d-%H%M%S')}"
    for folder in (Path(), Path(tempfile.gettempdir())):
        for number in range(100):  # two commands may crash in one second
            path = folder / (f"{name}-{number}.txt" if number else f"{name}.txt")
            try:
                with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(text)
            except FileExistsError:
                continue
            except OSError:
                break
            return path
    return None


def report_text(error: BaseException, argv: Sequence[str]) -> str:
    """The report itself, ready to be sent."""
    first = traceback.format_exception_only(error)[-1].strip()
    rows = [
        "# mergekit-mo crashed",
        "",
        "What I did before, and what I expected:",
        "(please fill in, and attach the recipe if you can)",
        "",
        "## Command",
        "",
        f"    {shlex.join([Path(argv[0]).name, *argv[1:]]) if argv else '?'}",
        "",
        "## Error",
        "",
        *(f"    {line}" for line in first.splitlines()),
        "",
        "## Versions",
        "",
        *(f"    {name} {version}" for name, version in versions().items()),
        f"    {describe()}, {platform.platform(terse=True)}",
        "",
        "## Traceback",
        "",
        *(f"    {line}" for part in _trace(error) for line in part.rstrip().splitlines()),
        "",
    ]
    return scrubbed("\n".join(rows))


def without_secrets(text: str) -> str:
    """A text without what looks like a secret."""
    for secret in _own_secrets():
        text = text.replace(secret, _HIDDEN)
    for pattern in _SECRETS:
        text = pattern.sub(_HIDDEN, text)
    return text


def scrubbed(text: str) -> str:
    """A text without what looks like a secret, and with `~` for the user's home."""
    text = without_secrets(text)
    try:
        home = str(Path.home())
    except RuntimeError:  # nobody's home
        home = "/"
    if home != "/":
        text = re.sub(rf"{re.escape(home)}(?=/|\b)", "~", text)
    return re.sub(r"(?<![\w.])/(?:home|Users)/[^/\s'\"]+", "~", text)


def _own_secrets() -> list[str]:
    """The values of what the environment calls a token, a key or a password, the longest first."""
    named = [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
    return sorted({value for value in named if len(value) >= _SHORTEST}, key=len, reverse=True)


def where_to_send() -> str:
    """Where reports go: the address in the package's own metadata, if there is one."""
    try:
        listed = metadata("mergekit-mo").get_all("Project-URL") or []
    except PackageNotFoundError:
        listed = []
    for line in listed:
        name, _, address = str(line).partition(",")
        if name.strip().lower() in ("issues", "bug tracker", "tracker"):
            return address.strip()
    return _FALLBACK


def _trace(error: BaseException) -> list[str]:
    """The traceback with its causes; no local variables."""
    return traceback.format_exception(error)

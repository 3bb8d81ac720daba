"""The line to the Hub: the token, second tries, and errors told by their causes.

Rule: the token is in nothing that leaves this file; every text passes `redact`.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from mergekit_mo.problems import UserError

Result = TypeVar("Result")
Say = Callable[[str], None]

ATTEMPTS = 4
_LONGEST_WAIT = 300  # seconds; for longer ones the user comes back
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{8,}")
_RESET = re.compile(r";\s*t\s*=\s*(\d+)")
_AGAIN = "run the same command again: it uploads only what is missing"


@dataclass(frozen=True)
class Fault:
    """What an exception says of its cause.

    Attributes:
        status: of the Hub's answer; None where there was none.
        text: what the Hub, or the client, says.
        passing: whether it may go away by itself.
        wait: how long the Hub asks to wait, in seconds.
    """

    status: int | None
    text: str
    passing: bool
    wait: int | None = None


@dataclass(frozen=True)
class Line:
    """A line to the Hub: retries what is passing, and tells errors by their cause.

    Attributes:
        repo: the repository, for messages.
        endpoint: the Hub's address, likewise.
        token: never shown.
        say: narrates.
        sleep: waits.
    """

    repo: str
    endpoint: str
    token: str
    say: Say
    sleep: Callable[[float], None] = time.sleep

    def call(self, step: Callable[[], Result], *, repeat: bool = True) -> Result:
        """Runs a step.

        Args:
            step: what to do; it must bear repetition.
            repeat: False where it must not be done twice, should the answer alone be lost.

        Raises:
            UserError: it failed for good.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return step()
            except UserError:
                raise  # of a step within the step
            except Exception as error:
                fault = find_fault(error)
                if fault is None:
                    raise
                wait = fault.wait if fault.wait is not None else 2 ** (attempt - 1)
                certain = repeat or fault.status == 429
                if not (fault.passing and certain) or attempt == ATTEMPTS or wait > _LONGEST_WAIT:
                    # Without its cause, which holds the request and so the token.
                    raise self.error(fault) from None
                reason = f"status {fault.status}" if fault.status else fault.text
                self.say(redact(f"the Hub: {reason}; trying again in {wait} s", self.token))
                self.sleep(wait)
        raise AssertionError("unreachable")

    def error(self, fault: Fault) -> UserError:
        """An error for the user."""
        says = f"\n  the Hub says: {' '.join(fault.text.split())[:500]}" if fault.text else ""
        what, way_out, status = _cause(fault, self.repo, self.endpoint)
        return UserError(redact(f"{what}{says}\n  {way_out}", self.token), status=status)


def find_token() -> str:
    """The token, from the Hub client's own places.

    Raises:
        UserError: there is none.
    """
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        what = "there is no Hugging Face token on this machine"
        raise UserError(f"{what}; log in with one that may write:\n  hf auth login", status=4)
    return token


def quiet_client() -> None:
    """Keeps the Hub client's warnings off the screen, and its bars where nobody would see them."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        disable_progress_bars,
        logging,
    )

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if not sys.stderr.isatty():
        disable_progress_bars()


def redact(text: str, token: str) -> str:
    """A text without the token, or anything that looks like one."""
    if token:
        text = text.replace(token, "hf_…")
    return _TOKEN.sub("hf_…", text)


def find_fault(error: BaseException) -> Fault | None:
    """The cause of an exception; None where it has nothing to do with the Hub."""
    for found in _chain(error):
        response = getattr(found, "response", None)
        if response is not None and hasattr(response, "status_code"):
            return _answered(found, response)
        if type(found).__name__ == "OfflineModeIsEnabled":
            return Fault(None, "HF_HUB_OFFLINE is set", passing=False)
        if isinstance(found, ConnectionError) or _is_transport(found):
            return Fault(None, str(found) or type(found).__name__, passing=True)
        if isinstance(found, json.JSONDecodeError):
            return Fault(502, "an answer that is not JSON", passing=True)
        if isinstance(found, ValueError) and "metadata in README.md" in str(found):
            return Fault(400, str(found), passing=False)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those behind it: the client wraps what its threads raise."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_transport(error: BaseException) -> bool:
    """Whether an HTTP library, whichever the Hub client uses, lost its connection."""
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _answered(error: BaseException, response: Any) -> Fault:
    status = int(response.status_code)
    text = getattr(error, "server_message", None) or ""
    wait = None
    if status in (429, 503):
        after = str(response.headers.get("retry-after", ""))
        reset = _RESET.search(str(response.headers.get("ratelimit", "")))
        wait = int(after) if after.isdigit() else int(reset[1]) if reset else None
    return Fault(status, str(text), status in (408, 429) or status >= 500, wait)


def _cause(fault: Fault, repo: str, endpoint: str) -> tuple[str, str, int]:
    """What happened, the way out, and the exit status."""
    if fault.status is None:
        if not fault.passing:
            return "the Hub may not be contacted", "unset HF_HUB_OFFLINE to upload", 1
        return f"no connection to {endpoint}", _AGAIN, 1
    login = "log in with a token that may write:  hf auth login"
    table = {
        400: ("the Hub refuses the request (400)", "the card's front matter may be at fault", 1),
        401: ("the Hub does not accept the token (401)", login, 4),
        402: ("the Hub asks for payment (402)", "private storage may be used up", 1),
        403: (f"the token may not write to {repo} (403)", f"{login}, or name another owner", 1),
        404: (
            f"{repo}, or the revision, does not exist for this token (404)",
            "check the names; a private repository looks so to strangers",
            1,
        ),
        409: (f"something else is being done to {repo} (409)", _AGAIN, 1),
        412: (f"somebody else changed {repo} in the meantime (412)", _AGAIN, 1),
        413: ("a file is too large for the Hub (413)", "split the weights into more files", 1),
    }
    if fault.status in table:
        return table[fault.status]
    if fault.status == 429:
        wait = f" in {fault.wait} s" if fault.wait else " later"
        return "the Hub is asked too often (429)", f"{_AGAIN}{wait}", 1
    return f"the Hub has trouble ({fault.status})", _AGAIN, 1

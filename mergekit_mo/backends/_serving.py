"""The far end of an engine's socket: a program that serves one driver, and dies with it.

Rule: whatever the program starts is in its process group, and all of the group die with the driver,
however that ends.

A request is `(verb, argument)`; the reply is `(True, result)` or `(False, error as text)`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

_GLANCE = 0.5  # seconds between two looks at the driver


def serve_driver(server: Any) -> NoReturn:
    """Does what the driver asks until it hangs up, or is no more, and ends with all of the group.

    Args:
        server: has a method of one argument for each verb, and `close`.
    """
    # The program's arguments say who drives it.
    descriptor, driver, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    threading.Thread(target=_die_with, args=(driver, folder), daemon=True).start()
    connection = Connection(descriptor)
    while True:
        try:
            verb, argument = connection.recv()
        except EOFError:
            server.close()
            _end(folder)
        try:
            reply = True, getattr(server, verb)(argument)
        except Exception as error:
            reply = False, f"{type(error).__name__}: {error}"
        connection.send(reply)


def _die_with(driver: int, folder: Path) -> NoReturn:
    """Sees that neither processes nor files outlive the driver, which is this one's parent."""
    while os.getppid() == driver:
        time.sleep(_GLANCE)
    _end(folder)


def _end(folder: Path) -> NoReturn:
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)
    raise SystemExit  # not reached

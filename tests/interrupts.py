"""Processes that can be interrupted, also where the tests themselves run in the background.

A shell starts background jobs with interrupts ignored, children inherit that, and Python then never
raises KeyboardInterrupt.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def minded() -> Iterator[None]:
    """Makes the children that a block starts mind SIGINT."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

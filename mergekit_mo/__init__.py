"""Search mergekit recipes for several goals at once, and keep every trade-off.

Rule: importing this loads nothing; the names below are fetched when they are asked for.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mergekit_mo import choose as choose
    from mergekit_mo import events as events
    from mergekit_mo.api import search as search
    from mergekit_mo.archive import Archive as Archive
    from mergekit_mo.problems import UserError as UserError
    from mergekit_mo.recipe import Recipe as Recipe

__version__ = "0.1.0"

# torch reads this when it first allocates: large tensors then come in pages of 2 MB where Linux has
# them, and a merge, which makes and drops many, spends a fifth less time (seen: 280,000 page faults
# of a merge at 135M became 4,000).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

_FACE = {
    "Archive": "archive",
    "Recipe": "recipe",
    "UserError": "problems",
    "choose": "",
    "events": "",
    "search": "api",
}
"""The names of the Python face, and the modules that they live in."""

__all__ = ["Archive", "Recipe", "UserError", "choose", "events", "search"]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _FACE[name]:
        return import_module(f"{__name__}.{name}")
    return getattr(import_module(f"{__name__}.{_FACE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

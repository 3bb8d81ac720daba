"""Markdown from names that anybody may have chosen: text, tables, links and code.

Rule: whatever is not ours is escaped, so that a model called `[x](y)|<b>` is shown as just that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&:])")
_HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)
_FENCE = re.compile(r"`{3,}")


def plain(text: object) -> str:
    """A text on one line, without characters that cannot be seen."""
    joined = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() else "?" for letter in joined)


def escaped(text: object) -> str:
    """A text that Markdown shows as it is: no link, mention, heading, HTML or formula."""
    found = _SPECIAL.sub(r"\\\1", plain(text)).replace("@", "&#64;")
    found = re.sub(r"(?i)\bwww\.", lambda m: m[0][:-1] + "\\.", found)
    return re.sub(r"^([-=]|\d+[.)](?=\s|$))", lambda m: m[0][:-1] + "\\" + m[0][-1], found)


def code_block(text: str, language: str) -> str:
    """A block of code that its own content cannot end."""
    longest = max((len(found) for found in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def hub_link(hub_id: str) -> str:
    """A link to a model on the Hub."""
    if not _HUB_ID.fullmatch(hub_id):
        return escaped(hub_id)
    return f"[{escaped(hub_id)}](https://huggingface.co/{hub_id})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """A table of cells that are Markdown already; the columns after the first `left` align right.

    Args:
        header: one cell for each column.
        rows: as many cells each.
        left: how many columns hold words.
    """
    rules = ["---" if i < left else "---:" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rules, *rows))

"""The page: template, style, scripts and a run's facts in one file that loads nothing else.

Rule: facts stand in the page as JSON in which no `<` occurs, and the policy in its head lets no
script run but the two whose digests it names, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mergekit_mo.archive import Archive
from mergekit_mo.report.facts import report_facts
from mergekit_mo.report.learnt import learnt_facts, lesson_of

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = (
    "base", "charts", "front", "history", "parallel", "mattered", "depth", "check", "failures",
    "table", "detail", "live", "main",
)  # fmt: skip
_SLOT = re.compile(r"<!--([A-Z]+)-->")


def report_text(archive: Archive, run: Path) -> str:
    """The page of a run as it is now, complete; takes seconds."""
    return page_text(report_facts(archive, run), learnt_facts(lesson_of(archive)))


def page_text(
    facts: Mapping[str, Any], learnt: Mapping[str, Any] | None = None, *, live: bool = False
) -> str:
    """The page.

    Args:
        facts: from `report_facts`.
        learnt: from `learnt_facts`; None where the page is to ask for it.
        live: whether the page may ask the server that it came from for newer facts.
    """
    library, script, style = _library(), _script(), _asset("style.css")
    source = "'self'" if live else "'none'"
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_digest(library)} {_digest(script)}",
            "style-src 'unsafe-inline'",  # the charts place their labels by style attributes
            "img-src data:",
            f"connect-src {source}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    data = {"facts": facts, "learnt": learnt, "live": live}
    slots = {
        "POLICY": html.escape(policy, quote=True),
        "TITLE": html.escape(str(facts["run"])),
        "STYLE": style,
        "LIBRARY": library,
        "SCRIPT": script,
        "DATA": embedded(data),
    }
    return _SLOT.sub(lambda found: slots[found[1]], _asset("page.html"))


def embedded(value: Any) -> str:
    """JSON that ends no script element and begins no comment, whatever its texts hold."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    return _asset("echarts/echarts.min.js")


@cache
def _script() -> str:
    """Our own scripts as one; each adds to the object `R`."""
    parts = "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\nconst R = {{}};\n{parts}\n}})();'

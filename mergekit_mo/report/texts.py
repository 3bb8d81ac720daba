"""The YAML of every trial, in little room: trials share most of their lines.

Rule: what the front's files in the run folder say is shown to the letter; any other trial gets its
bare configuration. Beyond the room there is, the page names the command that prints it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from mergekit_mo.export import config_text, numbers_in_flow
from mergekit_mo.files import within
from mergekit_mo.trial import Trial

Documents = Callable[[Trial], Sequence[Mapping[str, Any]]]

ROOM = 4_000_000
"""Characters of JSON, about."""


def packed_texts(
    trials: Sequence[Trial],
    front: Sequence[Trial],
    run: Path | None,
    room: int = ROOM,
    documents: Documents = lambda trial: (trial.config,),
) -> dict[str, Any]:
    """The texts of trials, lines written once.

    Args:
        trials: all of them.
        front: those that go first.
        run: the run folder, where `front/NNN.yaml` may be.
        room: for all of it.
        documents: the configurations of a trial; two where its layers need the merge first.

    Returns:
        `lines`, and `of`: by trial number, the indices of its lines.
    """
    first = {trial.number for trial in front}
    lines: dict[str, int] = {}
    of: dict[str, list[int]] = {}
    for trial in sorted(trials, key=lambda t: (t.number not in first, -t.number)):
        text = _exported(trial, run) if trial.number in first else None
        if text is None:
            plain = (json.dumps(one, ensure_ascii=False) for one in documents(trial))
            text = "---\n".join(map(_text, plain))
        own = text.rstrip("\n").split("\n")
        new = sum(len(line) + 4 for line in own if line not in lines)
        room -= new + 6 * len(own)
        if room < 0:
            break
        of[str(trial.number)] = [lines.setdefault(line, len(lines)) for line in own]
    return {"lines": list(lines), "of": of}


class _Fast(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """The same in C, ten times as fast; beyond ASCII it writes some texts otherwise."""


_Fast.add_representer(list, numbers_in_flow)


@lru_cache(maxsize=4096)
def _text(config: str) -> str:
    """A configuration, given as JSON, as `config_text` writes it."""
    tree = json.loads(config)
    if config.isascii():
        return str(yaml.dump(tree, Dumper=_Fast, sort_keys=False, allow_unicode=True))
    return config_text(tree)


def _exported(trial: Trial, run: Path | None) -> str | None:
    if run is None:
        return None
    path = run / "front" / f"{trial.number:03d}.yaml"
    try:
        return path.read_text(encoding="utf-8") if within(run, path) else None
    except (OSError, UnicodeError):
        return None

"""A suggestion for a preference: the nearest of the front, and a candidate that was never scored.

Rule: what was not scored says so wherever it stands; the front's member comes first, because the
look-up is what nothing has beaten so far (`benchmarks/paths.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mergekit_mo.archive import Archive
from mergekit_mo.choose import prefer
from mergekit_mo.problems import UserError
from mergekit_mo.slicing import documents
from mergekit_mo.space import Candidate
from mergekit_mo.traded import Choice

_LEAST = 8  # finished candidates, below which a policy has nothing to learn


@dataclass(frozen=True)
class Suggestion:
    """What a preference is advised.

    Attributes:
        known: the nearest trial of the front.
        new: a candidate that no trial has; None where there is none, and `why` says why not.
        layers: its layers, as people read them.
        documents: its configurations, as `mergekit-yaml` or `mergekit-multi` take them.
        expected: its guessed scores by goal, in the goals' own units; a guess, no measurement.
        why: there is no new one.
        checkpoint: what the policy learnt, for the next time; empty where there is no policy.
        trained: whether it learnt now, and not from a checkpoint.
    """

    known: Choice
    new: Candidate | None = None
    layers: str = ""
    documents: tuple[dict[str, Any], ...] = ()
    expected: Mapping[str, float] | None = None
    why: str = ""
    checkpoint: bytes = b""
    trained: bool = False


def suggest(
    archive: Archive, weights: Mapping[str, float], checkpoint: bytes | None = None
) -> Suggestion:
    """The front's nearest member and, where layers were searched, a new candidate.

    Args:
        archive: of the run; nothing is written to it.
        weights: by goal, not negative, of any sum.
        checkpoint: of an earlier suggestion; where it is not of this archive, the policy learns.

    Raises:
        UserError: the front is empty, or the weights make no sense.
    """
    known = prefer(archive, weights)
    layers = archive.layers
    if layers is None:
        return Suggestion(known, why="this run searched no layers, so no policy learnt from it")
    done = [t for t in archive.candidates if t.status == "done"]
    if len(done) < _LEAST:
        return Suggestion(known, why=f"a policy learns from {_LEAST} trials or more: {len(done)}")
    from mergekit_mo.optimizers._advice import Adviser
    from mergekit_mo.optimizers._guess import NUMERICAL_ERROR

    wanted = np.array([weights.get(goal.name, 0.0) for goal in archive.goals])
    try:
        adviser = Adviser(layers, archive, length_penalty=_penalty(archive), checkpoint=checkpoint)
        advice = adviser.advise(wanted)
    except NUMERICAL_ERROR as error:
        raise UserError(f"the trials are too alike to learn from ({error})") from error
    if advice is None:
        why = "every path that the policy would take has been tried, and those a change away"
        return Suggestion(known, why=why, checkpoint=adviser.checkpoint, trained=adviser.trained)
    unit, path = advice.point
    assert path is not None
    config = next(t.config for t in done if t.unit == unit)
    return Suggestion(
        known,
        Candidate(unit, "advise", path),
        layers.text(path),
        documents(config, layers.walk(path), layers.merge_depth),
        _own_units(archive, advice.expected),
        checkpoint=adviser.checkpoint,
        trained=adviser.trained,
    )


def _penalty(archive: Archive) -> float:
    """What length cost in the search itself."""
    chosen: Any = (archive.fact("search") or {}).get("optimizer") or ("", {})
    return float(chosen[1].get("length_penalty", 0.0))


def _own_units(archive: Archive, expected: Any) -> dict[str, float] | None:
    """Guessed scores in the goals' units; None where a goal has no anchors to scale them by."""
    if not all(scale.anchored for scale in archive.scales) or _penalty(archive):
        return None
    return {
        s.goal.name: s.worst + s.goal.sign * float(y) * s.width
        for s, y in zip(archive.scales, expected, strict=True)
    }

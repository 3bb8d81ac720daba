"""A recipe's `layers:` block: whose layers a search may stack, and in what order.

Rule: reading it opens no model; `LayerRules.bind` makes paths of it once their depths are known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mergekit_mo.layers import MERGE, Kinds, Layers
from mergekit_mo.problems import Place, Problem, near, shown
from mergekit_mo.references import absolute_reference

_KEYS = frozenset({"pool", "length", "skip", "repeat", "swap"})
_ENDS = frozenset({"low", "high"})
_FORM = "layers: {skip: 1, repeat: 1}"
_SLACK = 2
"""How far the length may go from the straight one by default, where layers may skip or repeat."""


@dataclass(frozen=True)
class LayerRules:
    """A recipe's `layers:` block; how deep the models are is not known yet.

    Attributes:
        pool: `merge` and sources by their absolute names.
        low: the least number of layers; None for the default.
        high: the greatest; None for the default.
        skip: the most layers that one step passes over.
        repeat: the most layers that one step goes back over; 1 gives the same layer again.
        swap: whether a path may change from one member to another.
        place: where the block stands.
    """

    pool: tuple[str, ...]
    low: int | None
    high: int | None
    skip: int
    repeat: int
    swap: bool
    place: Place

    @property
    def moves(self) -> bool:
        """Whether a layer may stand at another depth than its own, or be missing."""
        return bool(self.skip or self.repeat)

    def facts(self) -> dict[str, Any]:
        """What changes results, as plain JSON."""
        return {key: value for key, value in asdict(self).items() if key != "place"} | {
            "pool": list(self.pool)
        }

    def bind(
        self, depths: Mapping[str, int], kinds: Mapping[str, Kinds], written: Kinds = ()
    ) -> Layers:
        """The paths over models of these depths.

        Args:
            depths: the number of layers of the merge and of every source.
            kinds: of their layers, likewise; empty where there are no kinds.
            written: see `Layers`.
        """
        straight = depths[MERGE if MERGE in self.pool else self.pool[0]]
        low = max(1, straight - _SLACK * bool(self.skip))
        high = straight + _SLACK * bool(self.repeat)
        return Layers(
            self.pool,
            tuple(depths[name] for name in self.pool),
            low if self.low is None else self.low,
            high if self.high is None else self.high,
            self.skip,
            self.repeat,
            self.swap,
            depths[MERGE],
            tuple(kinds[name] for name in self.pool) if any(kinds.values()) else (),
            kinds[MERGE] if kinds else (),
            written,
        )


def read_rules(
    node: Any, place: Place, sources: Sequence[str], folder: Path
) -> tuple[LayerRules | None, list[Problem]]:
    """Reads the block.

    Args:
        node: what stands there.
        place: where.
        sources: the models of the recipe, by their absolute names.
        folder: where relative model paths start.

    Returns:
        The rules, None where something is wrong, and the problems.
    """
    if not isinstance(node, Mapping):
        return None, [Problem(place, f"expected a mapping, got {shown(node)}", _FORM)]
    problems = [
        Problem((*place, key), f"layers has no key {key!r}", near(key, _KEYS))
        for key in node
        if key not in _KEYS
    ]
    pool = _pool(node.get("pool"), (*place, "pool"), sources, folder, problems)
    low, high = _length(node.get("length"), (*place, "length"), problems)
    skip = _number(node.get("skip", 0), (*place, "skip"), 0, problems) or 0
    repeat = _number(node.get("repeat", 0), (*place, "repeat"), 0, problems) or 0
    swap = node.get("swap", True)
    if not isinstance(swap, bool):
        what = f"expected true or false, got {shown(swap)}"
        problems.append(Problem((*place, "swap"), what, "swap: true lets a path change models"))
    elif len(pool) == 1 and not (skip or repeat) and not problems:
        what = "a pool of one, without skip and repeat, has a single path"
        hint = "name more models in the pool, or say skip: 1 or repeat: 1"
        problems.append(Problem((*place, "pool") if "pool" in node else place, what, hint))
    rules = LayerRules(pool, low, high, skip, repeat, swap, place) if not problems else None
    return rules, problems


def _pool(
    node: Any, place: Place, sources: Sequence[str], folder: Path, problems: list[Problem]
) -> tuple[str, ...]:
    """The members, the merge and every source by default."""
    if node is None:
        return (MERGE, *sources)
    if not isinstance(node, list) or not node:
        what = f"expected a list of one model or more, got {shown(node)}"
        problems.append(Problem(place, what, f"pool: [{MERGE}, organisation/name]"))
        return ()
    members: list[str] = []
    for i, entry in enumerate(node):
        name = _member(entry, sources, folder)
        if name is None:
            what = f"{shown(entry)} is no model of this recipe"
            problems.append(Problem((*place, i), what, near(entry, {MERGE, *sources})))
        elif name in members:
            problems.append(Problem((*place, i), f"{shown(entry)} stands twice", "keep one"))
        else:
            members.append(name)
    return tuple(members)


def _member(entry: Any, sources: Collection[str], folder: Path) -> str | None:
    """The name of a member, if it is one."""
    if not isinstance(entry, str) or entry == MERGE:
        return MERGE if entry == MERGE else None
    try:
        name = absolute_reference(entry, folder)
    except ValueError:
        return None
    return name if name in sources else None


def _length(node: Any, place: Place, problems: list[Problem]) -> tuple[int | None, int | None]:
    """The limits of length, None where they are left to the default."""
    if node is None:
        return None, None
    if not isinstance(node, Mapping):
        fixed = _number(node, place, 1, problems, "length: 24, or length: {low: 22, high: 26}")
        return fixed, fixed
    problems += [
        Problem((*place, key), f"length has no key {key!r}", near(key, _ENDS))
        for key in node
        if key not in _ENDS
    ]
    low, high = (
        _number(node[key], (*place, key), 1, problems) if key in node else None
        for key in ("low", "high")
    )
    if low is not None and high is not None and low > high:
        hint = "the least number of layers, then the greatest"
        problems.append(Problem((*place, "low"), f"low {low} is above high {high}", hint))
    return low, high


def _number(
    value: Any, place: Place, least: int, problems: list[Problem], hint: str = ""
) -> int | None:
    if type(value) is int and value >= least:
        return value
    what = f"expected a whole number of {least} or more, got {shown(value)}"
    problems.append(Problem(place, what, hint or f"{place[-1]}: {least + 1}"))
    return None

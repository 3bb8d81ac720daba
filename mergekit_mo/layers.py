"""Paths over layers: which models' layers may follow each other in a model.

Rule: `Layers.successors` never leads into a dead end: whatever it offers can be completed within
the limits of length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

MERGE = "merge"
"""What a pool calls the merge itself; its other members are sources."""

Step = tuple[int, int]
"""A member of the pool and one of its layers, both counted from 0."""

Path = tuple[Step, ...]
"""The layers of a model from first to last, each of some member of the pool."""

Kinds = tuple[str, ...]
"""What kind each layer of a model is: `full_attention`, `sliding_attention`, …"""

Walk = tuple[tuple[str, int], ...]
"""A path by the names of its members."""


@dataclass(frozen=True)
class Layers:
    """Every path that a search may take.

    The first layer, too, and the last may be passed over as far as `skip` goes.

    Attributes:
        pool: `merge` and sources by their absolute names.
        depths: the number of layers of each member.
        low: the least number of layers of a path.
        high: the greatest.
        skip: the most layers that one step passes over.
        repeat: the most layers that one step goes back over; 1 gives the same layer again.
        swap: whether a path may change from one member to another.
        merge_depth: the number of the merge's layers, whether it is in the pool or not; 0 where
            that does not matter.
        kinds: of each member's layers, as `layer_types` tells them; empty where it is not there.
        merge_kinds: of the merge's layers, likewise.
        written: the kinds that mergekit writes, whatever the layers are: those of the model that
            it takes the configuration of.
    """

    pool: tuple[str, ...]
    depths: tuple[int, ...]
    low: int
    high: int
    skip: int = 0
    repeat: int = 0
    swap: bool = True
    merge_depth: int = 0
    kinds: tuple[Kinds, ...] = ()
    merge_kinds: Kinds = ()
    written: Kinds = ()

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Layers:
        """The paths that `facts` tell of."""
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()
        }
        plain["kinds"] = tuple(tuple(kinds) for kinds in facts["kinds"])
        return cls(**plain)

    def facts(self) -> dict[str, Any]:
        """All of it as plain data."""
        return asdict(self)

    @cached_property
    def straight(self) -> Path:
        """The merge's own layers in order; the first member's, where the merge is not in it."""
        member = self.pool.index(MERGE) if MERGE in self.pool else 0
        return tuple((member, layer) for layer in range(self.depths[member]))

    def successors(self, path: Path) -> tuple[Step, ...]:
        """What may come next, such that the path can still be completed.

        Args:
            path: empty, or one that successors gave.
        """
        steps = self._after[path[-1]] if path else self._first
        window = self._window(len(path) + 1)
        return tuple(step for step in steps if self._ends[step] & window)

    def may_end(self, path: Path) -> bool:
        """Whether a path that successors gave is complete."""
        return bool(path) and bool(self._ends[path[-1]] & self._window(len(path)) & 1)

    def allowed(self, path: Path) -> bool:
        """Whether a path keeps every rule."""
        before = (path[:i] for i in range(len(path)))
        steps = zip(before, path, strict=True)
        return all(s in self.successors(b) for b, s in steps) and self.may_end(path)

    @cached_property
    def count(self) -> int:
        """The number of paths."""
        total = 0
        ways = {step: int(self._last(step)) for step in self._steps}
        for length in range(1, self.high + 1):
            total += sum(ways[step] for step in self._first) if length >= self.low else 0
            ways = {step: sum(map(ways.__getitem__, after)) for step, after in self._after.items()}
        return total

    def written_by_mergekit(self, path: Path) -> bool:
        """Whether mergekit gives a path's layers the kinds that they have."""
        return not self.kinds or tuple(self.kinds[m][i] for m, i in path) == self.written

    def walk(self, path: Path) -> Walk:
        """A path by the names of its members."""
        return tuple((self.pool[member], layer) for member, layer in path)

    def text(self, path: Path) -> str:
        """A path as people read it: `merge 0-2, math 3, merge 4-5`."""
        return walk_text(self.walk(path))

    @cached_property
    def _steps(self) -> tuple[Step, ...]:
        return tuple((m, layer) for m, depth in enumerate(self.depths) for layer in range(depth))

    @cached_property
    def _first(self) -> tuple[Step, ...]:
        return tuple(step for step in self._steps if step[1] <= self.skip)

    def _last(self, step: Step) -> bool:
        return step[1] >= self.depths[step[0]] - 1 - self.skip

    @cached_property
    def _after(self) -> dict[Step, tuple[Step, ...]]:
        """What may follow each step, whatever the length."""
        return {step: self._following(step) for step in self._steps}

    def _following(self, step: Step) -> tuple[Step, ...]:
        member, layer = step
        members = range(len(self.pool)) if self.swap else (member,)
        nearest, farthest = max(0, layer + 1 - self.repeat), layer + 1 + self.skip
        return tuple(
            (m, following)
            for m in members
            for following in range(nearest, min(farthest + 1, self.depths[m]))
        )

    @cached_property
    def _ends(self) -> dict[Step, int]:
        """For each step, a bit for each number of further layers after which a path can end."""
        found = {step: int(self._last(step)) for step in self._steps}
        for further in range(1, self.high):
            bit = 1 << further
            before = bit >> 1
            on = [s for s, after in self._after.items() if any(found[f] & before for f in after)]
            for step in on:
                found[step] |= bit
        return found

    def _window(self, length: int) -> int:
        """The bits of the numbers of further layers with which a length keeps the limits."""
        least, most = max(0, self.low - length), self.high - length
        return (1 << most + 1) - (1 << least) if most >= least else 0


def walk_text(walk: Walk) -> str:
    """A walk as people read it, each model by the last part of its name if that tells it apart."""
    short = {name: _short(name) for name, _ in walk}
    if len(set(short.values())) < len(short):
        short = {name: name for name in short}
    runs: list[tuple[str, int, int]] = []
    for name, layer in walk:
        if runs and runs[-1][0] == name and runs[-1][2] + 1 == layer:
            runs[-1] = (name, runs[-1][1], layer)
        else:
            runs.append((name, layer, layer))
    return ", ".join(f"{short[n]} {a}" + (f"-{b}" if b > a else "") for n, a, b in runs)


def _short(name: str) -> str:
    return name.partition("@")[0].rstrip("/").rpartition("/")[2]

"""What of a sequence of points is new.

Rule: no more of a sequence is drawn than is needed, so that it may be endless and may cost.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from itertools import islice

Unit = tuple[float, ...]


def first_new(points: Iterable[Unit], count: int, *taken: Container[Unit | None]) -> list[Unit]:
    """The first `count` points that are not taken, each once; fewer where there are no more.

    Args:
        points: snapped, in the order in which they are wanted.
        count: how many are wanted.
        taken: what is out of the question, in any number of parts.
    """
    return list(islice(_new(points, taken), max(0, count)))


def _new(points: Iterable[Unit], taken: Iterable[Container[Unit | None]]) -> Iterator[Unit]:
    seen: set[Unit] = set()
    for point in points:
        if point not in seen and not any(point in part for part in taken):
            seen.add(point)
            yield point

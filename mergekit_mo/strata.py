"""The order in which a race asks a task's items: random, and in fair shares of every kind of item.

Rule: an item's kind is how the reference trials answered it; items on which they differ are asked
sooner than their number would have it, and weights undo that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray

from mergekit_mo.pareto import Matrix

LEAST_SHARE = 0.1
"""What every kind has of a rung, as long as it has items."""

_AIM = 0.15  # at least this share is drawn, so that chance leaves a tenth
_SMALLEST = 0.05  # of all items; kinds of fewer join the largest
_DISPUTED = 2 / 3  # of the items, those that the parents answer more alike
_RUNG = 20  # from so many items on a rung has a tenth of every kind
_MOST_DRAWS = 200
_ITEMS_A_COLUMN, _LEAST_FREE = 5, 8  # items for each slope that is fitted, and what must be left

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Order:
    """A task's items in the order in which they are asked.

    Attributes:
        ids: document numbers, all of them.
        kinds: of each of them.
        weights: of each the factor that makes what it brings an unbiased guess of the mean over all
            items that were left when it was drawn.
        most: the largest weight that each draw could have given.
    """

    ids: tuple[int, ...]
    kinds: tuple[int, ...]
    weights: tuple[float, ...]
    most: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def facts(self) -> dict[str, Any]:
        """Plain JSON."""
        return {key: list(value) for key, value in vars(self).items()}

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Order:
        """An order from its facts."""
        return cls(**{key: tuple(value) for key, value in facts.items()})

    def estimate(self, values: Values, known: Matrix | None = None) -> tuple[float, float, float]:
        """The mean over all items from the first `n`, each kind weighted by its number of items.

        Given how many of each kind were drawn, these are random draws of their kind, so that the
        weighted mean is unbiased (Cochran 1977, chapter 5). What the parents' answers explain of
        the values is then known of all items, and only the rest is uncertain (the regression
        estimator of chapter 7; its bias is of the order 1/n, and small beside its error).

        Args:
            values: `n`, in this order.
            known: what is known of all items, `N x k` in this order, columns of mean 0, the most
                telling first; as many are used as `n` allows.

        Returns:
            The mean, the variance of its error as an estimate of the mean over all items, and the
            degrees of freedom of that.
        """
        n, kinds = len(values), np.array(self.kinds)
        seen = kinds[:n]
        free = n - len(np.unique(seen))
        used = 0 if known is None else min(known.shape[1], n // _ITEMS_A_COLUMN)
        if known is not None and used and free - used >= _LEAST_FREE:
            x, y = (_within(a, seen) for a in (known[:n, :used], values[:, None]))
            values = values - known[:n, :used] @ np.linalg.lstsq(x, y, rcond=None)[0][:, 0]
        else:
            used = 0
        pooled = _pooled(values, seen)
        mean = variance = 0.0
        for kind in np.unique(kinds):
            size, own = int((kinds == kind).sum()), values[seen == kind]
            drawn = len(own)
            own = own if drawn else values  # only in rungs of very few items
            share = size / len(kinds)
            spread = float(own.var(ddof=1)) if len(own) > 1 else pooled
            mean += share * float(own.mean())
            variance += share**2 * (1 - drawn / size) * spread / len(own)
        return mean, variance * free / max(1, free - used), float(max(1, free - used))


def columns(rows: Matrix) -> Matrix:
    """What rows of values tell of items, `N x k`, the most telling first, each of mean 0."""
    rest = rows - rows.mean(axis=1, keepdims=True)  # r x N
    _, sizes, across = np.linalg.svd(rest, full_matrices=False)
    kept = sizes > 1e-9 * max(float(sizes.max(initial=0.0)), 1e-300)
    found: Matrix = (across[kept] * math.sqrt(rows.shape[1])).T
    return found


def _within(values: Matrix, kinds: NDArray[np.int_]) -> Matrix:
    """Values less the mean of their kind, `n x k`."""
    found = values.astype(float)
    for kind in np.unique(kinds):
        found[kinds == kind] -= found[kinds == kind].mean(axis=0)
    return found


def _pooled(values: Values, kinds: NDArray[np.int_]) -> float:
    """The variance within kinds, of all together."""
    groups = [values[kinds == kind] for kind in np.unique(kinds)]
    free = len(values) - len(groups)
    if free < 1:
        return float(values.var())
    return float(sum(((g - g.mean()) ** 2).sum() for g in groups)) / free


def draw_order(ids: Sequence[int], parents: Sequence[Matrix], seed: SeedSequence) -> Order:
    """Draws the order of a task's items.

    Args:
        ids: their document numbers, `n`.
        parents: for each goal on the task, the `r x n` values of the reference trials.
        seed: of the draw.
    """
    kinds, weight = _kinds(parents)
    shares = _shares(kinds, weight)
    rng = np.random.default_rng(seed)
    for _ in range(_MOST_DRAWS):
        order = _drawn(np.array(ids), kinds, shares, rng)
        if _fair(order):
            return order
    return order


def _kinds(parents: Sequence[Matrix]) -> tuple[NDArray[np.int_], Values]:
    """Of each item its kind (disputed, easy, hard), and how far the parents differ on it."""
    n = parents[0].shape[1]
    spread, level = np.zeros(n), np.zeros(n)
    for V in parents:
        unit = float(V.std()) or 1.0
        spread += np.ptp(V, axis=0) / unit
        level += V.mean(axis=0) / unit
    kinds = np.where(_upper(level, 0.5), 1, 2)
    if spread.max() > spread.min():
        kinds[_upper(spread, _DISPUTED)] = 0
    names, counts = np.unique(kinds, return_counts=True)
    largest = names[counts.argmax()]
    for name, count in zip(names, counts, strict=True):
        if count < max(4, _SMALLEST * n):
            kinds[kinds == name] = largest
    _, kinds = np.unique(kinds, return_inverse=True)
    return kinds, spread


def _upper(values: Values, at: float) -> NDArray[np.bool_]:
    """The items above a quantile; those at it, where none lies above."""
    level = np.quantile(values, at, method="lower")
    above = values > level
    return np.asarray(above if above.any() else values >= level)


def _shares(kinds: NDArray[np.int_], spread: Values) -> Values:
    """What each kind has of a draw: half by its number, half by how far the parents differ too."""
    counts = np.bincount(kinds).astype(float)
    sizes = counts / counts.sum()
    apart = np.sqrt(np.bincount(kinds, weights=spread**2) / counts) * sizes
    wanted = 0.5 * sizes + 0.5 * (apart / apart.sum() if apart.sum() > 0 else sizes)
    floor = min(_AIM, 1 / len(counts))
    lifted = np.maximum(wanted, floor)
    spare = lifted - floor
    return np.asarray(floor + spare * (1 - floor * len(counts)) / max(float(spare.sum()), 1e-12))


def _drawn(ids: NDArray[np.int_], kinds: NDArray[np.int_], shares: Values, rng: Generator) -> Order:
    """One order: at each place a kind by its share and by what it is short of, then an item."""
    n, count = len(ids), len(shares)
    left = [rng.permutation(np.flatnonzero(kinds == kind)).tolist() for kind in range(count)]
    drawn = [0] * count
    found: list[int] = []
    weights, most = [], []
    for t, toss in enumerate(rng.random(n).tolist()):
        chances = [
            share * math.exp(share * (t + 1) - had) if items else 0.0
            for share, had, items in zip(shares.tolist(), drawn, left, strict=True)
        ]
        total = sum(chances)
        factors = [
            len(items) * total / (chance * n) if items else 0.0
            for items, chance in zip(left, chances, strict=True)
        ]
        kind, rest = 0, toss * total
        while not left[kind] or (rest >= chances[kind] and any(left[kind + 1 :])):
            rest -= chances[kind]
            kind += 1
        weights.append(factors[kind])
        most.append(max(factors))
        found.append(int(left[kind].pop()))
        drawn[kind] += 1
    return Order(
        tuple(ids[found].tolist()),
        tuple(kinds[found].tolist()),
        tuple(weights),
        tuple(most),
    )


def _fair(order: Order) -> bool:
    """Whether every kind has its tenth of whatever rung, as long as it has items."""
    kinds = np.array(order.kinds)
    places = np.arange(1, len(kinds) + 1)
    for kind in np.unique(kinds):
        counts, size = np.cumsum(kinds == kind), int((kinds == kind).sum())
        enough = (counts >= LEAST_SHARE * places) | (counts == size) | (places < _RUNG)
        if not enough.all():
            return False
    return True

"""The order of a race's items: fair shares of every kind, and estimates that are unbiased."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import SeedSequence

from mergekit_mo.strata import LEAST_SHARE, Order, draw_order

RNG = np.random.default_rng(0)
N = 300
HARD = RNG.uniform(size=N)
RIGHT = np.array([(HARD + 0.2 * RNG.normal(size=N) < level).astype(float) for level in (0.4, 0.7)])
BITS = np.array([HARD + 0.1 * RNG.normal(size=N) for _ in range(3)])


def drawn(parents: np.ndarray, seed: int) -> Order:
    return draw_order(range(1000, 1000 + N), [parents], SeedSequence(seed))


@pytest.mark.parametrize("parents", [RIGHT, BITS, np.ones((2, N)), RIGHT[:1]])
def test_every_kind_has_a_tenth_of_every_rung(parents: np.ndarray) -> None:
    for seed in range(20):
        order = drawn(parents, seed)
        assert sorted(order.ids) == list(range(1000, 1000 + N))
        kinds = np.array(order.kinds)
        for kind in np.unique(kinds):
            for rung in (20, 64, 192):
                count = (kinds[:rung] == kind).sum()
                assert count >= LEAST_SHARE * rung or count == (kinds == kind).sum()


def test_items_on_which_the_parents_differ_come_sooner() -> None:
    apart = RIGHT[0] != RIGHT[1]
    early = np.mean([apart[np.array(drawn(RIGHT, s).ids[:64]) - 1000].mean() for s in range(20)])
    assert early > apart.mean() + 0.1


def test_estimates_are_unbiased_and_their_errors_true() -> None:
    values = np.where(RIGHT[0] + RIGHT[1] > 0, 0.8, 0.2) + 0.1 * RNG.normal(size=N)
    means, variances = [], []
    for seed in range(400):
        order = drawn(RIGHT, seed)
        mean, variance, df = order.estimate(values[np.array(order.ids[:40]) - 1000])
        means.append(mean)
        variances.append(variance)
        assert df > 30
    error = np.std(means)
    assert abs(np.mean(means) - values.mean()) < 4 * error / np.sqrt(400)
    assert np.mean(variances) == pytest.approx(error**2, rel=0.25)


def test_of_all_items_nothing_is_uncertain() -> None:
    order = drawn(BITS, 0)
    mean, variance, _ = order.estimate(BITS[0][np.array(order.ids) - 1000])
    assert mean == pytest.approx(BITS[0].mean())
    assert variance == pytest.approx(0)


def test_the_next_item_weighted_is_an_unbiased_guess_of_what_is_left() -> None:
    values = RIGHT[0]
    gaps_at: dict[int, list[float]] = {0: [], 25: []}
    for seed in range(600):
        order = drawn(RIGHT, seed)
        found = values[np.array(order.ids) - 1000]
        for place, gaps in gaps_at.items():
            gaps.append(float(order.weights[place] * found[place] - found[place:].sum() / N))
        assert all(w <= m + 1e-12 for w, m in zip(order.weights, order.most, strict=True))
    for gaps in gaps_at.values():
        assert abs(np.mean(gaps)) < 4 * np.std(gaps) / np.sqrt(len(gaps))


def test_an_order_comes_back_from_its_facts() -> None:
    order = drawn(BITS, 3)
    assert Order.read(order.facts()) == order
    assert drawn(BITS, 3) == order != drawn(BITS, 4)

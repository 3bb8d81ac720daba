"""A conformance suite for optimizers: outsiders subclass it, give theirs, and inherit the tests.

Rule: every test is a promise that the search relies on; none says how good an optimizer is.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.layers import MERGE, Layers
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.space import Candidate, Space
from mergekit_mo.testing.fresh import ask_fresh
from mergekit_mo.testing.planted import (
    MIXED,
    WHOLE,
    Function,
    constant,
    make_goals,
    plain_space,
    planted,
    ridge,
    scored,
    small_space,
)


def ask_planted(optimizer: Optimizer, space: Space, seed: int) -> list[Candidate]:
    """What an optimizer proposes after ten planted trials."""
    with planted(space, make_goals(2), ridge(2), 10, failed=[4], waiting=1) as archive:
        return optimizer.ask(space, archive, 2, SeedSequence((seed, 3)))


def _global_states() -> dict[str, Any]:
    """The states of the generators that everybody shares, comparable by `==`."""
    import torch

    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys).tolist(), *rest),
        "torch": torch.random.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
    }


class OptimizerSuite:
    """What every optimizer has to keep. Subclass it and give the fixture `optimizer`:

        class TestMine(OptimizerSuite):
            @pytest.fixture
            def optimizer(self) -> Optimizer:
                return Mine()

    An optimizer with an initial design should be given with a short one, so that ten planted
    trials are beyond it.
    """  # noqa: D415

    most_goals = 5
    """The number of objectives up to which the optimizer is tried."""

    @pytest.fixture
    def optimizer(self) -> Optimizer:
        """The optimizer under test."""
        raise NotImplementedError("a suite needs the fixture `optimizer`")

    @pytest.fixture
    def space(self) -> Space:
        """The space of the tests that do not bring their own."""
        return plain_space(3)

    def check(
        self, optimizer: Optimizer, space: Space, archive: Archive, count: int = 2
    ) -> list[Candidate]:
        """Asks, and checks what holds of every answer."""
        known = {(t.unit, t.path) for t in archive.candidates}
        before = archive.trials
        found = optimizer.ask(space, archive, count, SeedSequence((0, 7)))
        units = [candidate.unit for candidate in found]
        points = {(c.unit, c.path) for c in map(space.settled, found)}
        assert len(found) == count
        assert len(points) == count, "a point is proposed twice"
        assert not known.intersection(points), "a point is proposed that has been tried"
        assert all(space.snap(unit) == unit for unit in units), "a point is not snapped"
        assert all(0 <= u <= 1 and type(u) is float for unit in units for u in unit)
        assert all(candidate.origin for candidate in found)
        assert archive.trials == before, "asking writes nothing"
        for unit in units:
            space.config(unit)
        return found

    @pytest.mark.parametrize("count", [1, 3])
    def test_gives_as_many_new_candidates_as_are_wanted(
        self, optimizer: Optimizer, space: Space, count: int
    ) -> None:
        """The number, the bounds, and nothing tried, pending or twice."""
        with planted(space, make_goals(2), ridge(2), 10, waiting=2) as archive:
            self.check(optimizer, space, archive, count)

    def test_paths_over_layers_are_allowed_and_new(self, optimizer: Optimizer) -> None:
        """Straight ones, if the optimizer does not search layers."""
        layers = Layers((MERGE, "a/m0", "a/m1"), (3, 3, 3), 2, 4, skip=1, repeat=1)
        space = Space(plain_space(3).configuration, layers)
        with planted(space, make_goals(2), ridge(2), 10, failed=[4], waiting=1) as archive:
            found = self.check(optimizer, space, archive)
        if not optimizer.searches_layers:
            assert {space.settled(c).path for c in found} == {layers.straight}

    def test_same_arguments_give_the_same_candidates(
        self, optimizer: Optimizer, space: Space
    ) -> None:
        """No hidden state."""
        assert ask_planted(optimizer, space, 1) == ask_planted(optimizer, space, 1)

    def test_another_process_gives_the_same_candidates(
        self, optimizer: Optimizer, space: Space
    ) -> None:
        """Nothing depends on the order of sets, or on what ran before."""
        here = ask_planted(optimizer, space, 1)
        assert ask_fresh(optimizer, space, 1, hash_seed=4711) == here

    def test_other_seeds_give_other_candidates(self, optimizer: Optimizer, space: Space) -> None:
        """The seed is used."""
        assert ask_planted(optimizer, space, 1) != ask_planted(optimizer, space, 2)

    def test_other_generators_are_left_alone(self, optimizer: Optimizer, space: Space) -> None:
        """Global random states neither change nor matter."""
        first = ask_planted(optimizer, space, 1)
        random.random()
        np.random.random()
        states = _global_states()
        assert ask_planted(optimizer, space, 1) == first
        assert _global_states() == states

    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_almost_nothing_known(self, optimizer: Optimizer, space: Space, n: int) -> None:
        """The first asks of a run."""
        with planted(space, make_goals(2), ridge(2), n) as archive:
            self.check(optimizer, space, archive)

    @pytest.mark.parametrize("failed", [range(1, 10, 2), range(10)], ids=["some", "all"])
    def test_failed_trials_are_borne(
        self, optimizer: Optimizer, space: Space, failed: Sequence[int]
    ) -> None:
        """Some of them, and all of them."""
        with planted(space, make_goals(2), ridge(2), 10, failed=failed) as archive:
            self.check(optimizer, space, archive)

    def test_equal_trials_are_borne(self, optimizer: Optimizer, space: Space) -> None:
        """A point that was scored five times."""
        goals = make_goals(2)
        with planted(space, goals, ridge(2), 8) as archive:
            again = archive.candidates[3]
            for _ in range(4):
                entry = (Candidate(again.unit or (), "sobol"), again.config)
                (trial,) = archive.propose("candidate", [entry])
                archive.finish(trial.number, scored(goals, ridge(2)(again.unit or ())), 0.0)
            self.check(optimizer, space, archive)

    @pytest.mark.parametrize("varying", [0, 1])
    def test_constant_objectives_are_borne(
        self, optimizer: Optimizer, space: Space, varying: int
    ) -> None:
        """None of them varies, or one of two."""

        def function(unit: Sequence[float]) -> list[float]:
            return [*ridge(varying)(unit), *[0.5] * (2 - varying)] if varying else [0.5] * 2

        with planted(space, make_goals(2), function, 10) as archive:
            self.check(optimizer, space, archive)

    @pytest.mark.parametrize("function", [ridge(2), constant(2)], ids=["varying", "constant"])
    def test_nothing_feasible_is_borne(
        self, optimizer: Optimizer, space: Space, function: Function
    ) -> None:
        """A threshold beyond every score."""
        with planted(space, make_goals(2, [2.0]), function, 10) as archive:
            self.check(optimizer, space, archive)

    def test_thresholds_that_some_trials_keep_are_borne(
        self, optimizer: Optimizer, space: Space
    ) -> None:
        """Two thresholds."""
        with planted(space, make_goals(2, [0.6, 0.3]), ridge(2), 10) as archive:
            self.check(optimizer, space, archive)

    @pytest.mark.parametrize("references", [[], [[0.2, 0.2]]], ids=["none", "equal"])
    def test_scales_without_anchors_are_borne(
        self, optimizer: Optimizer, space: Space, references: Sequence[Sequence[float]]
    ) -> None:
        """No reference trial, or only equal ones; and units far from 1."""

        def function(unit: Sequence[float]) -> list[float]:
            return [1e9 * ridge(2)(unit)[0], 1e-6 * ridge(2)(unit)[1]]

        with planted(space, make_goals(2), function, 10, references=references) as archive:
            self.check(optimizer, space, archive)

    def test_scores_below_every_reference_are_borne(
        self, optimizer: Optimizer, space: Space
    ) -> None:
        """No hypervolume at all, and one trial ruined altogether."""

        def function(unit: Sequence[float]) -> list[float]:
            ruined = 1e6 if unit[0] > 0.9 else 0.0
            return [value - 9.0 - ruined for value in ridge(2)(unit)]

        with planted(space, make_goals(2), function, 10) as archive:
            self.check(optimizer, space, archive)

    def test_pending_candidates_are_not_asked_again(
        self, optimizer: Optimizer, space: Space
    ) -> None:
        """Asking again before anything has finished gives other candidates."""
        with planted(space, make_goals(2), ridge(2), 10) as archive:
            for _ in range(3):
                found = self.check(optimizer, space, archive, 1)
                archive.propose("candidate", [(c, space.config(c.unit)) for c in found], 0)

    def test_every_sort_of_axis_is_borne(self, optimizer: Optimizer) -> None:
        """Methods, logarithms, gradients, choices; idle axes stay at their start."""
        space = small_space(MIXED)
        with planted(space, make_goals(2), ridge(2), 10) as archive:
            self.check(optimizer, space, archive, 3)

    def test_a_space_that_runs_out_gives_what_is_left(self, optimizer: Optimizer) -> None:
        """Eight points, five of them tried: three more, whatever is wanted."""
        space = small_space(WHOLE)
        every = {space.snap((a, b)) for a in np.linspace(0, 1, 50) for b in (0.25, 0.75)}
        goals = make_goals(2)
        with Archive.memory(goals) as archive:
            for unit in sorted(every)[:5]:
                (trial,) = archive.propose(
                    "candidate", [(Candidate(unit, "test"), space.config(unit))]
                )
                archive.finish(trial.number, scored(goals, ridge(2)(unit)), 0.0)
            found = optimizer.ask(space, archive, 6, SeedSequence((0, 1)))
        assert sorted(c.unit for c in found) == sorted(every)[5:]

    @pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
    def test_any_number_of_objectives(self, optimizer: Optimizer, space: Space, m: int) -> None:
        """From one to `most_goals`."""
        if m > self.most_goals:
            pytest.skip(f"this optimizer takes {self.most_goals} objectives at most")
        with planted(space, make_goals(m), ridge(m), 10) as archive:
            self.check(optimizer, space, archive)

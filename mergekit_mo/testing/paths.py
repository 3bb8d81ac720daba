"""A conformance suite for optimizers that search paths over layers, beside `OptimizerSuite`.

Rule: every test is a promise that the search relies on; none says how good an optimizer is.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.layers import MERGE, Layers, Path
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.space import Candidate, Space
from mergekit_mo.testing.fresh import ask_fresh
from mergekit_mo.testing.optimizers import _global_states
from mergekit_mo.testing.planted import make_goals, plain_space, random_path, scored, small_space

FIXED = """
merge_method: task_arithmetic
base_model: a/base
models: [{model: a/one, parameters: {weight: 1}}, {model: a/two, parameters: {weight: 1}}]
"""
"""A recipe without holes: paths are all that is searched."""

RULES = {
    "swaps": Layers((MERGE, "a/one", "a/two"), (4, 4, 4), 4, 4),
    "lengths": Layers((MERGE, "a/one"), (5, 5), 3, 7, skip=2, repeat=2),
    "depths": Layers(("a/one", "a/two"), (4, 6), 3, 6, skip=1),
    "alone": Layers(("a/one",), (5,), 3, 7, skip=1, repeat=1),
}
"""Rules for paths: members exchanged, layers left out and repeated, unequal depths, one member."""


def path_space(layers: Layers, dim: int = 0) -> Space:
    """A space of paths, with so many holes."""
    plain = plain_space(dim) if dim else small_space(FIXED)
    return Space(plain.configuration, layers)


def sum_of_layers(path: Path, unit: Sequence[float] = ()) -> list[float]:
    """Two goals: how much of the first member there is at even layers, and of others at odd ones.

    Holes add to one and take from the other.
    """
    first = sum(member == 0 for member, layer in path if layer % 2 == 0)
    other = sum(member != 0 for member, layer in path if layer % 2)
    bent = float(np.mean(unit)) if len(unit) else 0.5
    return [first / 8 + 0.1 * bent, other / 8 + 0.1 * (1 - bent)]


def walked(
    space: Space,
    n: int,
    *,
    failed: Iterable[int] = (),
    waiting: int = 0,
    constant: bool = False,
    threshold: float | None = None,
    references: bool = True,
) -> Archive:
    """An archive in memory: the straight path, then paths drawn step by step, with planted scores.

    Args:
        space: with layers.
        n: how many candidates are finished or failed.
        failed: which of them failed, counted from 0.
        waiting: how many more wait.
        constant: whether all score alike.
        threshold: of the first goal.
        references: whether there are two to anchor the scales.
    """
    assert space.layers is not None
    goals = make_goals(2, [threshold])
    archive = Archive.memory(goals)
    for i in range(2 * references):
        (trial,) = archive.propose("reference", [(f"a/parent{i}", {})])
        archive.finish(trial.number, scored(goals, [float(i)] * 2), 0.0)
    draw, rng, lost = random.Random(0), np.random.default_rng(0), set(failed)
    for i in range(n + waiting):
        path = random_path(space.layers, draw) if i else space.layers.straight
        candidate = space.candidate(rng.random(space.dim).tolist(), "test", path)
        (trial,) = archive.propose("candidate", [(candidate, space.config(candidate.unit))], 0)
        if i in lost:
            archive.finish(trial.number, Outcome({}, {}, None, "planted failure", 0.0), 0.0)
        elif i < n:
            values = [0.5, 0.5] if constant else sum_of_layers(path, candidate.unit)
            archive.finish(trial.number, scored(goals, values), 0.0)
    return archive


class PathSuite:
    """What an optimizer that searches paths has to keep. Subclass it as `OptimizerSuite`.

    An optimizer with an initial design should be given with a short one, so that a dozen planted
    trials are beyond it.
    """

    @pytest.fixture
    def optimizer(self) -> Optimizer:
        """The optimizer under test."""
        raise NotImplementedError("a suite needs the fixture `optimizer`")

    def check(
        self, optimizer: Optimizer, space: Space, archive: Archive, count: int = 3
    ) -> list[Candidate]:
        """Asks, and checks what holds of every answer."""
        assert space.layers is not None
        straight = space.layers.straight
        known = {(t.unit, t.path or straight) for t in archive.candidates}
        before = archive.trials
        asked = optimizer.ask(space, archive, count, SeedSequence((0, 7)))
        found = [space.settled(candidate) for candidate in asked]
        points = {(c.unit, c.path) for c in found}
        assert len(points) == len(found) == count
        assert not points & known, "a candidate is proposed that has been tried"
        assert all(c.path and space.layers.allowed(c.path) for c in found)
        assert all(space.snap(c.unit) == c.unit for c in found), "a point is not snapped"
        assert archive.trials == before, "asking writes nothing"
        return found

    def test_it_says_that_it_searches_layers(self, optimizer: Optimizer) -> None:
        """Else the search warns that it does not."""
        assert optimizer.searches_layers

    @pytest.mark.parametrize("dim", [0, 2], ids=["paths alone", "with holes"])
    @pytest.mark.parametrize("rules", RULES)
    def test_paths_are_allowed_and_new(self, optimizer: Optimizer, rules: str, dim: int) -> None:
        """Whatever the rules, with some trials failed and some waiting."""
        space = path_space(RULES[rules], dim)
        with walked(space, 14, failed=[3, 4], waiting=2) as archive:
            self.check(optimizer, space, archive)

    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_almost_nothing_known(self, optimizer: Optimizer, n: int) -> None:
        """The first asks of a run."""
        space = path_space(RULES["lengths"])
        with walked(space, n) as archive:
            self.check(optimizer, space, archive)

    def test_all_failed_is_borne(self, optimizer: Optimizer) -> None:
        """Nothing to learn from."""
        space = path_space(RULES["lengths"])
        with walked(space, 12, failed=range(12)) as archive:
            self.check(optimizer, space, archive)

    @pytest.mark.parametrize("what", ["constant", "infeasible", "partly", "unanchored"])
    def test_scores_that_tell_little_are_borne(self, optimizer: Optimizer, what: str) -> None:
        """All alike, none or some beyond a threshold, no references."""
        space = path_space(RULES["lengths"])
        bound = {"infeasible": 2.0, "partly": 0.3}.get(what)
        with walked(
            space,
            14,
            threshold=bound,
            constant=what == "constant",
            references=what != "unanchored",
        ) as archive:
            self.check(optimizer, space, archive)

    def test_same_arguments_give_the_same_candidates(self, optimizer: Optimizer) -> None:
        """No hidden state, whatever has been asked in between."""
        space = path_space(RULES["swaps"])
        with walked(space, 14, waiting=1) as archive, walked(space, 8) as earlier:
            first = self.check(optimizer, space, archive)
            self.check(optimizer, space, earlier)
            assert self.check(optimizer, space, archive) == first

    def test_another_process_gives_the_same_candidates(self, optimizer: Optimizer) -> None:
        """Nothing depends on the order of sets, or on what ran before."""
        space = path_space(RULES["swaps"], 2)
        here = ask_fresh(optimizer, space, 1, hash_seed=1)
        assert ask_fresh(optimizer, space, 1, hash_seed=4711) == here

    def test_other_seeds_give_other_candidates(self, optimizer: Optimizer) -> None:
        """The seed is used."""
        space = path_space(Layers(("a/one", "a/two", "a/three"), (9,) * 3, 7, 9, skip=1))
        with walked(space, 14) as archive:
            first, second = (
                optimizer.ask(space, archive, 3, SeedSequence((seed, 3))) for seed in (1, 2)
            )
        assert first != second

    def test_other_generators_are_left_alone(self, optimizer: Optimizer) -> None:
        """Global random states do not change."""
        space = path_space(RULES["swaps"])
        with walked(space, 14) as archive:
            self.check(optimizer, space, archive)
            states = _global_states()
            self.check(optimizer, space, archive)
        assert _global_states() == states

    def test_pending_candidates_are_not_asked_again(self, optimizer: Optimizer) -> None:
        """Asking again before anything has finished gives other candidates."""
        space = path_space(RULES["swaps"])
        with walked(space, 14) as archive:
            for _ in range(3):
                found = self.check(optimizer, space, archive, 1)
                archive.propose("candidate", [(c, {}) for c in found], 1)

    def test_paths_that_run_out_give_what_is_left(self, optimizer: Optimizer) -> None:
        """Eight paths, five of them tried: three more, whatever is wanted."""
        layers = Layers(("a/one", "a/two"), (3, 3), 3, 3)
        space, goals = path_space(layers), make_goals(2)
        every = sorted(tuple((m, i) for i, m in enumerate(row)) for row in np.ndindex(2, 2, 2))
        with Archive.memory(goals) as archive:
            for path in every[:5]:
                (trial,) = archive.propose("candidate", [(Candidate((), "test", path), {})], 0)
                archive.finish(trial.number, scored(goals, sum_of_layers(path)), 0.0)
            found = optimizer.ask(space, archive, 6, SeedSequence((0, 1)))
        assert sorted(space.settled(c).path or () for c in found) == every[5:]

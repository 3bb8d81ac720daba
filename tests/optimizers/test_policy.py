import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mergekit_mo.layers import MERGE, Layers, Path
from mergekit_mo.optimizers._lessons import Lessons, settled
from mergekit_mo.optimizers._paths import Point, crossed, drawn_path, every_path, mutated
from mergekit_mo.optimizers._policy import Actions, Policy
from mergekit_mo.optimizers._private import private_torch
from mergekit_mo.optimizers._training import Course, improve, trained
from mergekit_mo.optimizers._wolpertinger import Gaussian
from mergekit_mo.pareto import Matrix
from mergekit_mo.testing.paths import RULES
from mergekit_mo.testing.planted import random_path


@st.composite
def rules(draw: st.DrawFn) -> Layers:
    members = draw(st.integers(1, 3))
    depths = tuple(draw(st.integers(1, 5)) for _ in range(members))
    low = draw(st.integers(1, 6))
    layers = Layers(
        tuple(f"a/m{i}" for i in range(members)),
        depths,
        low,
        low + draw(st.integers(0, 3)),
        skip=draw(st.integers(0, 2)),
        repeat=draw(st.integers(0, 2)),
        swap=draw(st.booleans()),
    )
    assume(0 < layers.count < 5000)
    return layers


def _units(count: int, *values: float) -> torch.Tensor:
    return torch.tensor([values]).expand(count, -1)


few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


@few
@given(rules(), st.integers(0, 3), st.integers(0, 2**31))
def test_no_step_that_the_rules_forbid_is_ever_taken(layers: Layers, holes: int, seed: int) -> None:
    """Whatever the weights are: these are large and drawn at random."""
    with private_torch(seed):
        policy = Policy(layers, 2, holes)
        with torch.no_grad():
            for weights in policy.parameters():
                weights.normal_(std=3.0)
        walked = policy.sample(torch.rand(8, 2), torch.rand(8, holes))
        gaussian = Gaussian(Actions(layers), [0.3] * holes)
        paths = [*walked.paths, gaussian.sample(3, 0.5, 0.99).path]
    assert all(layers.allowed(path) for path in paths)


@few
@given(rules(), st.integers(0, 2**31))
def test_changed_crossed_and_drawn_paths_are_allowed(layers: Layers, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = drawn_path(layers, rng), drawn_path(layers, rng)
    found = [first, second, mutated(layers, first, rng), crossed(layers, first, second, rng)]
    assert all(layers.allowed(path) for path in found)


@pytest.mark.parametrize("name", RULES)
def test_every_path_is_listed_once(name: str) -> None:
    listed = list(every_path(RULES[name]))
    assert len(set(listed)) == len(listed) == RULES[name].count


def test_each_path_is_drawn_as_often_as_any_other() -> None:
    layers = Layers(("a/one", "a/two"), (3, 3), 2, 4, skip=1, repeat=1)
    rng = np.random.default_rng(0)
    counts = Counter(drawn_path(layers, rng) for _ in range(20 * layers.count))
    assert set(counts) == set(every_path(layers))
    surprise = sum((n - 20) ** 2 / 20 for n in counts.values())
    free = layers.count - 1
    assert abs(surprise - free) < 4 * (2 * free) ** 0.5  # chi-squared: mean and sd


@pytest.mark.parametrize("holes", [0, 2])
def test_what_was_walked_is_judged_by_the_probabilities_it_was_walked_with(holes: int) -> None:
    """Step by step and all at once the networks say the same; a path's probabilities sum to 1."""
    layers = Layers(("a/one", "a/two"), (3, 3), 2, 4, skip=1, repeat=1)
    paths = list(every_path(layers))
    with private_torch(1):
        policy = Policy(layers, 2, holes)
        wanted = torch.tensor([[0.3, 0.7]]).expand(len(paths), 2)
        units = _units(len(paths), *[0.9] * holes)
        episodes = policy.walked(paths, wanted, units)
        logs = torch.where(episodes.alive, policy(episodes).logs, 0.0).sum(dim=1)
        sampled = policy.sample(wanted, units)
        again = policy.walked(list(sampled.paths), wanted, units)
    assert float(logs.detach().exp().sum()) == pytest.approx(1.0, abs=1e-4)
    assert (sampled.actions[sampled.alive] == again.actions[again.alive]).all()
    assert (sampled.masks[sampled.alive] == again.masks[again.alive]).all()


def test_searches_begin_near_the_straight_path() -> None:
    layers = RULES["swaps"]
    with private_torch(2):
        found = Policy(layers, 2).sample(torch.full((200, 2), 0.5)).paths
    straight = sum(path == layers.straight for path in found) / len(found)
    assert straight > 10 / layers.count


def test_the_policy_solves_a_small_known_problem() -> None:
    """One path of 81 is worth 1, others the share of layers that are right; each preference has
    its own."""
    layers = RULES["swaps"]
    wanted = {0: (2, 1, 2, 1), 1: (1, 1, 2, 2)}
    course = Course(preferences=2, episodes=32)
    with private_torch(3):
        policy = Policy(layers, 2)
        optimizer = torch.optim.Adam(policy.parameters(), lr=course.learning.rate)
        preferences = torch.eye(2).repeat_interleave(32, dim=0)
        for _ in range(160):
            episodes = policy.sample(preferences)
            rewards = torch.tensor(
                [_right(path, wanted[i // 32]) for i, path in enumerate(episodes.paths)]
            )
            improve(policy, optimizer, episodes, rewards, course)
        found = policy.sample(preferences).paths
    for goal, best in wanted.items():
        own = found[32 * goal : 32 * (goal + 1)]
        assert sum(_right(path, best) == 1 for path in own) > 24


def test_the_policy_tells_merges_apart() -> None:
    """The same preference, two merges: on one the merge's own layers are right, on the other the
    source's; the probabilities of a batch are those of its rows alone."""
    layers = Layers((MERGE, "a/one"), (4, 4), 4, 4)
    wanted = ((0,) * 4, (1,) * 4)
    course = Course(preferences=2, episodes=32)
    with private_torch(5):
        policy = Policy(layers, 2, 1)
        optimizer = torch.optim.Adam(policy.parameters(), lr=course.learning.rate)
        preferences = torch.full((64, 2), 0.5)
        units = torch.tensor([[0.0], [1.0]]).repeat_interleave(32, dim=0)
        for _ in range(80):
            episodes = policy.sample(preferences, units)
            rewards = torch.tensor(
                [_right(path, wanted[i // 32]) for i, path in enumerate(episodes.paths)]
            )
            improve(policy, optimizer, episodes, rewards, course)
        found = policy.sample(preferences, units)
        logs = policy(found).logs
        row = policy.walked([found.paths[40]], preferences[:1], units[40:41])
        alone = policy(row).logs[0]
    for merge, best in enumerate(wanted):
        own = found.paths[32 * merge : 32 * (merge + 1)]
        assert sum(_right(path, best) == 1 for path in own) > 24
    assert torch.allclose(alone, logs[40, : len(alone)], atol=1e-5)


def test_without_holes_the_network_is_the_one_that_knows_no_merges() -> None:
    layers = RULES["swaps"]
    with private_torch(6):
        bare = Policy(layers, 2)
    with private_torch(6):
        full = Policy(layers, 2, 3)
    own = full.state_dict()
    assert all(torch.equal(own[name], value) for name, value in bare.state_dict().items())
    assert bare.merge is None


def _right(path: Path, members: Sequence[int]) -> float:
    return sum(m == wanted for (m, _), wanted in zip(path, members, strict=True)) / len(members)


class _Exact:
    """A guess that is the truth: the share of the second member, and of the third."""

    def scores(self, points: Sequence[Point], optimism: float = 0.0) -> Matrix:
        del optimism
        return np.array([_shares(path or ()) for _, path in points])


def _shares(path: Path) -> tuple[float, float]:
    return (
        sum(m == 1 for m, _ in path) / len(path),
        sum(m == 2 for m, _ in path) / len(path),
    )


def test_one_policy_serves_opposed_preferences() -> None:
    layers = RULES["swaps"]
    draw = random.Random(0)
    paths = [random_path(layers, draw) for _ in range(20)]
    Y = np.array([_shares(path) for path in paths])
    known = Lessons(
        tuple(paths),
        ((),) * 20,
        Y,
        np.zeros(20),
        np.ones(2),
        np.full(2, -0.1),
        *[np.full(2, -np.inf)] * 2,
    )
    with private_torch(4):
        policy = trained(
            layers, known, _Exact(), Course(copies=20, rounds=40), np.random.default_rng(0)
        )
        ends = settled(np.array([[1.0, 0.0], [0.0, 1.0]]))
        found = policy.sample(torch.tensor(np.repeat(ends, 32, axis=0), dtype=torch.float)).paths
    first = np.mean([_shares(path) for path in found[:32]], axis=0)
    second = np.mean([_shares(path) for path in found[32:]], axis=0)
    assert min(first[0], second[1]) > 0.7
    assert max(first[1], second[0]) < 0.3

"""Every optimizer of paths keeps the promises of both suites."""

from itertools import pairwise

import pytest
from numpy.random import SeedSequence

from mergekit_mo.layers import MERGE, Layers, Path
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers import _hm3_paper as paper
from mergekit_mo.optimizers._straight import merger, straight_trials
from mergekit_mo.optimizers.evolution import Evolution
from mergekit_mo.optimizers.hm3 import HM3
from mergekit_mo.optimizers.mutation import Mutation
from mergekit_mo.optimizers.random import Random
from mergekit_mo.testing.optimizers import OptimizerSuite
from mergekit_mo.testing.paths import RULES, PathSuite, path_space, sum_of_layers, walked
from mergekit_mo.testing.planted import plain_space, scored


class TestEvolution(OptimizerSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return Evolution()


class TestEvolutionOnPaths(PathSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return Evolution()


class TestMutation(OptimizerSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return Mutation()


class TestMutationOnPaths(PathSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return Mutation()


class TestRandomPaths(PathSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return Random()


class TestHM3(PathSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return HM3(initial=4)


class TestHM3WithItsPolicy(PathSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return HM3(initial=4, neighbours=0.5, copies=2, rounds=2)


class TestHM3Published(PathSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return HM3(variant="paper", preferences=2)


@pytest.mark.parametrize(
    "optimizer", [HM3(), HM3(variant="paper"), Evolution(), Mutation()], ids=repr
)
def test_a_recipe_without_layers_is_refused(optimizer: Optimizer) -> None:
    why = optimizer.refusal(50, plain_space(2), 2)
    assert "paths over layers" in why
    assert "layers: {" in why


@pytest.mark.parametrize(
    "optimizer",
    [HM3(initial=1), HM3(variant="paper", preferences=1), Evolution(), Mutation(), Random()],
    ids=repr,
)
def test_models_of_a_single_layer_have_paths(optimizer: Optimizer) -> None:
    layers = Layers((MERGE, "a/one"), (1, 1), 1, 2, repeat=1)
    space = path_space(layers)
    assert layers.count == 6
    with walked(space, 1) as archive:
        found = [space.settled(c).path for c in optimizer.ask(space, archive, 9, _seed())]
    assert len(set(found)) == len(found) == 5
    assert layers.straight == ((0, 0),) not in found


def test_with_layers_nothing_is_refused() -> None:
    space = path_space(RULES["swaps"])
    assert not any(o.refusal(50, space, 2) for o in (HM3(), Evolution(), Mutation()))
    assert "initial" in HM3(initial=50).refusal(50, space, 2)
    assert "has none" in HM3(levels="parameters").refusal(50, space, 2)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"variant": "v1"}, "variant"),
        ({"levels": "none"}, "levels"),
        ({"merges": -1}, "merges"),
        ({"group": 0}, "group"),
        ({"neighbours": 1.5}, "neighbours"),
        ({"length_penalty": -1}, "length_penalty"),
        ({"exploration": 2}, "exploration"),
        ({"merges_by": "nsga-2"}, "merges_by: no optimizer is called .nsga-2."),
        ({"merges_by": "evolution"}, "merges_by names an optimizer of holes alone"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        HM3(**settings)  # type: ignore[arg-type]


def test_merges_come_before_paths() -> None:
    space = path_space(RULES["swaps"], 2)
    straight = space.layers.straight if space.layers else ()
    with walked(space, 5) as archive:
        asked = HM3(initial=2).ask(space, archive, 8, _seed())
    found = [space.settled(candidate).path for candidate in asked]
    assert found[:4] == [straight] * 4  # numbers 5 to 8
    assert straight not in found[-1:]
    why = HM3(initial=4).refusal(9, space, 2)
    assert "9 merges come first" in why
    assert not HM3(initial=4, merges=4).refusal(9, space, 2)
    assert not HM3(initial=4, levels="parameters").refusal(9, space, 2)


@pytest.mark.parametrize("kind", ["mm-mo", "qlognehvi", "nsga2", "cma-es", "soup"])
def test_merges_are_those_of_the_optimizer_that_is_named(kind: str) -> None:
    space = path_space(RULES["swaps"], 2)
    with walked(space, 5) as archive:
        asked = HM3(initial=2, merges_by=kind).ask(space, archive, 2, _seed())
        with straight_trials(space, archive) as view:
            assert len(view.candidates) < len(archive.candidates)
            alone = merger(kind).ask(space, view, 2, _seed())
    assert asked == [space.settled(candidate) for candidate in alone]


def test_the_level_that_pays_has_the_turns() -> None:
    """Scores that paths alone improve, then scores that holes alone do."""
    space = path_space(Layers((MERGE, "a/one"), (5, 5), 5, 5), 2)
    assert space.layers
    bent = ((1, 0), *space.layers.straight[1:])
    for pays, merges in (("paths", 1), ("holes", 7)):
        with walked(space, 1, constant=True) as archive:
            for i in range(12):
                own = (i % 2 == 0) == (pays == "holes")
                path, unit = (bent if i % 2 else space.layers.straight), [i / 12, 0.5]
                (trial,) = archive.propose("candidate", [(space.candidate(unit, "t", path), {})])
                archive.finish(trial.number, scored(archive.goals, [0.5 + 0.03 * i * own] * 2), 0.0)
            asked = HM3(initial=4, merges=4).ask(space, archive, 8, _seed())
        found = [space.settled(candidate).path for candidate in asked]
        assert found.count(space.layers.straight) == merges


def test_first_paths_over_merges_are_changed_once() -> None:
    """A path over a merge of the front differs from it by one layer, or by one block."""
    space = path_space(Layers((MERGE, "a/one"), (6, 6), 5, 7, skip=1, repeat=1), 2)
    assert space.layers
    with walked(space, 0) as archive:
        for i in range(9):
            candidate = space.candidate([i / 9, 0.5], "test", space.layers.straight)
            (trial,) = archive.propose("candidate", [(candidate, {})])
            values = sum_of_layers(space.layers.straight, candidate.unit)
            archive.finish(trial.number, scored(archive.goals, values), 0.0)
        units = {t.unit for t in archive.front()}
        asked = HM3(merges=4).ask(space, archive, 8, _seed())
    bent = [c for c in map(space.settled, asked) if c.path != space.layers.straight]
    assert bent
    for candidate in bent:
        assert candidate.unit in units
        assert _borders(candidate.path or ()) <= 2


def _borders(path: Path) -> int:
    """How often a path leaves the order of one member's layers."""
    return sum(b != (a[0], a[1] + 1) for a, b in pairwise(path))


def test_levels_can_be_searched_alone() -> None:
    space = path_space(Layers((MERGE, "a/one"), (5, 5), 5, 5), 2)
    straight = space.layers.straight if space.layers else ()
    with walked(space, 20) as archive:
        above = HM3(initial=4, levels="parameters").ask(space, archive, 2, _seed())
        below = HM3(initial=4, levels="paths").ask(space, archive, 2, _seed())
    assert {space.settled(c).path for c in above} == {straight}
    assert straight not in {c.path for c in below}


def test_the_published_learners_come_to_the_same_without_what_is_kept() -> None:
    space = path_space(RULES["lengths"])
    optimizer = HM3(variant="paper", preferences=2)
    with walked(space, 2) as archive:
        for ask in range(6):
            kept = optimizer.ask(space, archive, 1, _seed(ask))
            paper.forget()
            assert optimizer.ask(space, archive, 1, _seed(ask)) == kept
            (trial,) = archive.propose("candidate", [(kept[0], {})], ask)
            values = sum_of_layers(kept[0].path or ())
            archive.finish(trial.number, scored(archive.goals, values), 0.0)


def test_the_published_merge_weighs_sources_by_the_preference() -> None:
    space = path_space(RULES["swaps"], 2)
    with walked(space, 0) as archive:
        found = HM3(variant="paper", preferences=3).ask(space, archive, 3, _seed())
    assert len({c.unit for c in found}) == 3
    assert all(sum(c.unit) == pytest.approx(1, abs=1e-5) for c in found)


def _seed(ask: int = 3) -> SeedSequence:
    return SeedSequence((5, ask))

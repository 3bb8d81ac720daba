from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective.monte_carlo import qExpectedHypervolumeImprovement
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.optimizers import Optimizer, _published
from mergekit_mo.optimizers._surrogate import private_randomness
from mergekit_mo.optimizers.mm_mo import MMMO
from mergekit_mo.optimizers.qlognehvi import QLogNEHVI
from mergekit_mo.space import Candidate
from mergekit_mo.testing.optimizers import OptimizerSuite
from mergekit_mo.testing.planted import make_goals, plain_space, planted, ridge, small_space
from mergekit_mo.trial import Measurement

LIGHT: dict[str, Any] = {
    "initial": 4, "samples": 16, "restarts": 2, "raw_samples": 16, "iterations": 10,
    "fit_iterations": 20,
}  # fmt: skip
PARTS: dict[str, Any] = {"weak_to_strong": False, "fisher": False, "warp": False}


@pytest.fixture
def light_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' rounds with less effort: their own takes a minute."""
    for name, value in {"_SAMPLES": 16, "_RESTARTS": 2, "_RAW": 16, "_ITERATIONS": 5}.items():
        monkeypatch.setattr(_published, name, value)


class TestConformance(OptimizerSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return MMMO(**LIGHT, weak_to_strong=True, fisher=True)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"variant": "papers"}, "variant is default, paper, official, not 'papers'"),
        ({"elites": -1}, "elites must be 3 or more, not -1"),
        ({"elites": 2}, "elites"),
        ({"scale": 0.0}, "scale"),
        ({"crossover": 1.5}, "crossover"),
        ({"slot": 0}, "slot"),
        ({"restarts": 0}, "restarts"),
        ({"noise": "none"}, "noise"),
        ({"design": "grid"}, "design is sobol or soup, not 'grid'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        MMMO(**settings)


@pytest.mark.parametrize(
    "optimizer", [MMMO(initial=12), MMMO(variant="paper"), MMMO(variant="official")]
)
def test_a_budget_within_the_initial_trials_is_refused(optimizer: MMMO) -> None:
    assert "ends within" in optimizer.refusal(10, plain_space(2), 2)
    assert optimizer.refusal(30, plain_space(2), 2) == ""


def test_without_its_parts_it_is_qlognehvi() -> None:
    with planted(plain_space(3), make_goals(2), ridge(2), 12) as archive:
        plain, bare = (
            [c.unit for c in o.ask(plain_space(3), archive, 2, SeedSequence((0, 1)))]
            for o in (QLogNEHVI(**LIGHT), MMMO(**LIGHT, **PARTS))
        )
    assert plain == bare


@pytest.mark.parametrize("part", ["weak_to_strong", "fisher"])
def test_each_part_makes_a_difference(part: str) -> None:
    asked = []
    for on in (False, True):
        optimizer = MMMO(**LIGHT | PARTS | {part: on})
        with planted(plain_space(3), make_goals(2), ridge(2), 15) as archive:
            found = optimizer.ask(plain_space(3), archive, 4, SeedSequence((0, 1)))
        asked.append([c.unit for c in found])
    assert asked[0] != asked[1]


_WITH_DENSITIES = """
merge_method: ties
base_model: a/base
models:
  - {model: a/one, parameters: {weight: {value: 0.5, low: 0, high: 1.2}, density: DENSITY}}
  - {model: a/two, parameters: {weight: {value: 0.5, low: 0, high: 1.2}, density: DENSITY}}
""".replace("DENSITY", "{value: 0.6, low: 0.1, high: 1}")


def test_first_come_mixes_whose_weights_add_up_to_one() -> None:
    space = small_space(_WITH_DENSITIES)
    with Archive.memory(make_goals(2)) as archive:
        for ask in range(4):
            (found,) = MMMO(**LIGHT).ask(space, archive, 1, SeedSequence((0, ask)))
            assert found.origin == "soup"
            shares = [
                float(axis.decode(at))
                for axis, at in zip(space.axes, found.unit, strict=True)
                if axis.parameter == "weight"
            ]
            assert sum(shares) == pytest.approx(1, abs=1e-3)
            (trial,) = archive.propose("candidate", [(found, {})], ask)
            archive.finish(trial.number, _outcome(ridge(2)(found.unit), 0.0), 0.0)
        units = [t.unit for t in archive.candidates]
        later = MMMO(**LIGHT).ask(space, archive, 1, SeedSequence((0, 9)))
    assert len(set(units)) == 4
    assert [c.origin for c in later] == ["mm-mo"]


def test_mixes_are_fewer_than_points_of_even_coverage() -> None:
    """As many as dimensions; and without two models' weights there is nothing to mix."""
    alone = small_space(
        "merge_method: linear\nmodels: [{model: a/one, parameters: {weight: 1}}, "
        "{model: a/two, parameters: {weight: {value: 0.5, low: 0, high: 1}}}]"
    )
    space = small_space(_WITH_DENSITIES)
    with Archive.memory(make_goals(2)) as archive:
        first = MMMO().ask(space, archive, 10, SeedSequence((0, 0)))
        even = QLogNEHVI().ask(space, archive, 10, SeedSequence((0, 0)))
        single = MMMO().ask(alone, archive, 4, SeedSequence((0, 0)))
    assert [c.origin for c in first] == ["soup"] * 4 + ["sobol"] * 6
    assert {c.origin for c in (*even, *single)} == {"sobol"}


def test_one_candidate_in_a_slot_is_a_child_of_elites() -> None:
    # Elites on a line, apart from the best point: only children of theirs stay on that line.
    def function(unit: Sequence[float]) -> list[float]:
        return [unit[0], 1 - unit[0]]

    with Archive.memory(make_goals(2)) as archive:
        space = plain_space(3)
        for i in range(8):
            candidate = Candidate((0.1 + 0.1 * i, 0.5, 0.5), "test")
            (trial,) = archive.propose("candidate", [(candidate, {})])
            goals = zip(archive.goals, function(candidate.unit), strict=True)
            scores = {g.name: Measurement(v) for g, v in goals}
            archive.finish(trial.number, Outcome(scores, {}, None, None, 0.0), 0.0)
        optimizer = MMMO(**LIGHT | {"weak_to_strong": True, "warp": False, "slot": 3})
        found = optimizer.ask(space, archive, 3, SeedSequence((0, 1)))
    on_the_line = [c.unit[1:] == (0.5, 0.5) for c in found]
    assert on_the_line[0], "the ninth candidate is a child"
    assert not all(on_the_line)


def steered(distances: list[float], *, measured: bool = True) -> Archive:
    """Two goals, and a distance from the base that is measured besides, or not."""
    goals = make_goals(2)
    facts = {"auxiliary": [["sparsity", False, None]] if measured else []}
    archive = Archive.create(":memory:", goals, facts)
    for i, distance in enumerate([0.0, 80.0, 120.0]):
        (trial,) = archive.propose("reference", [(f"a/{i}", {})])
        archive.finish(trial.number, _outcome([i / 2, 1 - i / 2], distance), 0.0)
    for i, distance in enumerate(distances):
        unit = (i / len(distances), 0.5, 0.5)
        (trial,) = archive.propose("candidate", [(Candidate(unit, "test"), {})])
        archive.finish(trial.number, _outcome(ridge(2)(unit), distance), 0.0)
    return archive


def _outcome(values: Any, distance: float) -> Outcome:
    scores = {f"g{i}": Measurement(float(v), 0.01) for i, v in enumerate(values)}
    scores["sparsity"] = Measurement(distance, 0.0)
    return Outcome(scores, {}, None, None, 0.0)


def test_the_distance_is_measured_in_mean_distances_of_the_sources() -> None:
    with steered([0.0, 50.0, 100.0, 200.0]) as archive:
        Y = archive.data(auxiliary=True).Y
    assert Y[:, 2].tolist() == pytest.approx([1.0, 0.5, 0.0, -1.0])


def test_the_distance_steers_and_enters_no_front() -> None:
    distances = [float(10 * i) for i in range(12)]
    with steered(distances) as archive, steered(distances, measured=False) as plain:
        asked = [
            MMMO(**LIGHT).ask(plain_space(3), known, 2, SeedSequence((0, 1)))
            for known in (archive, plain)
        ]
        assert asked[0] != asked[1]
        assert archive.matrix(archive.front()).shape[1] == 2
        assert [goal.name for goal in archive.goals] == ["g0", "g1"]
    assert MMMO(sparsity=True).auxiliary == ("sparsity",)
    assert MMMO().auxiliary == ()
    assert MMMO(variant="paper").auxiliary == ("sparsity",)


@pytest.mark.usefixtures("light_rounds")
@pytest.mark.parametrize("variant", ["paper", "official"])
class TestPublished:
    def test_ten_draws_then_rounds_of_five(self, variant: str) -> None:
        optimizer, space = MMMO(variant=variant), plain_space(3)
        assert optimizer.batch == 5
        with planted(space, make_goals(2), ridge(2), 9) as archive:
            early = optimizer.ask(space, archive, 1, SeedSequence((0, 1)))
        with planted(space, make_goals(2), ridge(2), 10) as archive:
            late = optimizer.ask(space, archive, 5, SeedSequence((0, 2)))
        assert [c.origin for c in early] == ["random"]
        assert [c.origin for c in late] == ["mm-mo"] * 5
        assert len({c.unit for c in late}) == 5

    def test_same_arguments_give_the_same_candidates(self, variant: str) -> None:
        with planted(plain_space(3), make_goals(2), ridge(2), 12) as archive:
            one, two = (
                MMMO(variant=variant).ask(plain_space(3), archive, 5, SeedSequence((0, 2)))
                for _ in range(2)
            )
        assert one == two

    @pytest.mark.parametrize("failed", [[3, 5], range(12)], ids=["some", "all"])
    def test_failed_trials_are_borne(self, variant: str, failed: Any) -> None:
        with planted(plain_space(3), make_goals(2), ridge(2), 12, failed=failed) as archive:
            found = MMMO(variant=variant).ask(plain_space(3), archive, 5, SeedSequence((0, 2)))
        assert len(found) == 5


def test_in_raw_units_the_acquisition_is_blind_and_in_one_unit_it_sees() -> None:
    """What became of the authors' runs: percentages beside z-scores (0 of 2,000 points)."""
    chance = np.random.default_rng(0)
    X = torch.tensor(chance.random((10, 6)))
    raw = np.column_stack([50 + 5 * X[:, 0] - 3 * X[:, 1], 40 - 4 * X[:, 0], -1e4 * (1 + X.sum(1))])
    centre, width = raw.mean(0), raw.std(0, ddof=1)
    rules = _published.Round(
        mended=True, weak_to_strong=True, fisher=True, elites=5, scale=0.5, crossover=0.5,
        fit_iterations=50,
    )  # fmt: skip
    shares = []
    with private_randomness(0):
        model = rules._model(X.numpy(), (raw - centre) / width)
        for mended in (False, True):
            reference = _published._reference(raw)
            point = torch.tensor((reference - centre) / width if mended else reference)
            means = model.posterior(X).mean.detach()
            acquisition = qExpectedHypervolumeImprovement(
                model,
                ref_point=point,
                partitioning=FastNondominatedPartitioning(ref_point=point, Y=means),
                sampler=SobolQMCNormalSampler(torch.Size([32]), seed=0),
            )
            with torch.no_grad():
                values = acquisition(torch.tensor(chance.random((500, 1, 6))))
            shares.append(float((values > 0).double().mean()))
    assert shares[0] == 0
    assert shares[1] > 0.5


def test_accuracies_count_in_percent_and_distances_as_they_are() -> None:
    with steered([10.0, 20.0, 30.0]) as archive:
        _, Y, first = _published._known(archive)
    assert first == 3
    assert Y[:, 2].tolist() == [-10.0, -20.0, -30.0]
    assert Y[:, 0].max() > 10

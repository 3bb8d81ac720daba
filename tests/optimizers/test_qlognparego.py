import math
from collections.abc import Sequence

import pytest
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective.parego import qLogNParEGO
from numpy.random import SeedSequence

from mergekit_mo.optimizers import Optimizer, _acquisition
from mergekit_mo.optimizers.qlognehvi import QLogNEHVI
from mergekit_mo.optimizers.qlognparego import QLogNParEGO
from mergekit_mo.optimizers.random import Random
from mergekit_mo.testing.optimizers import OptimizerSuite
from mergekit_mo.testing.planted import make_goals, plain_space, planted, ridge, scored
from mergekit_mo.trial import Goal

QUICK = QLogNParEGO(
    initial=4, samples=16, restarts=2, raw_samples=16, iterations=10, fit_iterations=20
)


class TestConformance(OptimizerSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return QUICK


@pytest.mark.parametrize(
    ("m", "kind"), [(1, qLogNoisyExpectedImprovement), (2, qLogNParEGO), (4, qLogNParEGO)]
)
def test_objectives_are_scalarised_however_few_they_are(
    m: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    real = _acquisition.make_acquisition

    def spy(*args: object, **options: object) -> object:
        made.append(real(*args, **options))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(_acquisition, "make_acquisition", spy)
    with planted(plain_space(2), make_goals(m), ridge(m), 8) as archive:
        (found,) = QUICK.ask(plain_space(2), archive, 1, SeedSequence(0))
    assert [type(a) for a in made] == [kind]
    assert found.origin == "qlognparego"


def test_each_candidate_has_a_scalarisation_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    real = _acquisition.make_acquisition

    def spy(*args: object, **options: object) -> object:
        made = real(*args, **options)  # type: ignore[arg-type]
        weights.append(tuple(made.scalarization_weights.tolist()))  # type: ignore[union-attr]
        return made

    monkeypatch.setattr(_acquisition, "make_acquisition", spy)
    with planted(plain_space(2), make_goals(2), ridge(2), 8) as archive:
        for k in range(2):
            QUICK.ask(plain_space(2), archive, 2, SeedSequence((0, k)))
    assert len(set(weights)) == 4


@pytest.mark.parametrize(
    ("initial", "budget", "told"), [(8, 8, True), (8, 9, False), (None, 1, False)]
)
def test_a_budget_within_the_initial_trials_is_refused(
    initial: int | None, budget: int, told: bool
) -> None:
    assert bool(QLogNParEGO(initial=initial).refusal(budget, plain_space(2), 2)) is told


def test_it_has_the_settings_of_qlognehvi() -> None:
    with pytest.raises(ValueError, match="samples must be 1 or more"):
        QLogNParEGO(samples=0)
    assert QLogNParEGO() != QLogNEHVI()


def dtlz2(unit: Sequence[float]) -> list[float]:
    """Two goals to minimise, the front a quarter of a circle (Deb et al. 2002)."""
    far = 1 + sum((u - 0.5) ** 2 for u in unit[1:])
    return [far * math.cos(unit[0] * math.pi / 2), far * math.sin(unit[0] * math.pi / 2)]


def lost(optimizer: Optimizer, seed: int) -> float:
    """The share of the greatest hypervolume that sixteen trials miss, from (1.1, 1.1)."""
    space, goals = plain_space(2), [Goal("one", False), Goal("other", False)]
    with planted(space, goals, dtlz2, 0, references=[[1, 1], [0, 0]]) as archive:
        for k in range(16):
            (found,) = optimizer.ask(space, archive, 1, SeedSequence((seed, k)))
            (trial,) = archive.propose("candidate", [(found, {})], k)
            archive.finish(trial.number, scored(goals, dtlz2(found.unit)), 0.0)
        return 1 - archive.hypervolume(archive.front()) / (1.1**2 - math.pi / 4)


@pytest.mark.slow
def test_it_is_clearly_better_than_chance() -> None:
    optimizer = QLogNParEGO(initial=6, samples=32, restarts=2, raw_samples=64, iterations=20)
    informed = sum(lost(optimizer, seed) for seed in range(2))
    blind = sum(lost(Random(), seed) for seed in range(2))
    assert informed < 0.8 * blind

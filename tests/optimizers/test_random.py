import numpy as np
import pytest
from numpy.random import SeedSequence
from scipy.stats import kstest

from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers.random import Random
from mergekit_mo.testing.optimizers import OptimizerSuite
from mergekit_mo.testing.planted import make_goals, plain_space, planted, ridge


class TestConformance(OptimizerSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return Random()


def test_every_coordinate_is_uniform_and_independent_of_the_others() -> None:
    with planted(plain_space(3), make_goals(1), ridge(1), 0) as archive:
        found = Random().ask(plain_space(3), archive, 500, SeedSequence(0))
    units = np.array([c.unit for c in found])
    assert min(kstest(column, "uniform").pvalue for column in units.T) > 0.01
    assert np.abs(np.corrcoef(units.T) - np.eye(3)).max() < 0.1


def test_each_ask_draws_anew() -> None:
    with planted(plain_space(3), make_goals(1), ridge(1), 0) as archive:
        first, second = (
            Random().ask(plain_space(3), archive, 1, SeedSequence((5, k))) for k in range(2)
        )
    assert first != second


def test_scores_do_not_matter() -> None:
    found = []
    for function in (ridge(2), lambda unit: [-v for v in ridge(2)(unit)]):
        with planted(plain_space(3), make_goals(2), function, 8) as archive:
            found.append(Random().ask(plain_space(3), archive, 3, SeedSequence(0)))
    assert found[0] == found[1]

from collections.abc import Callable

import numpy as np
import pytest

from mergekit_mo import optional
from mergekit_mo.optimizers._standing import Standing, generations, standing, told
from mergekit_mo.optimizers.cma_es import CMAES
from mergekit_mo.optimizers.nsga2 import NSGA2
from mergekit_mo.problems import UserError
from mergekit_mo.testing.planted import make_goals, plain_space, planted, ridge


def test_failed_trials_and_infinite_scores_are_not_told() -> None:
    def function(unit: object) -> list[float]:
        return [float("-inf") if unit == space.starts()[1].unit else 0.5]

    space = plain_space(2)
    with planted(space, make_goals(1), function, 5, failed=[2], waiting=1) as archive:
        numbers = [t.number for t in archive.candidates]
        assert [t.number for t in told(space, archive)] == [numbers[i] for i in (0, 3, 4, 5)]


def test_generations_are_full_ones_in_the_order_of_the_trials() -> None:
    with planted(plain_space(2), make_goals(1), ridge(1), 8) as archive:
        trials = told(plain_space(2), archive)
        assert generations(trials, 3) == [trials[:3], trials[3:6]]
        assert generations(trials[:2], 3) == []


def test_what_breaks_a_threshold_is_violated_however_little() -> None:
    values = iter([0.7, np.nextafter(0.7, 0), 0.5, 0.9])
    goals, parents = make_goals(1, [0.7]), [[-1e9], [1e9]]  # a scale on which 0.7 is nothing
    with planted(plain_space(2), goals, lambda _: [next(values)], 4, references=parents) as archive:
        violations = standing(archive, archive.candidates).violations
    assert (violations > 0).tolist() == [False, True, True, False]


def test_objectives_without_anchors_are_in_units_of_their_own_range() -> None:
    def function(unit: tuple[float, ...]) -> list[float]:
        return [1e6 * unit[0], 1e-6 * unit[1]]

    with planted(plain_space(2), make_goals(2), function, 8, references=[]) as archive:  # type: ignore[arg-type]
        Y = standing(archive, archive.candidates).Y
    assert np.ptp(Y, axis=0) == pytest.approx([1, 1])


def test_feasible_trials_come_first_and_equal_ones_share_a_place() -> None:
    Y = np.array([[1.0, 1.0], [9.0, 9.0], [0.0, 3.0], [5.0, 5.0], [2.0, 0.0]])
    violations = np.array([0.0, 0.2, 0.0, 0.1, 0.0])
    nothing = np.full(2, -np.inf)
    assert Standing(Y, violations, nothing, nothing).ranks([1, 1]).tolist() == [1, 3, 0, 2, 1]
    assert Standing(Y, violations, nothing, nothing).ranks([1, 0]).tolist() == [1, 4, 2, 3, 0]


@pytest.mark.parametrize(("kind", "package"), [(NSGA2, "pymoo"), (CMAES, "cma")])
def test_a_package_that_is_absent_is_told_before_anything_is_merged(
    kind: Callable[[], object], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optional, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'mergekit-mo\[baselines\]'") as caught:
        kind()
    assert package in str(caught.value)
    assert caught.value.status == 4

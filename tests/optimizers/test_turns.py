import numpy as np
import pytest

from mergekit_mo.layers import Path
from mergekit_mo.optimizers._lessons import Lessons
from mergekit_mo.optimizers._turns import Turns, turns

STRAIGHT: Path = ((0, 0), (0, 1))
BENT: Path = ((0, 0), (1, 1))


def _lessons(rows: list[tuple[Path, float]], violations: float = 0.0) -> Lessons:
    """Finished trials on the diagonal, one after the other."""
    n = len(rows)
    return Lessons(
        tuple(path for path, _ in rows),
        ((0.5,),) * n,
        np.array([[score, score] for _, score in rows]).reshape(n, 2),
        np.full(n, violations),
        np.ones(2),
        np.zeros(2),
        *[np.full(2, -np.inf)] * 2,
    )


def test_a_level_is_paid_what_its_latest_trials_added() -> None:
    known = _lessons([(STRAIGHT, 0.5), (STRAIGHT, 0.6), (BENT, 0.6), (BENT, 0.8)])
    found = turns(known, STRAIGHT)
    assert found.merges == pytest.approx((0.36 - 0.25) / 2)  # the first trial is no gain
    assert found.paths == pytest.approx((0.64 - 0.36) / 2)
    assert found.front == pytest.approx(0.64)


def test_old_gains_are_forgotten() -> None:
    known = _lessons([(BENT, 0.1), (BENT, 0.9), *[(BENT, 0.2)] * 8, (STRAIGHT, 0.3)])
    found = turns(known, STRAIGHT)
    assert (found.merges, found.paths) == (0.0, 0.0)
    assert found.front == pytest.approx(0.81)


def test_trials_beyond_a_threshold_add_nothing() -> None:
    known = _lessons([(BENT, 0.1), (BENT, 0.9), (STRAIGHT, 0.95)], violations=0.2)
    assert turns(known, STRAIGHT) == Turns(0.0, 0.0, 0.0)


def test_nothing_known_is_borne() -> None:
    assert turns(_lessons([]), STRAIGHT) == Turns(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("paid", "merges"),
    [(Turns(2e-4, 1e-4, 1), 14), (Turns(1e-4, 2e-4, 1), 2), (Turns(0.0, 0.0, 1), 8)],
)
@pytest.mark.parametrize("patient", [True, False])
def test_once_hardly_anything_pays_nobody_is_without_turns(
    paid: Turns, merges: int, patient: bool
) -> None:
    assert sum(paid.merge(number, patient=patient) for number in range(16)) == merges


@pytest.mark.parametrize(
    ("paid", "patient", "impatient"), [(Turns(2e-3, 0, 1), 16, 14), (Turns(1e-4, 0.1, 10), 0, 2)]
)
def test_as_long_as_a_level_pays_patience_gives_it_every_turn(
    paid: Turns, patient: int, impatient: int
) -> None:
    assert sum(paid.merge(number, patient=True) for number in range(16)) == patient
    assert sum(paid.merge(number, patient=False) for number in range(16)) == impatient

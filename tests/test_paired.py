from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.paired import difference_error, differs, item_paired
from mergekit_mo.trial import Goal, Measurement, Trial

HARD = np.array([0.0, 0.2, 0.5, 0.9, 1.0, 0.3, 0.7, 0.1])


def archive_of(scores: Sequence[tuple[float, float | None]], items: Sequence[object]) -> Archive:
    """Two references with scores and errors, and the values of their items."""
    facts = {"measures": {"quiz": ["quiz", "acc,none"]}}
    archive = Archive.create(":memory:", [Goal("quiz", maximize=True)], facts)
    archive.propose("reference", [("a", {}), ("b", {})])
    for number, ((value, stderr), values) in enumerate(zip(scores, items, strict=True)):
        found = {"quiz": Measurement(value, stderr, len(HARD))}
        answers = {"quiz": {"values": {"acc,none": values}}}
        archive.finish(number, Outcome(found, answers, "d", None, 1.0), 0.0)
    return archive


def pair(archive: Archive) -> tuple[Trial, Trial]:
    first, second = archive.references
    return first, second


def test_an_error_that_is_common_to_both_cancels() -> None:
    better = HARD + np.array([0.10, 0.11] * 4)
    archive = archive_of(
        [(float(HARD.mean()), 0.13), (float(better.mean()), 0.13)],
        [HARD.tolist(), better.tolist()],
    )
    error = difference_error(archive, *pair(archive), "quiz")
    assert error == pytest.approx((better - HARD).std(ddof=1) / math.sqrt(8))
    assert differs(archive, list(archive.references), "quiz")


def test_a_score_that_is_no_mean_of_its_items_falls_back_to_both_errors() -> None:
    ratios = [[1.0, 2.0]] * len(HARD)
    archive = archive_of([(0.4, 0.3), (0.5, 0.4)], [ratios, ratios])
    assert difference_error(archive, *pair(archive), "quiz") == pytest.approx(0.5)
    assert not differs(archive, list(archive.references), "quiz")


def test_scores_without_errors_are_taken_at_their_word() -> None:
    archive = archive_of([(0.4, None), (0.5, None)], [[], []])
    assert difference_error(archive, *pair(archive), "quiz") is None
    assert differs(archive, list(archive.references), "quiz")


def test_the_hold_out_is_compared_on_its_own_items() -> None:
    better = HARD + np.array([0.10, 0.11] * 4)
    with archive_of([(0.4, 0.3), (0.5, 0.4)], [[], []]) as archive:
        assert not item_paired(archive, *pair(archive), "quiz")
        for number, values in enumerate((HARD, better)):
            found = {"quiz": Measurement(float(values.mean()), 0.13, len(values))}
            answers = {"quiz": {"values": {"acc,none": values.tolist()}}}
            archive.finish(number, Outcome(found, answers, "d", None, 1.0), 0.0, "holdout")
        assert item_paired(archive, *pair(archive), "quiz", "holdout")
        error = difference_error(archive, *pair(archive), "quiz", "holdout")
        assert error == pytest.approx((better - HARD).std(ddof=1) / math.sqrt(8))
        assert difference_error(archive, *pair(archive), "quiz") == pytest.approx(0.5)

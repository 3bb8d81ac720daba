from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from mergekit_mo.archive import Archive, Outcome
from mergekit_mo.residuals import item_values, residual_variances
from mergekit_mo.trial import Goal, Measurement

RNG = np.random.default_rng(0)
PAIRS = np.column_stack([-RNG.gamma(9, 4, 40), RNG.integers(20, 90, 40)])


def archive_of(metric: str, values: Sequence[float], items: Sequence[object]) -> Archive:
    facts = {"measures": {"text": ["text", f"{metric},none"]}}
    archive = Archive.create(":memory:", [Goal("text", maximize=False)], facts)
    for number, (value, own) in enumerate(zip(values, items, strict=True)):
        archive.propose("reference", [(f"a/{number}", {})])
        answers = {"text": {"values": {f"{metric},none": own}}}
        outcome = Outcome({"text": Measurement(value, 0.1, 40)}, answers, "d", None, 1.0)
        archive.finish(number, outcome, 0.0)
    return archive


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("bits_per_byte", -PAIRS[:, 0].sum() / PAIRS[:, 1].sum() / math.log(2)),
        ("byte_perplexity", math.exp(-PAIRS[:, 0].sum() / PAIRS[:, 1].sum())),
    ],
)
def test_a_ratio_is_the_mean_of_its_item_values_and_their_error_is_its_jackknife(
    metric: str, value: float
) -> None:
    with archive_of(metric, [value], [PAIRS.tolist()]) as archive:
        found = item_values(archive, archive.trials[0], "text")
    assert found is not None
    assert found.mean() == pytest.approx(value)

    def score(pairs: np.ndarray) -> float:
        ratio = -pairs[:, 0].sum() / pairs[:, 1].sum()
        return ratio / math.log(2) if metric == "bits_per_byte" else math.exp(ratio)

    left_out = np.array([score(np.delete(PAIRS, i, axis=0)) for i in range(40)])
    jackknife = math.sqrt(39 / 40 * ((left_out - left_out.mean()) ** 2).sum())
    assert found.std(ddof=1) / math.sqrt(40) == pytest.approx(jackknife, rel=0.05)


def test_a_perplexity_is_the_mean_of_its_item_values() -> None:
    logs = -RNG.gamma(9, 0.1, 40)
    value = math.exp(-logs.mean())
    with archive_of("perplexity", [value], [logs.tolist()]) as archive:
        found = item_values(archive, archive.trials[0], "text")
    assert found is not None
    assert found.mean() == pytest.approx(value)
    left_out = np.array([math.exp(-np.delete(logs, i).mean()) for i in range(40)])
    jackknife = math.sqrt(39 / 40 * ((left_out - left_out.mean()) ** 2).sum())
    assert found.std(ddof=1) / math.sqrt(40) == pytest.approx(jackknife, rel=0.05)


def test_a_metric_that_is_no_mean_has_no_item_values() -> None:
    with archive_of("bleu", [12.0], [[["a", "b"]] * 40]) as archive:
        assert item_values(archive, archive.trials[0], "text") is None
        assert item_values(archive, archive.trials[0], "another") is None


def test_what_is_hard_for_everybody_is_no_noise() -> None:
    hard, shifts = RNG.random(200), [0.0, 0.1, -0.2, 0.3]
    own = RNG.normal(scale=0.05, size=(4, 200))
    items = [hard + shift + noise for shift, noise in zip(shifts, own, strict=True)]
    values = [float(row.mean()) for row in items]
    with archive_of("acc", values, [row.tolist() for row in items]) as archive:
        found = residual_variances(archive, range(4), ["text"])[:, 0]
    assert found == pytest.approx(0.05**2 / 200 * 3 / 4, rel=0.35)
    assert (found < np.var(hard) / 200 / 5).all()


def test_trials_without_answers_have_no_residuals() -> None:
    with archive_of("acc", [0.5, 0.5], [[0.5] * 40, []]) as archive:
        assert np.isnan(residual_variances(archive, [0, 1], ["text"])).all()

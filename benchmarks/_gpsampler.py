"""Optuna's GPSampler as a rival: only for the benchmark, and only where optuna is installed.

Rule: it sees what every optimizer sees, anchored scores and thresholds, replayed into a new study
at each ask.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import SeedSequence

from mergekit_mo.archive import Archive
from mergekit_mo.optimizers import Optimizer
from mergekit_mo.optimizers.sobol import spread
from mergekit_mo.space import Candidate, Space


@dataclass(frozen=True)
class GPSampler(Optimizer):
    """Optuna's Gaussian-process sampler with its defaults."""

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        known = {t.unit for t in archive.candidates}
        found: list[Candidate] = []
        names = _names(space)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of settings that will change in a later optuna
            study = _study(space, archive, int(seed.generate_state(1)[0]))
            trials = [study.ask({name: _unit_range() for name in names}) for _ in range(count)]
        for trial in trials:
            candidate = space.candidate([trial.params[name] for name in names], "optuna")
            if candidate.unit not in known:
                known.add(candidate.unit)
                found.append(candidate)
        taken = [candidate.unit for candidate in found]
        return found + spread(space, archive, count - len(found), seed, "sobol", taken)


def _study(space: Space, archive: Archive, seed: int) -> Any:
    """A study that knows the archive's finished trials."""
    import optuna

    data, scales = archive.data(), archive.scales
    least = [-np.inf if s.goal.threshold is None else s.up(s.goal.threshold) for s in scales]  # m
    bounded = bool(np.isfinite(least).any())

    def excess(trial: Any) -> list[float]:
        return list(trial.user_attrs["excess"])

    sampler = optuna.samplers.GPSampler(
        seed=seed, n_startup_trials=0, constraints_func=excess if bounded else None
    )
    study = optuna.create_study(directions=["maximize"] * len(scales), sampler=sampler)
    for x, y in zip(data.X, data.Y, strict=True):
        over = [float(b - v) for b, v in zip(least, y, strict=True) if np.isfinite(b)]
        study.add_trial(
            optuna.trial.create_trial(
                params={name: float(u) for name, u in zip(_names(space), x, strict=True)},
                distributions={name: _unit_range() for name in _names(space)},
                values=[float(v) for v in y],
                user_attrs={"excess": over},
                system_attrs={"constraints": over} if bounded else None,
            )
        )
    return study


def _names(space: Space) -> list[str]:
    return [f"x{i}" for i in range(space.dim)]


def _unit_range() -> Any:
    import optuna

    return optuna.distributions.FloatDistribution(0.0, 1.0)

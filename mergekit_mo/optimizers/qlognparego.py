"""qLogNParEGO: random scalarisations in the hypervolume's place, however few the objectives.

Rule: all but the acquisition function is `qlognehvi`'s, so that the two can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mergekit_mo.optimizers.qlognehvi import QLogNEHVI


@dataclass(frozen=True)
class QLogNParEGO(QLogNEHVI):
    """Bayesian optimisation of random scalarisations, a new one for each candidate.

    Augmented Chebyshev scalarisations (Knowles 2006) and the logarithmic noisy expected improvement
    (Ament et al. 2023). The settings are those of `qlognehvi`.
    """

    _origin: ClassVar[str] = "qlognparego"
    _scalarised: ClassVar[bool] = True

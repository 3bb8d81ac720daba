"""The expected hypervolume improvement of points chosen one after the other, fast enough to use.

Rule: it differs from botorch's qEHVI with pending points by what those gain alone, a constant.
"""

from __future__ import annotations

from typing import cast

import torch
from botorch.acquisition.multi_objective.monte_carlo import qExpectedHypervolumeImprovement
from botorch.models import SingleTaskGP
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.box_decompositions import (
    BoxDecompositionList,
    FastNondominatedPartitioning,
)
from botorch.utils.transforms import t_batch_mode_transform
from torch import Tensor

from mergekit_mo.optimizers._cells import Cells


class OneByOne(qExpectedHypervolumeImprovement):  # type: ignore[misc]
    """qEHVI (Daulton et al. 2020) of one more point beside those that are pending.

    Botorch goes through all subsets of new and pending points, 1,023 for the tenth, though all but
    one of the points stand still. Here the samples of pending points join the front, sample by
    sample, and what one more point adds is counted over that. In a sample the pending points come
    first, so that they do not depend on the new one.

    Args:
        model: a surrogate of `m` objectives.
        reference: `m`, the reference point.
        front: `n x m` points that are known, the dominated ones included.
        sampler: of the posterior.
    """

    def __init__(
        self, model: SingleTaskGP, reference: Tensor, front: Tensor, sampler: SobolQMCNormalSampler
    ) -> None:
        partitioning = FastNondominatedPartitioning(ref_point=reference, Y=front)
        super().__init__(model, reference, partitioning, sampler=sampler)
        self._front = front
        self._plain = partitioning.get_hypercell_bounds()

    def set_X_pending(self, X_pending: Tensor | None = None) -> None:  # noqa: N802
        """Takes `p x d` pending points into the front, sample by sample; None for no such point."""
        super().set_X_pending(X_pending)
        if not hasattr(self, "_plain"):  # botorch sets it while it is being built
            return
        if X_pending is None:
            self.cell_lower_bounds, self.cell_upper_bounds = self._plain
            return
        with torch.no_grad():
            pending = self._samples(X_pending[-1:])[..., :-1, :].squeeze(1)  # S x p x m
            self.cell_lower_bounds, self.cell_upper_bounds = self._cells(pending)

    @t_batch_mode_transform(expected_q=1)  # type: ignore[untyped-decorator]
    def forward(self, X: Tensor) -> Tensor:
        """What `b x 1 x d` points are expected to add to front and pending points, `b`."""
        value: Tensor = self._compute_qehvi(self._samples(X)[..., -1:, :])
        return value

    def _samples(self, X: Tensor) -> Tensor:
        """Joint samples at pending points and then `b x 1 x d` ones, `S x b x (p + 1) x m`."""
        if X.ndim == 2:
            X = X.unsqueeze(-3)
        if self.X_pending is not None:
            X = torch.cat([self.X_pending.expand(*X.shape[:-2], -1, -1), X], dim=-2)
        return cast(Tensor, self.get_posterior_samples(self.model.posterior(X)))

    def _cells(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """What the front and `S x p x m` points leave free: corners, `S x cells x m` each."""
        fronts = torch.cat([self._front.expand(len(samples), -1, -1), samples], dim=1)
        if fronts.shape[-1] == 2:
            whole = FastNondominatedPartitioning(ref_point=self.ref_point, Y=fronts)
            return cast(tuple[Tensor, Tensor], whole.get_hypercell_bounds())
        kind = Cells if fronts.shape[-1] == 3 else FastNondominatedPartitioning
        each = BoxDecompositionList(*(kind(ref_point=self.ref_point, Y=Y) for Y in fronts))
        return cast(tuple[Tensor, Tensor], each.get_hypercell_bounds())

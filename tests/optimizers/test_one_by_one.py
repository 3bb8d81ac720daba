from collections.abc import Iterator

import pytest
import torch
from botorch.acquisition.multi_objective.monte_carlo import qExpectedHypervolumeImprovement
from botorch.models import SingleTaskGP
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
from torch import Tensor

from mergekit_mo.optimizers._one_by_one import OneByOne
from mergekit_mo.optimizers._surrogate import private_randomness

pytestmark = pytest.mark.filterwarnings("ignore")  # botorch's on logarithms and input scaling


@pytest.fixture(autouse=True)
def _repeatable() -> Iterator[None]:
    with private_randomness(0):
        yield


def _waves(X: Tensor, m: int) -> Tensor:
    """`n x m` z-scores of smooth functions of `n x 4` points."""
    columns = [(X[:, i] - X[:, (i + 1) % 4]).sin() - i * X[:, 2] ** 2 for i in range(m)]
    Y = torch.stack(columns, dim=1)
    return (Y - Y.mean(0)) / Y.std(0)


def _sampler() -> SobolQMCNormalSampler:
    return SobolQMCNormalSampler(torch.Size([32]), seed=0)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_differs_from_botorch_by_what_pending_points_gain_alone(m: int) -> None:
    X = torch.rand(12, 4, dtype=torch.double)
    Y, reference = _waves(X, m), torch.full((m,), -1.0, dtype=torch.double)
    model = SingleTaskGP(X, Y)
    quick = OneByOne(model, reference, Y, _sampler())
    partitioning = FastNondominatedPartitioning(ref_point=reference, Y=Y)
    general = qExpectedHypervolumeImprovement(model, reference, partitioning, sampler=_sampler())
    points = torch.rand(6, 1, 4, dtype=torch.double)
    torch.testing.assert_close(quick(points), general(points))

    quick.set_X_pending(torch.rand(3, 4, dtype=torch.double))
    samples = quick._samples(points)
    first = samples[:, :1, :-1].expand_as(samples[:, :, :-1])
    torch.testing.assert_close(first, samples[:, :, :-1])  # they do not depend on the new one
    alone = general._compute_qehvi(samples[..., :-1, :])
    torch.testing.assert_close(quick(points) + alone, general._compute_qehvi(samples))

    quick.set_X_pending(None)
    torch.testing.assert_close(quick(points), general(points))

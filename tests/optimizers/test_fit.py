import math

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from gpytorch.mlls import ExactMarginalLogLikelihood
from scipy.optimize import check_grad

from mergekit_mo.optimizers._fit import Kernel, _Process, fit


def drawn(n: int = 24, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(3)
    X = torch.rand(n, d, generator=chance, dtype=torch.double)
    y = torch.sin(4 * X[:, 0]) + X[:, 1] ** 2
    return X, (y - y.mean()) / y.std()


@pytest.mark.parametrize("matern", [False, True])
def test_the_loss_is_that_of_botorchs_own_model(matern: bool) -> None:
    X, y = drawn()
    found = fit(X, y, Kernel((1.0,) * 3, matern), 10)
    module = get_covar_module_with_dim_scaled_prior(3, use_rbf_kernel=not matern)
    model = SingleTaskGP(X, y[:, None], covar_module=module, outcome_transform=None)
    model.covar_module.lengthscale = found.lengthscales
    model.likelihood.noise = found.noise[:1]
    model.mean_module.initialize(constant=torch.tensor(found.mean).double())
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model.train())
    assert -float(likelihood(model(X), y)) == pytest.approx(found.loss, abs=1e-3)


@pytest.mark.parametrize("matern", [False, True])
@pytest.mark.parametrize("known", [False, True], ids=["learnt", "known"])
def test_the_gradient_is_the_losss(matern: bool, known: bool) -> None:
    X, y = drawn()
    noise = torch.full((24,), 0.01).double() if known else None
    process = _Process(X, y, Kernel((1.0, 2.0, 0.5), matern), noise)
    theta = process.start() + 0.3
    error = check_grad(lambda t: process.loss(t)[0], lambda t: process.loss(t)[1], theta)
    assert error < 1e-5 * (1 + np.linalg.norm(process.loss(theta)[1]))


def test_what_matters_gets_a_shorter_lengthscale_than_what_does_not() -> None:
    X, y = drawn(40)
    lengthscales = fit(X, y, Kernel((1.0,) * 3), 50).lengthscales
    assert lengthscales[0] < lengthscales[2] / 3


def test_a_stretched_coordinate_is_expected_to_matter_less() -> None:
    X, _ = drawn()
    y = torch.zeros(24).double()
    plain, long = (fit(X, y, Kernel(s), 50).lengthscales for s in [(1.0,) * 3, (1.0, 4.0, 1.0)])
    assert long[1] > 2 * plain[1]


def test_noise_that_is_known_is_kept() -> None:
    X, y = drawn()
    noise = torch.linspace(0.01, 0.2, 24).double()
    assert torch.equal(fit(X, y, Kernel((1.0,) * 3), 20, noise).noise, noise)


def test_what_is_known_to_be_less_certain_comes_on_top_of_the_learnt_noise() -> None:
    X, y = drawn()
    kernel = Kernel((1.0,) * 3)
    more = torch.zeros(24).double()
    more[3] = 25.0
    y[3] = 30.0  # an estimate from few items, and far off
    found = fit(X, y, kernel, 30, more=more)
    assert float(found.noise[3] - found.noise[0]) == pytest.approx(25)
    assert float(found.noise[0]) < float(fit(X, y, kernel, 30).noise[0])
    process = _Process(X, y, kernel, None, more)
    theta = process.start() + 0.3
    error = check_grad(lambda t: process.loss(t)[0], lambda t: process.loss(t)[1], theta)
    assert error < 1e-5 * (1 + np.linalg.norm(process.loss(theta)[1]))


def test_equal_points_do_not_break_it() -> None:
    X, y = drawn()
    found = fit(X[:1].expand(24, 3), y, Kernel((1.0,) * 3), 20)
    assert math.isfinite(found.loss)

"""Laplace's approximation against cases where it is exact, and where there is nothing to estimate."""

from __future__ import annotations

import pytest
import torch

from atomfield.physics_priors.laplace import estimate


def test_linear_regression_is_exact():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(50, 3, dtype=torch.float64, generator=generator)
    target = torch.randn(50, dtype=torch.float64, generator=generator)
    found = estimate(lambda c: ((matrix @ c - target) / 0.3).square().sum() / 2, torch.zeros(3))
    torch.testing.assert_close(found.values, torch.linalg.lstsq(matrix, target[:, None]).solution[:, 0])
    torch.testing.assert_close(found.covariance, 0.09 * torch.linalg.inv(matrix.T @ matrix))


def test_mean_and_width_of_a_sample():
    """Textbook: sd(mean) = s / sqrt(n), sd(log s) = 1 / sqrt(2 n)."""
    sample = 3 + 2 * torch.randn(400, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = estimate(
        lambda t: ((sample - t[0]) * (-t[1]).exp()).square().sum() / 2 + 400 * t[1], torch.tensor([0.0, 0.0])
    )
    spread = sample.std(unbiased=False)
    torch.testing.assert_close(found.values, torch.stack([sample.mean(), spread.log()]))
    want = torch.stack([spread / 20, torch.tensor(800.0).double().rsqrt()])
    torch.testing.assert_close(found.standard_deviations, want)


def test_a_curved_valley_is_followed():
    """Rosenbrock's function, from the usual start where the Hessian is indefinite nearby."""
    found = estimate(lambda t: (1 - t[0]) ** 2 + 100 * (t[1] - t[0] ** 2) ** 2, torch.tensor([-1.2, 1.0]))
    torch.testing.assert_close(found.values, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-6)
    assert list(found.history) == sorted(found.history, reverse=True)


def test_a_constant_that_the_data_do_not_determine_is_named():
    with pytest.raises(ArithmeticError, match="do not determine"):
        estimate(lambda t: (t[0] - 1) ** 2 + 0 * t[1], torch.zeros(2))
    with pytest.raises(ArithmeticError, match="not at a minimum after 3 steps"):
        estimate(lambda t: (t**4).sum(), torch.ones(2), max_steps=3)


def test_the_intervals_cover():
    """Of 60 repeated experiments 68 % lie within one standard deviation, give or take 12 % (two sigma of the binomial)."""
    x = torch.linspace(0, 2, 15, dtype=torch.float64)
    generator, inside = torch.Generator().manual_seed(2), 0
    for _ in range(60):
        data = torch.exp(-0.8 * x) + 0.05 * torch.randn(15, dtype=torch.float64, generator=generator)
        found = estimate(
            lambda t, y=data: ((torch.exp(-t[0] * x) - y) / 0.05).square().sum() / 2, torch.ones(1)
        )
        inside += int(abs(float(found.values) - 0.8) < float(found.standard_deviations))
    assert 0.56 < inside / 60 < 0.80

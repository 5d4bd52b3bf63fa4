"""Thresholded least squares finds the terms, its coefficients have the right derivatives, and units do not change the choice."""

from __future__ import annotations

import pytest
import torch

from atomfield.physics_priors.sparse_regression import block_bootstrap, sequential_threshold


def problem(noise: float = 0.0, rows: int = 200):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(rows, 6, dtype=torch.float64, generator=generator)
    truth = torch.zeros(6, 2, dtype=torch.float64)
    truth[1, 0], truth[4, 0], truth[0, 1] = 2.0, -0.5, 3.0
    target = matrix @ truth
    return matrix, target + noise * torch.randn(target.shape, dtype=torch.float64, generator=generator), truth


def test_finds_the_terms_exactly_without_noise():
    matrix, target, truth = problem()
    fit = sequential_threshold(matrix, target)
    assert torch.equal(fit.active, truth != 0)
    torch.testing.assert_close(fit.coefficients, truth, rtol=0, atol=1e-13)
    assert float(fit.error.max()) < 1e-13


def test_finds_the_terms_under_noise_that_plain_least_squares_spreads():
    matrix, target, truth = problem(noise=0.2)
    plain = torch.linalg.lstsq(matrix, target).solution
    assert bool((plain[truth == 0].abs() > 1e-3).any())
    fit = sequential_threshold(matrix, target, 0.05)
    assert torch.equal(fit.active, truth != 0)
    torch.testing.assert_close(fit.coefficients, truth, rtol=0, atol=0.05)


def test_the_choice_does_not_depend_on_units():
    matrix, target, _ = problem(noise=0.2)
    units = torch.tensor([1e-6, 1e3, 1.0, 1e8, 1e-3, 5.0], dtype=torch.float64)
    one, other = sequential_threshold(matrix, target), sequential_threshold(matrix * units, target * 1e4)
    assert torch.equal(one.active, other.active)
    torch.testing.assert_close(other.coefficients * units[:, None] / 1e4, one.coefficients)


def test_coefficients_are_differentiable_in_the_data():
    matrix, target, _ = problem(noise=0.1, rows=12)
    matrix.requires_grad_(True)
    target.requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda a, b: sequential_threshold(a, b, 0.2, ridge=1e-3).coefficients, (matrix, target)
    )


def test_the_bootstrap_knows_the_noise():
    """Independent rows: the spread is the textbook's sigma / sqrt(rows)."""
    matrix, target, truth = problem(noise=0.3, rows=2000)
    draws = block_bootstrap(matrix, target, torch.arange(2000) // 10, 200, torch.Generator().manual_seed(1))
    spread = draws.std(0)
    torch.testing.assert_close(spread.mean(), torch.tensor(0.3 / 2000**0.5).double(), rtol=0.15, atol=0)
    assert float(((draws.mean(0) - truth).abs() / spread).max()) < 4


def test_what_cannot_be_fitted_is_refused():
    matrix, target, _ = problem()
    with pytest.raises(ValueError, match="found 5 equations for 6 terms"):
        sequential_threshold(matrix[:5], target[:5])
    with pytest.raises(ValueError, match="zero throughout"):
        sequential_threshold(matrix * torch.tensor([1, 1, 0, 1, 1, 1]).double(), target)
    with pytest.raises(ValueError, match="at least 3"):
        block_bootstrap(matrix, target, torch.zeros(200), 5, torch.Generator())

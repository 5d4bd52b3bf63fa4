"""The spectral operators against hand-computed derivatives of Fourier modes, on grids and boxes that are not square."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.spectral import PeriodicGrid

SHAPE, LENGTHS = (18, 25), (1.5, 2.0)


@pytest.fixture
def grid() -> PeriodicGrid:
    return PeriodicGrid(SHAPE, LENGTHS)


def points(grid: PeriodicGrid) -> tuple[torch.Tensor, torch.Tensor]:
    axes = [torch.arange(n).double() * (s / n) for n, s in zip(grid.shape, grid.lengths, strict=True)]
    x, y = torch.meshgrid(*axes, indexing="ij")
    return x, y


def mode(grid: PeriodicGrid, a: int, b: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float, float]:
    """sin and cos of one mode, the phase's two wavenumbers."""
    x, y = points(grid)
    k, q = 2 * math.pi * a / LENGTHS[0], 2 * math.pi * b / LENGTHS[1]
    phase = k * x + q * y + 0.3
    return phase, torch.sin(phase), torch.cos(phase), k, q


def random_vector(grid: PeriodicGrid) -> torch.Tensor:
    return torch.randn(2, *grid.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (0, 3), (-3, 2), (8, 12), (8, -12)])
def test_gradient_and_laplacian_are_exact_on_every_resolved_mode(grid, a, b):
    _, sin, cos, k, q = mode(grid, a, b)
    torch.testing.assert_close(
        grid.gradient(sin), torch.stack([k * cos, q * cos]), rtol=0, atol=1e-11 * (1 + k * k + q * q)
    )
    torch.testing.assert_close(
        grid.laplacian(sin), -(k * k + q * q) * sin, rtol=0, atol=1e-11 * (1 + k * k + q * q)
    )


def test_divergence_and_curl_of_one_mode(grid):
    _, sin, cos, k, q = mode(grid, 2, -5)
    vector = torch.stack([3.0 * sin, -2.0 * sin])
    torch.testing.assert_close(grid.divergence(vector), (3.0 * k - 2.0 * q) * cos, rtol=0, atol=1e-11)
    torch.testing.assert_close(grid.curl_2d(vector), (-2.0 * k - 3.0 * q) * cos, rtol=0, atol=1e-11)


def test_inverse_laplacian_undoes_the_laplacian_up_to_the_mean(grid):
    field = random_vector(grid)[0]
    torch.testing.assert_close(
        grid.laplacian(grid.inverse_laplacian(field)), field - field.mean(), rtol=0, atol=1e-11
    )
    assert abs(float(grid.inverse_laplacian(field).mean())) < 1e-14


def test_projection_removes_the_divergence_and_keeps_what_has_none(grid):
    vector = random_vector(grid)
    projected = grid.project(vector)
    assert float(grid.divergence(vector).abs().max()) > 1
    assert float(grid.divergence(projected).abs().max()) < 1e-11
    torch.testing.assert_close(grid.project(projected), projected, rtol=0, atol=1e-12)
    torch.testing.assert_close(projected.mean((1, 2)), vector.mean((1, 2)), rtol=0, atol=1e-14)
    torch.testing.assert_close(grid.curl_2d(projected), grid.curl_2d(vector), rtol=0, atol=1e-10)


def test_projection_annihilates_gradients(grid):
    potential = random_vector(grid)[0]
    assert float(grid.project(grid.gradient(potential)).abs().max()) < 1e-11


@pytest.mark.parametrize("shape", [(8, 8), (7, 10), (18, 24)])
def test_resample_is_the_same_polynomial_on_the_coarser_grid(grid, shape):
    _, sin, _, _, _ = mode(grid, 2, -3)
    coarse = PeriodicGrid(shape, LENGTHS)
    torch.testing.assert_close(grid.resample(sin, shape), mode(coarse, 2, -3)[1], rtol=0, atol=1e-13)


def test_resample_cuts_what_the_coarser_grid_cannot_hold(grid):
    assert float(grid.resample(mode(grid, 4, 0)[1], (8, 8)).abs().max()) < 1e-13


def test_sample_at_arbitrary_points_is_the_polynomial_itself(grid):
    where = torch.rand(11, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        LENGTHS
    )
    _, sin, cos, k, q = mode(grid, -3, 2)
    phase = k * where[:, 0] + q * where[:, 1] + 0.3
    got = grid.sample(torch.stack([sin, cos]), where)
    torch.testing.assert_close(got, torch.stack([phase.sin(), phase.cos()]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [24, 25, 48, 64])
def test_the_mask_keeps_what_two_thirds_say_and_no_nyquist_mode(n):
    kept = PeriodicGrid((n,), (0.7,)).dealias_mask().nonzero().flatten()
    assert kept.tolist() == [m for m in range(n // 2 + 1) if 3 * m < n]


def test_products_of_dealiased_fields_do_not_alias():
    grid = PeriodicGrid((24,), (1.0,))
    x = torch.arange(24).double() / 24
    high = torch.cos(2 * math.pi * 7 * x)
    modes = grid.forward(high * high) * grid.dealias_mask()
    torch.testing.assert_close(
        grid.inverse(modes), torch.full((24,), 0.5, dtype=torch.float64), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("shape", [(8,), (6, 4), (4, 5, 6)])
def test_sample_on_the_grid_gives_the_values_of_any_field(shape):
    """Of noise too, whose highest frequencies on even axes are as strong as the others."""
    lengths = (1.0, 2.0, 0.5)[: len(shape)]
    field = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    axes = [torch.arange(n).double() * (s / n) for n, s in zip(shape, lengths, strict=True)]
    where = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape))
    got = PeriodicGrid(shape, lengths).sample(field, where)
    torch.testing.assert_close(got, field.reshape(-1), rtol=0, atol=1e-12)

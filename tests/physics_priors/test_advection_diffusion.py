"""The scalar solver against moving, decaying Fourier modes, the heat kernel, and the conserved total."""

from __future__ import annotations

import math

import torch

from atomfield.physics_priors.advection_diffusion import AdvectionDiffusion
from atomfield.physics_priors.spectral import PeriodicGrid

TIMES = torch.tensor([0.0, 0.02, 0.07, 0.15], dtype=torch.float64)


def square(n: int = 48) -> tuple[PeriodicGrid, torch.Tensor, torch.Tensor]:
    axis = torch.arange(n).double() / n
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    return PeriodicGrid((n, n), (1.0, 1.0)), x, y


def uniform(grid: PeriodicGrid, *components: float) -> torch.Tensor:
    return torch.tensor(components, dtype=torch.float64).view(-1, 1, 1).expand(-1, *grid.shape)


def test_a_mode_in_uniform_flow_moves_and_decays_as_it_must():
    grid, x, y = square(24)
    k, q, diffusivity, u, v = 2 * math.pi * 2, 2 * math.pi * 3, 0.01, 0.8, -0.5
    solver = AdvectionDiffusion(grid, uniform(grid, u, v), diffusivity)
    result = solver.solve(torch.sin(k * x + q * y), TIMES, courant=0.05)
    for got, time in zip(result, TIMES.tolist(), strict=True):
        exact = math.exp(-diffusivity * (k * k + q * q) * time) * torch.sin(
            k * (x - u * time) + q * (y - v * time)
        )
        torch.testing.assert_close(got, exact, rtol=0, atol=1e-7)


def test_a_gaussian_at_rest_spreads_as_the_heat_kernel():
    grid, x, y = square()
    diffusivity, start = 0.02, 0.3

    def kernel(time: float) -> torch.Tensor:
        """Periodic heat kernel of unit mass at age ``time``: the sum over images."""
        width = 4 * diffusivity * time
        images = range(-4, 5)
        along_x = sum((torch.exp(-((x - 0.5 + m) ** 2) / width) for m in images), start=torch.zeros(()))
        along_y = sum((torch.exp(-((y - 0.4 + m) ** 2) / width) for m in images), start=torch.zeros(()))
        return along_x * along_y / (math.pi * width)

    result = AdvectionDiffusion(grid, uniform(grid, 0.0, 0.0), diffusivity).solve(kernel(start), TIMES)
    for got, time in zip(result, TIMES.tolist(), strict=True):
        torch.testing.assert_close(got, kernel(start + time), rtol=0, atol=1e-10)


def test_the_total_is_conserved_and_the_variance_falls_in_a_stirring_flow():
    grid, x, y = square()
    k = 2 * math.pi
    flow = torch.stack([torch.sin(k * y), torch.sin(2 * k * x)])
    start = 1.0 + torch.cos(k * x) * torch.sin(2 * k * y)
    result = AdvectionDiffusion(grid, flow, 3e-3).solve(start, TIMES)
    torch.testing.assert_close(result.mean((1, 2)), start.mean().expand(4), rtol=0, atol=1e-14)
    variance = result.var((1, 2))
    assert bool((variance[1:] < variance[:-1]).all())


def test_without_diffusion_the_variance_is_kept():
    grid, x, y = square()
    k = 2 * math.pi
    flow = torch.stack([torch.sin(k * y), torch.zeros_like(x)])
    result = AdvectionDiffusion(grid, flow, 0.0).solve(torch.cos(k * x), TIMES[:3], courant=0.2)
    variance = result.square().mean((1, 2))
    assert float((variance / variance[0] - 1).abs().max()) < 1e-6
    exact = torch.cos(k * (x - torch.sin(k * y) * float(TIMES[2])))
    torch.testing.assert_close(result[2], exact, rtol=0, atol=1e-6)


def test_one_dimension_works_too():
    axis = torch.arange(32).double() / 32
    solver = AdvectionDiffusion(PeriodicGrid((32,), (1.0,)), torch.full((1, 32), 0.7), 0.01)
    result = solver.solve(torch.sin(2 * math.pi * axis), TIMES, courant=0.05)
    time = float(TIMES[-1])
    exact = math.exp(-0.01 * (2 * math.pi) ** 2 * time) * torch.sin(2 * math.pi * (axis - 0.7 * time))
    torch.testing.assert_close(result[-1], exact, rtol=0, atol=1e-7)

"""The flow solver against the Taylor-Green vortex, its moving form, and what the equation conserves."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.navier_stokes import NavierStokes2D


def taylor_green(solver: NavierStokes2D, time: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Velocity, vorticity and pressure (zero mean) of u = cos x sin y, v = -sin x cos y, decaying with exp(-2 nu k^2 t).

    Taylor and Green, Proc. R. Soc. A 158, 499 (1937).
    """
    n, length = solver.grid.shape[0], solver.grid.lengths[0]
    k = 2 * math.pi / length
    axis = torch.arange(n).double() * (k * length / n)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    decay = math.exp(-2 * solver.viscosity * k * k * time)
    velocity = torch.stack([x.cos() * y.sin(), -x.sin() * y.cos()]) * decay
    vorticity = -2 * k * x.cos() * y.cos() * decay
    pressure = -0.25 * ((2 * x).cos() + (2 * y).cos()) * decay**2
    return velocity, vorticity, pressure


def random_vorticity(solver: NavierStokes2D, highest: int = 4) -> torch.Tensor:
    grid = solver.grid
    noise = torch.randn(grid.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    index = grid.k_squared.sqrt() * grid.lengths[0] / (2 * math.pi)
    field = grid.inverse(grid.forward(noise) * ((index > 0) & (index <= highest)))
    velocity = solver.velocity(grid.forward(field))
    return field / velocity.square().sum(0).mean().sqrt()


def energy(velocity: torch.Tensor) -> torch.Tensor:
    return 0.5 * velocity.square().sum(1).mean((1, 2))


@pytest.mark.parametrize("length", [1.0, 2 * math.pi])
def test_taylor_green_vortex_decays_as_it_must(length):
    solver = NavierStokes2D(24, length, 0.02 * length)
    times = torch.linspace(0, 0.3 * length, 4, dtype=torch.float64)
    result = solver.solve(taylor_green(solver, 0.0)[1], times)
    for number, time in enumerate(times.tolist()):
        velocity, vorticity, pressure = taylor_green(solver, time)
        torch.testing.assert_close(result.velocity[number], velocity, rtol=0, atol=1e-12)
        torch.testing.assert_close(result.vorticity[number], vorticity, rtol=0, atol=1e-11)
        torch.testing.assert_close(result.pressure[number], pressure, rtol=0, atol=1e-12)


def test_pressure_balances_the_divergence_of_the_advection():
    solver = NavierStokes2D(48, 1.0, 0.01)
    grid = solver.grid
    velocity = solver.velocity(grid.forward(random_vorticity(solver)))
    advection = torch.stack([(velocity * grid.gradient(component)).sum(0) for component in velocity])
    force = -advection - grid.gradient(solver.pressure(velocity))
    assert float(grid.divergence(force).abs().max()) < 1e-10 * float(grid.divergence(advection).abs().max())


def test_inviscid_flow_keeps_energy_and_enstrophy():
    solver = NavierStokes2D(48, 1.0, 0.0)
    result = solver.solve(
        random_vorticity(solver, 3), torch.linspace(0, 0.1, 5, dtype=torch.float64), courant=0.2
    )
    enstrophy = result.vorticity.square().mean((1, 2))
    assert float((energy(result.velocity) / energy(result.velocity)[0] - 1).abs().max()) < 1e-7
    assert float((enstrophy / enstrophy[0] - 1).abs().max()) < 1e-5
    assert float((result.velocity[-1] - result.velocity[0]).abs().max()) > 0.1  # it did move


def test_energy_is_lost_at_the_rate_of_viscosity_times_enstrophy():
    solver = NavierStokes2D(48, 1.0, 5e-3)
    times = torch.linspace(0, 0.02, 3, dtype=torch.float64)
    result = solver.solve(random_vorticity(solver), times)
    rate = (energy(result.velocity)[2] - energy(result.velocity)[0]) / 0.02
    dissipation = -solver.viscosity * result.vorticity.square().mean((1, 2))
    simpson = (dissipation[0] + 4 * dissipation[1] + dissipation[2]) / 6
    torch.testing.assert_close(rate, simpson, rtol=1e-4, atol=0)


def test_momentum_circulation_and_incompressibility_hold_at_all_times():
    solver = NavierStokes2D(48, 1.0, 2e-3)
    result = solver.solve(random_vorticity(solver), torch.linspace(0, 0.1, 4, dtype=torch.float64))
    assert float(result.velocity.mean((2, 3)).abs().max()) < 1e-13
    assert float(result.vorticity.mean((1, 2)).abs().max()) < 1e-13
    assert float(result.pressure.mean((1, 2)).abs().max()) < 1e-13
    for velocity, vorticity in zip(result.velocity, result.vorticity, strict=True):
        assert float(solver.grid.divergence(velocity).abs().max()) < 1e-11
        torch.testing.assert_close(solver.grid.curl_2d(velocity), vorticity, rtol=0, atol=1e-11)


def test_halving_the_step_shrinks_the_error_as_the_fourth_power():
    solver = NavierStokes2D(32, 1.0, 5e-3)
    modes = solver.grid.forward(random_vorticity(solver, 3)) * solver.mask

    def after(count: int) -> torch.Tensor:
        state = modes
        for _ in range(count):
            state = solver.step(state, 0.1 / count)
        return solver.grid.inverse(state)

    exact = after(128)
    coarse, fine = (float((after(count) - exact).abs().max()) for count in (8, 16))
    assert 11 < coarse / fine < 22

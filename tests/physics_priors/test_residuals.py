"""Every law's residual vanishes on an exact solution, by more than one discretisation, and not when a constant is wrong."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors import (
    advection_diffusion,
    allen_cahn,
    burgers,
    heat,
    kdv,
    kuramoto_sivashinsky,
    navier_stokes,
    poisson,
    shallow_water,
    wave,
)
from atomfield.physics_priors.autograd_operators import AutogradOperators
from atomfield.physics_priors.least_squares import PointOperators
from atomfield.physics_priors.residual_metric import relative_residual, time_derivative
from atomfield.physics_priors.spectral import PeriodicGrid

from .clouds import periodic_cloud


def spacetime(*ranges: tuple[float, float], num: int = 40) -> tuple[torch.Tensor, AutogradOperators]:
    """Random points ``[P, d + 1]``, the last column the time, and operators on the others."""
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(num, len(ranges), dtype=torch.float64, generator=generator)
    low = torch.tensor([a for a, _ in ranges], dtype=torch.float64)
    high = torch.tensor([b for _, b in ranges], dtype=torch.float64)
    points = (low + unit * (high - low)).requires_grad_(True)
    return points, AutogradOperators(points, len(ranges) - 1)


def rates(operators: AutogradOperators, u: torch.Tensor) -> torch.Tensor:
    return operators.derivatives(u)[-1]


def size(residual: torch.Tensor) -> float:
    return float(residual.detach().abs().max())


def test_heat_kernel_in_three_dimensions():
    points, operators = spacetime((-1, 1), (-1, 1), (-1, 1), (0.2, 1))
    u = heat.kernel(points[:, :3], points[:, 3], 0.3)
    assert size(heat.residual(operators, u, rates(operators, u), 0.3)) < 1e-12
    assert size(heat.residual(operators, u, rates(operators, u), 0.4)) > 1e-2


def test_advected_and_diffused_wave():
    points, operators = spacetime((0, 1), (0, 1), (0, 1))
    x, y, t = points.T
    u = torch.exp(-0.2 * 5 * t) * torch.sin(x - 2 * y - (3.0 - 2 * 0.5) * t)
    flow = torch.tensor([3.0, 0.5], dtype=torch.float64)[:, None].expand(2, 40)
    assert size(advection_diffusion.residual(operators, u, rates(operators, u), flow, 0.2)) < 1e-12
    assert size(advection_diffusion.residual(operators, u, rates(operators, u), 2 * flow, 0.2)) > 1e-1


def test_darcy_with_a_varying_conductivity():
    points, operators = spacetime((0, 1), (0, 1), (0, 1))
    x, y, _ = points.T
    k, u = 1 + x * x, x * y
    assert size(poisson.residual(operators, u, -2 * x * y, k)) < 1e-13
    assert size(poisson.residual(operators, torch.sin(x), torch.sin(x))) < 1e-13
    assert size(poisson.discharge(operators, u, 2.0) + 2 * torch.stack([y, x])) < 1e-13


def test_darcy_on_a_grid_and_on_a_cloud():
    """The same residual driven by spectral derivatives: to rounding; by least squares: to the stencil's error."""
    grid = PeriodicGrid((24, 24), (1.0, 1.0))
    x, y = torch.meshgrid(*[torch.arange(24).double() / 24] * 2, indexing="ij")

    def fields(x, y):
        tau = 2 * math.pi
        u, k = torch.sin(tau * x), 2 + torch.cos(tau * y)
        return u, k, tau**2 * k * u

    u, k, source = fields(x, y)
    assert size(poisson.residual(grid, u, source, k)) < 1e-10
    points, senders, receivers, vectors, _ = periodic_cloud(24, 0.2, 3.6)
    u, k, source = fields(*points.T)
    cloud = PointOperators(senders, receivers, vectors, 576, degree=3)
    found = poisson.residual(cloud, u, source, k)
    assert 1e-6 < float(found.norm() / source.norm()) < 0.05


def test_plane_waves_and_their_energy():
    points, operators = spacetime((0, 1), (0, 1), (0, 1))
    x, y, t = points.T
    u = torch.sin(3 * x + 4 * y - 5 * 2.0 * t) + torch.exp(-((0.6 * x + 0.8 * y + 2.0 * t) ** 2))
    u_tt = rates(operators, rates(operators, u))
    assert size(wave.residual(operators, u, u_tt, 2.0)) < 1e-11
    assert size(wave.residual(operators, u, u_tt, 2.1)) > 1
    plane = torch.sin(3 * x + 4 * y - 10 * t)
    want = 100 * torch.cos(3 * x + 4 * y - 10 * t) ** 2  # equal shares of kinetic and elastic energy
    assert size(wave.energy_density(operators, plane, rates(operators, plane), 2.0) - want) < 1e-11


def test_burgers_shock():
    """The travelling wave 1 - tanh((x - t) / 2 nu)."""
    points, operators = spacetime((-1, 1), (-0.5, 0.5))
    u = 1 - torch.tanh((points[:, 0] - points[:, 1]) / (2 * 0.1))
    assert size(burgers.residual(operators, u, rates(operators, u), 1.0, 0.1)) < 1e-11
    assert size(burgers.residual(operators, u, rates(operators, u), 1.01, 0.1)) > 1e-3
    one = burgers.residual_vector(operators, u[None], rates(operators, u)[None], 0.1)
    assert size(one) < 1e-11


def test_kdv_soliton():
    points, operators = spacetime((-3, 3), (-1, 1))
    u = kdv.soliton(points[:, 0], points[:, 1], 1.3, 6.0, 0.8)
    assert size(kdv.residual(operators, u, rates(operators, u), 6.0, 0.8)) < 1e-11
    assert size(kdv.residual(operators, u, rates(operators, u), 6.0, 0.7)) > 1e-2
    along = torch.ones(1, len(u), dtype=torch.float64)
    assert size(kdv.residual_along(operators, u, rates(operators, u), along, 6.0, 0.8)) < 1e-11
    back = kdv.residual_along(operators, u, rates(operators, u), -along, 6.0, 0.8)
    assert size(back - 2 * rates(operators, u)) < 1e-11  # the same wave goes the other way


def test_an_oblique_wave_of_zakharov_and_kuznetsov():
    """Along n at an angle to e: u_n carries a cos, and the third derivative too, so a soliton of constants a cos, b cos."""
    points, operators = spacetime((-3, 3), (-3, 3), (-1, 1))
    phase, cosine = 0.6 * points[:, 0] + 0.8 * points[:, 1], 0.6
    u = kdv.soliton(phase, points[:, 2], 0.7, 6.0 * cosine, 0.8 * cosine)
    along = torch.tensor([1.0, 0.0], dtype=torch.float64)[:, None].expand(2, len(u))
    assert size(kdv.residual_along(operators, u, rates(operators, u), along, 6.0, 0.8)) < 1e-11
    turned = along.flip(0)
    assert size(kdv.residual_along(operators, u, rates(operators, u), turned, 6.0, 0.8)) > 1e-2


def test_kuramoto_sivashinsky_front():
    points, operators = spacetime((-3, 3), (-1, 1))
    u = kuramoto_sivashinsky.front(points[:, 0], points[:, 1], 0.4)
    assert size(kuramoto_sivashinsky.residual(operators, u, rates(operators, u))) < 1e-11
    assert size(kuramoto_sivashinsky.residual(operators, u, rates(operators, u), second=1.1)) > 1e-2
    one = kuramoto_sivashinsky.residual_vector(operators, u[None], rates(operators, u)[None], 1.0, 1.0)
    assert size(one) < 1e-11


def test_an_oblique_front_of_kuramoto_sivashinsky():
    """The velocity of a front that depends on one direction n of the plane is that of the line, along n."""
    points, operators = spacetime((-3, 3), (-3, 3), (-1, 1))
    n = torch.tensor([0.6, 0.8], dtype=torch.float64)
    u = kuramoto_sivashinsky.front(points[:, :2] @ n, points[:, 2], 0.4)
    velocity, rate = n[:, None] * u, n[:, None] * rates(operators, u)
    assert size(kuramoto_sivashinsky.residual_vector(operators, velocity, rate, 1.0, 1.0)) < 1e-11
    assert size(kuramoto_sivashinsky.residual_vector(operators, velocity, rate, 1.0, 1.1)) > 1e-2


def test_allen_cahn_front_and_its_energy():
    points, operators = spacetime((-2, 2), (-1, 1))
    u = allen_cahn.front(points[:, 0], points[:, 1], 0.3, 2.0)
    assert size(allen_cahn.residual(operators, u, rates(operators, u), 0.3, 2.0)) < 1e-12
    assert size(allen_cahn.residual(operators, u, rates(operators, u), 0.3, 1.9)) > 1e-2
    still = torch.tanh(points[:, 0] / (2 * 0.3 / 2.0) ** 0.5)  # equipartition across the resting interface
    half = allen_cahn.energy_density(operators, still, 0.0, 2.0)
    assert size(allen_cahn.energy_density(operators, still, 0.3, 2.0) - 2 * half) < 1e-12


def test_taylor_green_vortex():
    points, operators = spacetime((0, 6), (0, 6), (0, 1))
    x, y, t = points.T
    decay = torch.exp(-2 * 0.1 * t)
    velocity = torch.stack([torch.cos(x) * torch.sin(y), -torch.sin(x) * torch.cos(y)]) * decay
    pressure = -(torch.cos(2 * x) + torch.cos(2 * y)) / 4 * decay**2
    momentum, continuity = navier_stokes.residual(
        operators, velocity, pressure, rates(operators, velocity), 0.1
    )
    assert size(momentum) < 1e-13
    assert size(continuity) < 1e-14
    wrong, _ = navier_stokes.residual(operators, velocity, pressure, rates(operators, velocity), 0.2)
    assert size(wrong) > 1e-2


def test_thackers_circling_surface():
    points, operators = spacetime((-1, 1), (-1, 1), (0, 2))
    depth, velocity, bottom = shallow_water.thacker(points[:, :2], points[:, 2], 9.81, 0.7, 3.0, 0.4)
    assert float(depth.detach().min()) > 0
    mass, momentum = shallow_water.residual(
        operators, depth, velocity, rates(operators, depth), rates(operators, velocity), 9.81, bottom
    )
    assert size(mass) < 1e-12
    assert size(momentum) < 1e-12
    _, turned = shallow_water.residual(
        operators, depth, velocity, rates(operators, depth), rates(operators, velocity), 9.81, bottom, 0.5
    )
    assert size(turned) == pytest.approx(0.5 * float(velocity.detach().abs().max()), rel=0.05)


def test_the_metric_of_a_solvers_states_is_small_and_knows_the_viscosity():
    solver = burgers.Burgers1D(128, 2.0, 0.05)
    x = torch.arange(128).double() / 64
    states = solver.solve(torch.sin(math.pi * x), torch.linspace(0, 0.4, 41, dtype=torch.float64))
    right = relative_residual(lambda u, u_t: burgers.residual(solver.grid, u, u_t, 1.0, 0.05), states, 0.01)
    wrong = relative_residual(lambda u, u_t: burgers.residual(solver.grid, u, u_t, 1.0, 0.06), states, 0.01)
    assert len(right) == 37
    assert float(right.max()) < 1e-4
    assert float(wrong.min()) > 100 * float(right.max())


def test_differences_in_time_are_of_fourth_order():
    errors = []
    for num in (21, 41):
        times = torch.linspace(0, 2, num, dtype=torch.float64)
        got = time_derivative(times.sin(), 2 / (num - 1))
        errors.append(float((got - times[2:-2].cos()).abs().max()))
    assert 3.8 < math.log2(errors[0] / errors[1]) < 4.3
    with pytest.raises(ValueError, match="found 4 states"):
        time_derivative(torch.zeros(4), 0.1)

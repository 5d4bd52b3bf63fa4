"""Solvers of waves, shallow water, plane Burgers flow and reactions against exact solutions and what they conserve."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors import burgers, reaction_diffusion, shallow_water, wave
from atomfield.physics_priors.spectral import PeriodicGrid

GRID = PeriodicGrid((32, 32), (1.0, 1.0))
X, Y = torch.meshgrid(torch.arange(32).double() / 32, torch.arange(32).double() / 32, indexing="ij")
TURN = 2 * math.pi


# ---------------------------------------------------------------------- waves
def test_a_pulse_travels_unchanged_at_the_speed_of_the_wave():
    """d'Alembert: p = f(x - c t) with v = p / c, exactly a translation."""
    speed, time = 1.7, 0.23
    pulse = lambda x: torch.exp(3 * torch.cos(TURN * x))  # noqa: E731
    start = pulse(X)
    flow = torch.stack([start / speed, torch.zeros_like(start)])
    pressure, velocity = wave.acoustic_waves(GRID, start, flow, torch.tensor([0.0, time]), speed)
    time = float(torch.tensor(time))
    torch.testing.assert_close(pressure[0], start, rtol=0, atol=1e-12)
    torch.testing.assert_close(pressure[1], pulse(X - speed * time), rtol=0, atol=1e-8)
    torch.testing.assert_close(velocity[1, 0], pulse(X - speed * time) / speed, rtol=0, atol=1e-8)


def test_a_standing_wave_and_a_vortex_keep_to_themselves():
    speed = 0.8
    standing = torch.cos(TURN * (2 * X + Y))
    vortex = torch.stack([torch.sin(TURN * Y), torch.zeros_like(Y)])
    times = torch.linspace(0, 1, 5, dtype=torch.float64)
    pressure, velocity = wave.acoustic_waves(GRID, standing, vortex, times, speed)
    omega = speed * TURN * math.sqrt(5)
    for p, time in zip(pressure, times.tolist(), strict=True):
        torch.testing.assert_close(p, standing * math.cos(omega * time), rtol=0, atol=1e-12)
    for v in velocity:
        torch.testing.assert_close(GRID.curl_2d(v), GRID.curl_2d(vortex), rtol=0, atol=1e-11)
    energies = pressure.square().mean((1, 2)) / speed**2 + velocity.square().sum(1).mean((1, 2))
    assert float((energies / energies[0] - 1).abs().max()) < 1e-12


def test_the_acoustic_equations_hold():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    smooth = torch.exp(-GRID.k_squared / 300)
    field = lambda: GRID.inverse(GRID.forward(torch.randn(32, 32, generator=generator).double()) * smooth)  # noqa: E731
    h = 1e-4
    times = torch.tensor([0.1 - h, 0.1, 0.1 + h], dtype=torch.float64)
    p, v = wave.acoustic_waves(GRID, field(), torch.stack([field(), field()]), times, 1.3)
    left = wave.acoustic_residual(GRID, p[1], v[1], (p[2] - p[0]) / (2 * h), (v[2] - v[0]) / (2 * h), 1.3)
    for part in left:
        assert float(part.abs().max()) < 1e-3 * float(GRID.gradient(p[1]).abs().max())
    wrong = wave.acoustic_residual(GRID, p[1], v[1], (p[2] - p[0]) / (2 * h), (v[2] - v[0]) / (2 * h), 1.4)
    assert float(wrong[0].abs().max()) > 0.05 * float(GRID.gradient(p[1]).abs().max())


# ---------------------------------------------------------------------- shallow water
def test_small_waves_on_shallow_water_have_the_speed_of_gravity_waves():
    """A standing wave of small height eps: h = H + eps cos(k x) cos(w t), w = k sqrt(g H), up to eps^2."""
    gravity, depth, eps = 2.5, 0.8, 1e-5
    k = TURN * 2
    omega = k * math.sqrt(gravity * depth)
    times = torch.linspace(0, 0.5, 6, dtype=torch.float64)
    solver = shallow_water.ShallowWater2D(GRID, gravity, 0.0)
    height, velocity = solver.solve(
        depth + eps * torch.cos(k * X), torch.zeros(2, 32, 32), times, courant=0.05
    )
    for h, u, t in zip(height, velocity, times.tolist(), strict=True):
        expected = torch.cos(k * X) * math.cos(omega * t)
        assert float(((h - depth) / eps - expected).abs().max()) < 2e-4
        speed = gravity * k / omega * torch.sin(k * X) * math.sin(omega * t)
        assert float((u[0] / eps - speed).abs().max()) < 5e-4


def test_shallow_water_keeps_its_mass_and_without_viscosity_its_energy():
    depth = 1 + 0.1 * torch.cos(TURN * X) * torch.sin(TURN * Y)
    velocity = 0.2 * torch.stack([torch.sin(TURN * Y), torch.cos(TURN * X)])
    times = torch.linspace(0, 0.2, 5, dtype=torch.float64)
    h, u = shallow_water.ShallowWater2D(GRID, 1.0, 0.0).solve(depth, velocity, times, courant=0.2)
    assert float((h.mean((1, 2)) - 1).abs().max()) < 1e-13
    energies = shallow_water.energy(h, u, 1.0)
    moving = energies[0] - 0.5
    assert float((energies - energies[0]).abs().max()) < 1e-4 * float(moving)
    damped = shallow_water.energy(
        *shallow_water.ShallowWater2D(GRID, 1.0, 0.01).solve(depth, velocity, times), 1.0
    )
    assert bool((damped[1:] < damped[:-1] - 1e-4 * moving).all())


def test_shallow_water_obeys_the_residual_of_the_law():
    depth = 1 + 0.1 * torch.cos(TURN * X) * torch.sin(TURN * Y)
    velocity = 0.2 * torch.stack([torch.sin(TURN * Y), torch.cos(TURN * X)])
    h = 1e-4
    times = torch.tensor([0.0, 0.05 - h, 0.05, 0.05 + h], dtype=torch.float64)
    d, u = shallow_water.ShallowWater2D(GRID, 1.4, 0.0).solve(depth, velocity, times)
    rates = (d[3] - d[1]) / (2 * h), (u[3] - u[1]) / (2 * h)
    for part in shallow_water.residual(GRID, d[2], u[2], *rates, 1.4):
        assert float(part.abs().max()) < 1e-3 * float(rates[1].abs().max())


def test_a_dry_bed_is_refused():
    solver = shallow_water.ShallowWater2D(GRID, 1.0, 0.0)
    with pytest.raises(ValueError, match="expected water everywhere"):
        solver.solve(0.5 - torch.cos(TURN * X), torch.zeros(2, 32, 32), torch.tensor([0.0, 0.1]))


# ---------------------------------------------------------------------- plane Burgers flow
def test_plane_burgers_of_one_direction_is_that_of_a_line():
    u = torch.sin(TURN * X)
    times = torch.tensor([0.0, 0.05, 0.1], dtype=torch.float64)
    found = burgers.Burgers2D(GRID, 0.05).solve(torch.stack([u, torch.zeros_like(u)]), times, courant=0.1)
    for got, time in zip(found, times.tolist(), strict=True):
        expected = burgers.cole_hopf(u[:, 0], time, 1.0, 0.05)
        torch.testing.assert_close(got[0], expected[:, None].expand(32, 32), rtol=0, atol=1e-5)
    assert not found[:, 1].any()


def test_plane_burgers_of_a_gradient_is_its_cole_hopf_solution():
    viscosity, time = 0.05, 0.08
    potential = 0.08 * (torch.sin(TURN * X) + torch.cos(TURN * (X + Y)))
    phi = torch.exp(-potential / (2 * viscosity))
    later = GRID.inverse(GRID.forward(phi) * torch.exp(-viscosity * GRID.k_squared * time))
    expected = -2 * viscosity * GRID.gradient(later) / later
    times = torch.tensor([0.0, time], dtype=torch.float64)
    found = burgers.Burgers2D(GRID, viscosity).solve(GRID.gradient(potential), times, courant=0.1)[-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


# ---------------------------------------------------------------------- reactions
def test_known_states_of_rest_stay():
    flat = torch.ones(1, 32, 32, dtype=torch.float64)
    rates = torch.tensor([2e-3, 1e-3], dtype=torch.float64)[:, None, None, None]
    solver = reaction_diffusion.ReactionDiffusion(
        GRID, rates, 50.0, reaction_diffusion.gray_scott(0.04, 0.06)
    )
    found = solver.solve(torch.stack([flat, 0 * flat]), [0, 20], 0.02)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-13)
    # the other states of rest: b = (F / (F + k)) (1 - a), a b = F + k
    feed, kill = 0.06, 0.05
    ratio = feed / (feed + kill)
    a = (1 + math.sqrt(1 - 4 * (feed + kill) / ratio)) / 2
    solver = reaction_diffusion.ReactionDiffusion(
        GRID, rates, 50.0, reaction_diffusion.gray_scott(feed, kill)
    )
    found = solver.solve(torch.stack([a * flat, ratio * (1 - a) * flat]), [0, 5], 0.02)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-10)
    k = 0.005
    solver = reaction_diffusion.ReactionDiffusion(GRID, rates, 5.0, reaction_diffusion.fitzhugh_nagumo(k))
    rest = -(k ** (1 / 3)) * torch.stack([flat, flat])
    torch.testing.assert_close(solver.solve(rest, [5], 0.02)[0], rest, rtol=0, atol=1e-8)


def test_small_disturbances_grow_as_the_linearised_system_says():
    """Two systems at once, each with its own constants, of one Fourier mode about rest."""
    feed, kill = torch.tensor([0.04, 0.03]).double(), torch.tensor([0.06, 0.055]).double()
    rates = torch.tensor([[2e-3, 1e-3], [1e-3, 5e-4]], dtype=torch.float64)  # [species, system]
    wide = lambda x: x[..., None, None]  # noqa: E731
    eps = 1e-6
    wavy = torch.cos(TURN * 2 * X).expand(2, 32, 32)
    start = torch.stack([1 - eps * wavy, eps * wavy])
    solver = reaction_diffusion.ReactionDiffusion(
        GRID, wide(rates), 20.0, reaction_diffusion.gray_scott(wide(feed), wide(kill))
    )
    time = 0.2
    found = solver.solve(start, [40], time / 40)[0]
    k2 = (TURN * 2) ** 2
    for system in range(2):
        a = -eps * math.exp(-(rates[0, system] * k2 + 20 * feed[system]) * time)
        b = eps * math.exp(-(rates[1, system] * k2 + 20 * (feed[system] + kill[system])) * time)
        torch.testing.assert_close(found[0, system], 1 + a * wavy[0], rtol=0, atol=1e-11)
        torch.testing.assert_close(found[1, system], b * wavy[0], rtol=0, atol=1e-11)


def test_uniform_species_obey_the_ordinary_equations():
    from scipy.integrate import solve_ivp

    reaction = reaction_diffusion.fitzhugh_nagumo(0.005)
    rates = torch.tensor([1e-3, 5e-3], dtype=torch.float64)[:, None, None, None]
    solver = reaction_diffusion.ReactionDiffusion(GRID, rates, 3.0, reaction)
    start = torch.tensor([0.4, -0.2], dtype=torch.float64)[:, None, None, None].expand(2, 1, 32, 32)
    found = solver.solve(start, [100], 0.02)[0, :, 0, 0, 0]
    plain = solve_ivp(
        lambda t, y: [3 * (y[0] - y[0] ** 3 - 0.005 - y[1]), 3 * (y[0] - y[1])],
        (0, 2),
        [0.4, -0.2],
        rtol=1e-10,
        atol=1e-12,
    )
    torch.testing.assert_close(found, torch.from_numpy(plain.y[:, -1]), rtol=0, atol=1e-6)


def test_reaction_solver_obeys_its_residual():
    reaction = reaction_diffusion.gray_scott(0.04, 0.06)
    rates = torch.tensor([2e-3, 1e-3], dtype=torch.float64)
    solver = reaction_diffusion.ReactionDiffusion(GRID, rates[:, None, None, None], 10.0, reaction)
    bump = 0.3 * torch.exp(torch.cos(TURN * X) + torch.cos(TURN * Y) - 2)[None]
    states = solver.solve(torch.stack([1 - bump, bump]), [100, 1, 1], 1e-3)[:, :, 0]
    now_t = (states[2] - states[0]) / 2e-3
    left = reaction_diffusion.residual(
        GRID, (states[1][0], states[1][1]), (now_t[0], now_t[1]), (2e-3, 1e-3), 10.0, reaction
    )
    for part in left:
        assert float(part.abs().max()) < 1e-3 * float(now_t.abs().max())

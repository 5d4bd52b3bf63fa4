"""The Burgers solver against the Cole-Hopf solution, and what the equation conserves."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.burgers import Burgers1D, cole_hopf

TIMES = torch.tensor([0.0, 0.05, 0.1, 0.2], dtype=torch.float64)


def line(n: int, length: float = 1.0) -> torch.Tensor:
    return torch.arange(n).double() * (length / n)


def start(n: int) -> torch.Tensor:
    x = 2 * math.pi * line(n)
    return torch.sin(x) + 0.4 * torch.cos(2 * x + 0.5)


@pytest.mark.parametrize(("viscosity", "num_points", "tolerance"), [(0.05, 64, 1e-7), (0.01, 256, 1e-6)])
def test_the_cole_hopf_solution_is_met(viscosity, num_points, tolerance):
    u = start(num_points)
    result = Burgers1D(num_points, 1.0, viscosity).solve(u, TIMES, courant=0.1)
    for got, time in zip(result, TIMES.tolist(), strict=True):
        torch.testing.assert_close(got, cole_hopf(u, time, 1.0, viscosity), rtol=0, atol=tolerance)


def test_cole_hopf_itself_is_the_known_single_shock():
    """u0 = sin: phi is a sum of Bessel functions (Benton and Platzman, Q. Appl. Math. 30, 195 (1972))."""
    from scipy.special import iv

    viscosity, time, n = 0.15, 0.3, 64
    x = line(n, 2 * math.pi)
    ratio = 1 / (2 * viscosity)
    orders = range(1, 40)
    weights = [float(iv(m, ratio)) * math.exp(-viscosity * m * m * time) for m in orders]
    above = sum(
        (w * m * torch.sin(m * x) for w, m in zip(weights, orders, strict=True)), start=torch.zeros(())
    )
    below = float(iv(0, ratio)) + 2 * sum(
        (w * torch.cos(m * x) for w, m in zip(weights, orders, strict=True)), start=torch.zeros(())
    )
    torch.testing.assert_close(
        cole_hopf(torch.sin(x), time, 2 * math.pi, viscosity),
        4 * viscosity * above / below,
        rtol=0,
        atol=1e-9,
    )


def test_the_mean_is_conserved_and_the_energy_falls():
    u = 0.3 + start(128)
    result = Burgers1D(128, 1.0, 0.02).solve(u, TIMES)
    torch.testing.assert_close(result.mean(1), u.mean().expand(4), rtol=0, atol=1e-14)
    energy = result.square().mean(1)
    assert bool((energy[1:] < energy[:-1]).all())
    assert float(result.abs().max()) <= float(u.abs().max()) + 1e-9


def test_a_uniform_motion_only_carries_the_solution_along():
    n, time, shift = 128, 0.25, 0.5
    moved = Burgers1D(n, 1.0, 0.02).solve(start(n) + shift, torch.tensor([0.0, time]), courant=0.1)[1] - shift
    still = Burgers1D(n, 1.0, 0.02).solve(start(n), torch.tensor([0.0, time]), courant=0.1)[1]
    cells = round(shift * time * n)  # a whole number of them
    torch.testing.assert_close(moved, torch.roll(still, cells), rtol=0, atol=1e-6)

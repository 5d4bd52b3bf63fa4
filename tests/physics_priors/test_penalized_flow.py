import math

import pytest
import torch

from atomfield.physics_priors.navier_stokes import NavierStokes2D
from atomfield.physics_priors.penalized_flow import PenalizedFlow2D, solid_fraction


def _random_velocity(n: int) -> torch.Tensor:
    x = torch.arange(n, dtype=torch.float64) / n * 2 * math.pi
    a, b = torch.meshgrid(x, x, indexing="ij")
    return torch.stack(
        [torch.sin(b) + 0.3 * torch.cos(a + 2 * b), torch.cos(a) - 0.15 * torch.cos(a + 2 * b)]
    )


def test_without_a_solid_it_is_the_flow_of_the_vorticity_solver():
    n, nu = 32, 0.01
    free = NavierStokes2D(n, 1.0, nu)
    velocity = _random_velocity(n)
    times = torch.tensor([0.0, 0.05, 0.1], dtype=torch.float64)
    expected = free.solve(free.grid.curl_2d(velocity), times, courant=0.1)
    found = PenalizedFlow2D(torch.zeros(n, n), 1.0, nu, 1e-3).solve(velocity, times, courant=0.1)
    assert (found.velocity - expected.velocity).abs().max() < 1e-6
    assert (found.vorticity - expected.vorticity).abs().max() < 1e-4
    assert (found.pressure - expected.pressure).abs().max() < 1e-5


def _decay_rate(nu: float, eta: float, h: float) -> float:
    """nu k^2 of the slowest even mode: cos(k y) between the plates, decaying exponentially in the solid; by bisection."""
    low, high = 0.0, math.pi / h - 1e-12
    for _ in range(200):
        k = (low + high) / 2
        if k * math.tan(k * h / 2) < math.sqrt(1 / (nu * eta) - k * k):
            low = k
        else:
            high = k
    return nu * low * low


def test_shear_between_plates_decays_at_the_exact_rate():
    """Against the eigenvalue of the penalised equation; with eta it tends to that of resting plates, nu (pi / h)^2."""
    n, nu, h = 96, 0.05, 0.5
    y = torch.arange(n, dtype=torch.float64) / n
    distance = torch.minimum(y - 0.25, 0.75 - y).expand(n, n)
    shape = torch.where(distance > 0, torch.sin(math.pi * (y - 0.25) / h), 0.0)
    velocity = torch.stack([shape.expand(n, n), torch.zeros(n, n, dtype=torch.float64)])
    rates = []
    for permeability in (4e-2, 1e-2):
        solver = PenalizedFlow2D(solid_fraction(distance, 1 / n, 0.5), 1.0, nu, permeability)
        times = torch.tensor([0.0, 0.8, 1.0], dtype=torch.float64)
        flow = solver.solve(velocity, times, largest_step=4e-3)
        ratio = float(flow.velocity[2, 0, 0, n // 2] / flow.velocity[1, 0, 0, n // 2])
        rates.append(-math.log(ratio) / 0.2)
        assert float(flow.velocity[:, 1].abs().max()) < 1e-12
        assert rates[-1] == pytest.approx(_decay_rate(nu, permeability, h), rel=0.005)
    assert rates[0] < rates[1] < nu * (math.pi / h) ** 2


def test_divergence_is_zero_and_the_solid_rests():
    n = 48
    x = torch.arange(n, dtype=torch.float64) / n - 0.5
    a, b = torch.meshgrid(x, x, indexing="ij")
    distance = torch.sqrt(a * a + b * b) - 0.15
    solver = PenalizedFlow2D(solid_fraction(distance, 1 / n), 1.0, 0.01, 1e-4)
    start = torch.stack([torch.ones(n, n), torch.zeros(n, n)]).double()
    flow = solver.solve(start, torch.linspace(0, 0.2, 5, dtype=torch.float64))
    assert max(float(solver.grid.divergence(u).abs().max()) for u in flow.velocity) < 1e-10
    assert float(flow.velocity[-1][:, distance < -2 / n].norm(dim=0).max()) < 0.05
    assert float(flow.velocity[-1].norm(dim=0).max()) > 1.0

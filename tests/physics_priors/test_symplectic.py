"""Order, reversibility and energy of the integrators: bounded for symplectic ones, drifting for Runge-Kutta."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.symplectic import integrate, step

F64 = torch.float64


def kepler(steps: int, dt: float, scheme: str, every: int = 1):
    """An orbit of eccentricity 0.6 from its perihelion; period 2 pi."""
    q = torch.tensor([0.4, 0.0], dtype=F64)
    p = torch.tensor([0.0, 2.0], dtype=F64)
    return integrate(scheme, q, p, dt, steps, lambda p: p, lambda q: -q / q.norm() ** 3, every)


def energy(q, p):
    return p.square().sum(-1) / 2 - 1 / q.norm(dim=-1)


@pytest.mark.parametrize(("scheme", "order"), [("leapfrog", 2), ("forest_ruth", 4), ("rk4", 4)])
def test_order(scheme, order):
    errors = []
    for num in (60, 120):
        q, _ = integrate(
            scheme,
            torch.ones(1, dtype=F64),
            torch.zeros(1, dtype=F64),
            2.0 / num,
            num,
            lambda p: p,
            lambda q: -q,
        )
        errors.append(float((q[-1] - math.cos(2.0)).abs()))
    assert order - 0.15 < math.log2(errors[0] / errors[1]) < order + 0.3


def test_energy_drift():
    """Over 60 orbits at 100 steps each, leapfrog's error at the same phase returns to where it was while
    Runge-Kutta's grows on."""
    drift = {}
    for scheme in ("leapfrog", "rk4"):
        q, p = kepler(6000, 2 * math.pi / 100, scheme, every=100)
        error = (energy(q, p) - energy(q[0], p[0])).abs()
        drift[scheme] = float(error[-10:].mean()), float(error[1:11].mean())
    late, early = drift["rk4"]
    assert late > 3 * early
    late, early = drift["leapfrog"]
    assert late < 3 * early


def test_symplectic_steps_keep_areas_and_run_backwards():
    def once(scheme):
        def move(y):
            q, p = step(scheme, y[:1], y[1:], 0.3, lambda p: p, lambda q: -torch.sin(q))
            return torch.cat([q, p])

        return move

    start = torch.tensor([0.7, -0.4], dtype=F64)
    for scheme in ("leapfrog", "forest_ruth"):
        area = torch.linalg.det(torch.func.jacrev(once(scheme))(start))
        assert abs(float(area) - 1) < 1e-14
        q, p = step(scheme, start[:1], start[1:], 0.3, lambda p: p, lambda q: -torch.sin(q))
        back = torch.cat(step(scheme, q, p, -0.3, lambda p: p, lambda q: -torch.sin(q)))
        torch.testing.assert_close(back, start, rtol=0, atol=1e-15)
    assert abs(float(torch.linalg.det(torch.func.jacrev(once("rk4"))(start))) - 1) > 1e-7


def test_paths_have_every_nth_state():
    q, _ = kepler(10, 0.01, "leapfrog", every=5)
    assert q.shape == (3, 2)

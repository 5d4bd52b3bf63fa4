"""Integrators against exact solutions, and equations that are partly learnt."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors import lorenz, lotka_volterra
from atomfield.physics_priors.ode import UniversalEquation, solve

F64 = torch.float64


def oscillate(_, y):
    return torch.stack([y[1], -y[0]])


def test_rk4_is_of_fourth_order():
    start = torch.tensor([1.0, 0.0], dtype=F64)
    errors = [
        float(
            (
                solve(oscillate, start, torch.tensor([0.0, 2.0], dtype=F64), substeps=n)[-1, 0]
                - math.cos(2.0)
            ).abs()
        )
        for n in (20, 40)
    ]
    assert 3.9 < math.log2(errors[0] / errors[1]) < 4.3


@pytest.mark.parametrize("method", ["dopri5", "adjoint"])
def test_adaptive_steps_and_both_gradients(method):
    pytest.importorskip("torchdiffeq")

    class Decay(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = torch.nn.Parameter(torch.tensor(0.7, dtype=F64))

        def forward(self, t, y):
            return -self.rate * y

    decay, times = Decay(), torch.tensor([0.0, 1.0, 3.0], dtype=F64)
    states = solve(decay, torch.ones(1, dtype=F64), times, method=method, tolerance=1e-10)
    torch.testing.assert_close(states[:, 0].detach(), torch.exp(-0.7 * times), rtol=0, atol=1e-8)
    states[-1, 0].backward()
    assert float(decay.rate.grad) == pytest.approx(-3 * math.exp(-2.1), rel=1e-6)


def test_a_known_and_a_learnt_term():
    """Growth known, a missing quadratic loss learnt from one curve of the logistic equation."""
    torch.manual_seed(0)
    times = torch.linspace(0, 3, 9, dtype=F64)
    data = 1 / (1 + 9 * torch.exp(-2 * times))[:, None]  # dy/dt = 2 y - 2 y^2 from 0.1
    learnt = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    torch.nn.init.zeros_(learnt[2].weight)
    torch.nn.init.zeros_(learnt[2].bias)
    equation = UniversalEquation(lambda _, y: 2 * y, learnt)
    start = torch.tensor([0.1], dtype=F64)
    torch.testing.assert_close(
        solve(equation, start, times).detach(), 0.1 * torch.exp(2 * times)[:, None], rtol=1e-3, atol=0
    )
    optimiser = torch.optim.LBFGS(
        learnt.parameters(), max_iter=100, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss():
        optimiser.zero_grad()
        value = (solve(equation, start, times, substeps=1) - data).square().mean()
        value.backward()
        return value

    optimiser.step(loss)
    with torch.no_grad():
        y = torch.linspace(0.15, 0.95, 9, dtype=F64)[:, None]
        assert float((learnt(y) + 2 * y * y).abs().max()) < 0.1


def test_lotka_volterra_keeps_its_invariant():
    constants = torch.tensor([0.55, 0.028, 0.8, 0.024], dtype=F64)
    times = torch.linspace(0, 20, 21, dtype=F64)
    path = solve(
        lambda _, y: lotka_volterra.rate(y, constants),
        torch.tensor([33.0, 6.0], dtype=F64),
        times,
        substeps=40,
    )
    values = lotka_volterra.invariant(path, constants)
    assert float(path[:, 0].max() / path[:, 0].min()) > 5
    assert float((values - values[0]).abs().max()) < 1e-6
    rest = torch.tensor([0.8 / 0.024, 0.55 / 0.028], dtype=F64)
    assert float(lotka_volterra.rate(rest, constants).abs().max()) < 1e-14


def test_lorenz_contracts_volumes_and_rests_where_it_should():
    constants = torch.tensor([10.0, 28.0, 8 / 3], dtype=F64)
    jacobian = torch.func.jacrev(lambda y: lorenz.rate(y, constants))(torch.randn(3, dtype=F64))
    assert float(jacobian.trace()) == pytest.approx(-(10 + 1 + 8 / 3))
    rest = torch.tensor([72**0.5, 72**0.5, 27.0], dtype=F64)
    assert float(lorenz.rate(rest, constants).abs().max()) < 1e-13

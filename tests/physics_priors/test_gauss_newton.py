"""The small network's derivatives, and the least-squares method that fits it."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.autograd_operators import AutogradOperators
from atomfield.physics_priors.gauss_newton import minimise
from atomfield.physics_priors.tanh_network import TanhNetwork


@pytest.fixture
def network() -> TanhNetwork:
    return TanhNetwork((2, 7, 6, 1), torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 0.5]))


def test_derivatives_of_every_order_are_those_of_automatic_differentiation(network):
    weights = network.initial(0) + 0.1
    points = torch.rand(9, 2, dtype=torch.float64, requires_grad=True)
    operators = AutogradOperators(points, 2)
    for axis in (0, 1):
        got = network.derivatives(weights, points, axis, 4)
        want = got[0][:, 0]
        for order in range(1, 5):
            want = operators.derivatives(want)[axis]
            torch.testing.assert_close(got[order][:, 0], want, rtol=1e-9, atol=1e-9)
    assert len(network.derivatives(weights, points, 0, 0)) == 1
    assert len(weights) == network.num_weights == 7 * 3 + 6 * 8 + 7


def test_a_curve_and_its_constant_are_found():
    """y = exp(-k x): the unknown is in the data's law and the covariance is the textbook's."""
    x = torch.linspace(0, 2, 40, dtype=torch.float64)
    noise = 0.01 * torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = torch.stack([x, torch.exp(-0.8 * x) + noise], dim=1)
    fit = minimise([(lambda t, row: torch.exp(-t[0] * row[0]) - row[1], rows)], torch.tensor([3.0]))
    assert float(fit.values) == pytest.approx(0.8, abs=0.01)
    slope = x * torch.exp(-fit.values * x)
    torch.testing.assert_close(fit.normal[0, 0], slope.square().sum())
    assert list(fit.history) == sorted(fit.history, reverse=True)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_differential_equation_is_solved_by_a_network(network, seed):
    """du/dt = -u with u(x, 0) = cos(x), from the equation and the start alone. With damping in proportion to the diagonal of
    J^T J the weights of both starts run away to a norm of a thousand and end in a plateau."""
    points = torch.rand(150, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = points * torch.tensor([2.0, 0.5]) - torch.tensor([1.0, 0.0])
    start = points[:40] * torch.tensor([1.0, 0.0])

    def law(weights, point):
        u, u_t = network.derivatives(weights, point, 1, 1)
        return (u_t + u)[0] / 12

    def initial(weights, point):
        return (network.derivatives(weights, point, 0, 0)[0][0] - torch.cos(point[0])) / 6

    fit = minimise([(law, points), (initial, start)], network.initial(seed), max_steps=150)
    u = network.derivatives(fit.values, points, 0, 0)[0][:, 0]
    exact = torch.exp(-points[:, 1]) * torch.cos(points[:, 0])
    assert float((u - exact).abs().max()) < 2e-5
    assert float(fit.values.norm()) < 10


def test_chunks_change_nothing():
    rows = torch.randn(37, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))

    def law(t, row):
        return torch.tanh(t[0] * row[0] + t[1]) - row[1]

    whole, parts = (minimise([(law, rows)], torch.zeros(2), chunk=c, max_steps=6) for c in (100, 8))
    torch.testing.assert_close(whole.values, parts.values, rtol=1e-8, atol=1e-10)
    with pytest.raises(ArithmeticError, match="not finite"):
        minimise([(lambda t, row: t[0] / math.nan, rows)], torch.zeros(2))

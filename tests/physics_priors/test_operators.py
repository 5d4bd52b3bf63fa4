"""Three discretisations, one form: gradient, divergence, Laplacian and what is composed of them agree with the exact
derivatives."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.autograd_operators import AutogradOperators
from atomfield.physics_priors.operators import advect, curl
from atomfield.physics_priors.spectral import PeriodicGrid

TAU = 2 * math.pi


def coordinates(shape: tuple[int, ...]) -> torch.Tensor:
    axes = [torch.arange(n).double() / n for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def arnold_beltrami_childress(x: torch.Tensor) -> torch.Tensor:
    """A flow that is its own curl up to the wavenumber: curl u = k u, div u = 0."""
    x, y, z = TAU * x
    return torch.stack([z.sin() + 0.5 * y.cos(), x.sin() + z.cos(), 0.5 * y.sin() + x.cos()])


def test_curl_and_divergence_in_three_dimensions():
    shape = (8, 10, 9)
    grid = PeriodicGrid(shape, (1.0, 1.0, 1.0))
    flow = arnold_beltrami_childress(coordinates(shape))
    torch.testing.assert_close(curl(grid, flow), TAU * flow, rtol=0, atol=1e-12)
    assert float(grid.divergence(flow).abs().max()) < 1e-12
    torch.testing.assert_close(grid.laplacian(flow), -(TAU**2) * flow, rtol=0, atol=1e-11)


def test_autograd_agrees_with_the_exact_flow():
    x = torch.rand(20, 3, dtype=torch.float64, requires_grad=True)
    operators = AutogradOperators(x, 3)
    flow = arnold_beltrami_childress(x.T)
    torch.testing.assert_close(curl(operators, flow), TAU * flow, rtol=0, atol=1e-12)
    torch.testing.assert_close(operators.laplacian(flow), -(TAU**2) * flow, rtol=0, atol=1e-11)
    assert float(operators.divergence(flow).detach().abs().max()) < 1e-12


def test_curl_of_a_plane_field_is_that_of_the_grid():
    grid = PeriodicGrid((12, 12), (1.0, 2.0))
    vector = torch.randn(2, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(curl(grid, vector), grid.curl_2d(vector))


def test_advection_of_every_component():
    grid = PeriodicGrid((16, 16), (1.0, 1.0))
    x, _ = coordinates((16, 16))
    field = torch.stack([(TAU * x).sin(), (2 * TAU * x).cos()])
    flow = torch.stack([torch.full_like(x, 3.0), torch.ones_like(x)])
    want = torch.stack([3 * TAU * (TAU * x).cos(), -6 * TAU * (2 * TAU * x).sin()])
    torch.testing.assert_close(advect(grid, flow, field), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("orders", [(1, 0), (0, 3), (2, 1), (4, 4)])
def test_any_mixed_derivative_of_a_mode(orders):
    grid = PeriodicGrid((16, 18), (1.5, 2.0))
    k, q = 3 * TAU / 1.5, 2 * TAU / 2.0
    x, y = coordinates((16, 18))
    phase = k * 1.5 * x + q * 2.0 * y
    size = k ** orders[0] * q ** orders[1]
    want = size * (phase + sum(orders) * math.pi / 2).sin()
    # rounding in the data is amplified like the highest mode of the grid
    highest = (8 * TAU / 1.5) ** orders[0] * (9 * TAU / 2.0) ** orders[1]
    torch.testing.assert_close(
        grid.derivative(phase.sin(), orders), want, rtol=0, atol=2e-15 * highest + 1e-12
    )


def test_even_derivatives_keep_the_highest_mode_and_odd_ones_drop_it():
    grid = PeriodicGrid((8,), (TAU,))
    highest = (-1.0) ** torch.arange(8).double()
    torch.testing.assert_close(grid.derivative(highest, (2,)), -16 * highest)
    assert not grid.derivative(highest, (1,)).any()


def test_a_constant_and_the_time_column():
    x = torch.rand(5, 2, dtype=torch.float64, requires_grad=True)
    operators = AutogradOperators(x, 1)
    assert not operators.gradient(torch.ones(5, dtype=torch.float64)).any()
    torch.testing.assert_close(operators.derivatives(x[:, 0] * x[:, 1] ** 2)[1], 2 * x.prod(1))
    assert len(operators.gradient(x[:, 0] * x[:, 1])) == 1
    with pytest.raises(ValueError, match="require gradients"):
        AutogradOperators(torch.zeros(3, 2), 1)

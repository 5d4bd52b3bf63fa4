"""No divergence, measured by the operator at hand: to rounding on grids and by projection, to the stencil's order on clouds."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.divergence_free import from_potential, project
from atomfield.physics_priors.least_squares import PointOperators
from atomfield.physics_priors.operators import curl
from atomfield.physics_priors.spectral import PeriodicGrid

from .clouds import periodic_cloud


@pytest.mark.parametrize(("shape", "components"), [((32, 33), ()), ((8, 9, 10), (3,))])
def test_a_random_potential_gives_no_divergence_on_a_grid(shape, components):
    grid = PeriodicGrid(shape, (1.0,) * len(shape))
    potential = torch.randn(
        *components, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    velocity = from_potential(grid, potential)
    velocity = velocity / velocity.square().mean().sqrt()
    assert float(grid.divergence(velocity).abs().max()) < 1e-10
    assert float(curl(grid, velocity).abs().max()) > 1


def test_the_stream_function_of_a_vortex():
    grid = PeriodicGrid((16, 16), (2 * math.pi, 2 * math.pi))
    x, y = torch.meshgrid(*[torch.arange(16).double() * math.pi / 8] * 2, indexing="ij")
    want = torch.stack([-x.sin() * y.sin(), -x.cos() * y.cos()])
    torch.testing.assert_close(from_potential(grid, x.sin() * y.cos()), want, rtol=0, atol=1e-13)


def test_what_a_stream_function_leaves_on_a_cloud_falls_with_the_spacing():
    """First order in the spacing for degree 2, and not zero: discrete derivatives of a cloud do not commute."""
    left = []
    for side in (16, 32):
        points, senders, receivers, vectors, _ = periodic_cloud(side, 0.25, 2.6)
        operators = PointOperators(senders, receivers, vectors, side * side)
        psi = (2 * math.pi * points[:, 0]).sin() * (2 * math.pi * points[:, 1]).cos() / (2 * math.pi)
        velocity = from_potential(operators, psi)
        left.append(float(operators.divergence(velocity).square().mean().sqrt()))
    assert left[1] > 1e-6
    assert 0.7 < math.log2(left[0] / left[1]) < 1.3


def test_projection_on_a_cloud_reaches_rounding():
    _, senders, receivers, vectors, _ = periodic_cloud(12, 0.25, 2.6)
    operators = PointOperators(senders, receivers, vectors, 144)
    velocity = torch.randn(2, 144, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert float(operators.divergence(velocity).abs().max()) > 1
    free = project(operators.divergence, velocity)
    assert float(operators.divergence(free).abs().max()) < 1e-10
    assert float((free * (velocity - free)).sum().abs()) < 1e-9  # orthogonal: the smallest change
    torch.testing.assert_close(project(operators.divergence, free), free, rtol=0, atol=1e-12)


def test_projection_on_a_grid_is_lerays():
    grid = PeriodicGrid((9, 10), (1.0, 1.0))
    velocity = torch.randn(2, 9, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(project(grid.divergence, velocity), grid.project(velocity), rtol=0, atol=1e-10)


def test_a_projection_that_does_not_arrive_says_so():
    grid = PeriodicGrid((16, 16), (1.0, 1.0))
    with pytest.raises(ArithmeticError, match="after 2 steps"):
        project(grid.divergence, torch.randn(2, 16, 16, dtype=torch.float64), max_steps=2)

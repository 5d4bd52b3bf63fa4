"""Conditions that hold to rounding on what comes out, and a boundary-value problem solved with them."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.boundary import (
    HardConstraint,
    ImposedBoundary,
    box_distance,
    free_slip,
    periodic_features,
)
from atomfield.physics_priors.least_squares import PointOperators


@pytest.fixture
def square():
    """A 9 x 9 grid of points on the unit square with its 12 nearest neighbours; boundary points and normals."""
    axis = torch.linspace(0, 1, 9, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    nearest = torch.cdist(points, points).argsort(dim=1, stable=True)[:, 1:15]
    receivers = torch.arange(81).repeat_interleave(14)
    operators = PointOperators(
        nearest.reshape(-1), receivers, points[nearest.reshape(-1)] - points[receivers], 81
    )
    outward = (points == 1).double() - (points == 0).double()
    boundary = outward.norm(dim=1).nonzero().flatten()
    normals = outward[boundary] / outward[boundary].norm(dim=1, keepdim=True)
    return points, operators, boundary, normals


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.0, 1.0), (2.0, 0.7)])
def test_any_field_meets_the_condition_afterwards(square, a, b):
    _, operators, boundary, normals = square
    ones = torch.ones(len(boundary), dtype=torch.float64)
    imposed = ImposedBoundary(operators, boundary, normals, a * ones, b * ones)
    field = torch.randn(2, 81, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    given = torch.randn(2, len(boundary), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    out = imposed.impose(field, given)
    assert float((imposed.condition(field) - given).abs().max()) > 0.1
    torch.testing.assert_close(imposed.condition(out), given, rtol=0, atol=1e-10)
    inside = torch.ones(81, dtype=torch.bool)
    inside[boundary] = False
    assert torch.equal(out[:, inside], field[:, inside])


def test_kinds_may_be_mixed_and_a_quadratic_field_is_left_alone(square):
    """Dirichlet on the left, Robin elsewhere: a field the stencil represents exactly already meets its own conditions."""
    points, operators, boundary, normals = square
    left = (points[boundary, 0] == 0).double()
    imposed = ImposedBoundary(operators, boundary, normals, 0.5 + 0.5 * left, 1 - left)
    field = points[:, 0] ** 2 - points.prod(1) + 3
    gradient = torch.stack([2 * points[:, 0] - points[:, 1], -points[:, 0]], dim=1)[boundary]
    given = imposed.a * field[boundary] + imposed.b * (gradient * normals).sum(1)
    scrambled = field.index_fill(0, boundary, 7.0)
    torch.testing.assert_close(imposed.impose(scrambled, given), field, rtol=0, atol=1e-9)


def test_it_is_differentiable(square):
    _, operators, boundary, normals = square
    ones = torch.ones(len(boundary), dtype=torch.float64)
    imposed = ImposedBoundary(operators, boundary, normals, ones, ones)
    field = torch.randn(81, dtype=torch.float64, requires_grad=True)
    given = torch.randn(len(boundary), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(imposed.impose, (field, given))


def test_conditions_that_say_nothing_are_refused(square):
    _, operators, boundary, normals = square
    zeros = torch.zeros(len(boundary), dtype=torch.float64)
    with pytest.raises(ValueError, match="do not determine"):
        ImposedBoundary(operators, boundary, normals, zeros, zeros)


def test_nothing_crosses_a_slip_wall():
    velocity = torch.randn(3, 10, dtype=torch.float64)
    normals = torch.nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64), dim=1)
    walls = torch.tensor([1, 4, 5, 9])
    out = free_slip(velocity, walls, normals)
    assert float(torch.einsum("db,bd->b", out[:, walls], normals).abs().max()) < 1e-15
    assert torch.equal(out[:, [0, 2, 3]], velocity[:, [0, 2, 3]])


def test_a_network_with_hard_conditions():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, math.inf])
    model = HardConstraint(
        network, lambda x: -torch.sin(math.pi * x[:, 0]), lambda x: box_distance(x, low, high)
    )
    x = torch.rand(30, 2, dtype=torch.float64)
    start = torch.stack([2 * x[:, 0] - 1, torch.zeros(30, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(model(start), -torch.sin(math.pi * start[:, 0]))
    wall = torch.stack([torch.ones(30, dtype=torch.float64), x[:, 1]], dim=1)
    assert float(model(wall).detach().abs().max()) < 1e-15
    assert float((model(x) + torch.sin(math.pi * x[:, 0])).detach().abs().max()) > 1e-3


def test_periodic_features():
    x = torch.rand(6, 2, dtype=torch.float64)
    moved = x + torch.tensor([1.5, 0.0])
    features = periodic_features(x, (1.5, None))
    assert features.shape == (6, 3)
    torch.testing.assert_close(periodic_features(moved, (1.5, None)), features, rtol=0, atol=1e-14)
    assert torch.equal(features[:, 2], x[:, 1])

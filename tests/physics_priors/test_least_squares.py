"""Least-squares derivatives: exact on polynomials of their degree, of the stated order on everything else."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.least_squares import PointOperators, two_rings

from .clouds import box_cloud, periodic_cloud


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_degree_one_is_exact_on_linear_fields(dimension):
    points, *edges = box_cloud(200, dimension, 6 + 2 * dimension)
    slope = torch.tensor([1.5, -2.0, 0.7], dtype=torch.float64)[:dimension]
    got = PointOperators(*edges, 200, degree=1).gradient(points @ slope + 3.0)
    torch.testing.assert_close(got, slope[:, None].expand(-1, 200), rtol=0, atol=1e-11)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_degree_two_is_exact_on_quadratic_fields(dimension):
    points, *edges = box_cloud(150, dimension, 5 * dimension**2)
    operators = PointOperators(*edges, 150, degree=2)
    matrix = torch.tensor([[1.0, 0.4, -0.3], [0.4, -2.0, 0.5], [-0.3, 0.5, 0.25]]).double()
    matrix = matrix[:dimension, :dimension]
    field = torch.einsum("ni,ij,nj->n", points, matrix, points) + points.sum(1)
    torch.testing.assert_close(operators.gradient(field), 2 * matrix @ points.T + 1, rtol=0, atol=1e-9)
    laplacian = torch.full((150,), 2 * float(matrix.trace()), dtype=torch.float64)
    torch.testing.assert_close(operators.laplacian(field), laplacian, rtol=0, atol=1e-7)
    torch.testing.assert_close(
        operators.divergence(points.T), torch.full_like(field, dimension), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize(("degree", "radius"), [(1, 1.9), (2, 2.6), (3, 3.6)])
def test_order_of_convergence(degree, radius):
    """Gradient of order ``degree``, Laplacian of order ``degree - 1``, on clouds without any regularity."""
    errors = []
    for side in (16, 32):
        points, senders, receivers, vectors, _ = periodic_cloud(side, 0.25, radius)
        operators = PointOperators(senders, receivers, vectors, side * side, degree=degree)
        k, q = 2 * math.pi, 4 * math.pi
        phase = k * points[:, 0] + q * points[:, 1]
        exact = torch.stack([k * phase.cos(), q * phase.cos()])
        errors.append(
            [
                float((operators.gradient(phase.sin()) - exact).norm() / exact.norm()),
                float(
                    (operators.laplacian(phase.sin()) / (k * k + q * q) + phase.sin()).norm()
                    / phase.sin().norm()
                ),
            ]
        )
    gradient, laplacian = (math.log2(coarse / fine) for coarse, fine in zip(*errors, strict=True))
    assert degree - 0.35 < gradient < degree + 0.9
    if degree > 1:
        assert degree - 1 - 0.35 < laplacian < degree + 0.9


def test_a_plane_in_space_has_no_derivative_across_it():
    points, senders, receivers, vectors = box_cloud(80, 2, 12)
    flat = torch.cat([vectors, torch.zeros(len(vectors), 1, dtype=torch.float64)], dim=1)
    inside = PointOperators(senders, receivers, vectors, 80)
    space = PointOperators(senders, receivers, flat, 80)
    field = points.prod(1).sin()
    torch.testing.assert_close(space.gradient(field)[:2], inside.gradient(field))
    assert not space.gradient(field)[2].any()
    torch.testing.assert_close(space.laplacian(field), inside.laplacian(field))


def test_two_rings_of_a_triangle_mesh_make_degree_two_exact():
    from scipy.spatial import Delaunay

    points = torch.rand(120, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    triangles = torch.from_numpy(Delaunay(points.numpy()).simplices).long()
    pairs = torch.cat([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    senders, receivers = torch.unique(torch.cat([pairs, pairs.flip(1)]), dim=0).T
    vectors = points[senders] - points[receivers]
    with pytest.raises(ValueError, match=r"neighbours; degree 2 in 2 dimensions needs 5"):
        PointOperators(senders, receivers, vectors, 120)
    senders, receivers, vectors = two_rings(senders, receivers, vectors, 120)
    assert bool((senders != receivers).all())
    assert len(torch.unique(torch.stack([senders, receivers]), dim=1).T) == len(senders)
    torch.testing.assert_close(vectors, points[senders] - points[receivers])
    got = PointOperators(senders, receivers, vectors, 120).laplacian(points[:, 0] ** 2 + points.prod(1))
    torch.testing.assert_close(got, torch.full((120,), 2.0, dtype=torch.float64), rtol=0, atol=1e-8)


def test_a_point_whose_neighbours_lie_on_a_line_is_refused():
    _, senders, receivers, vectors = box_cloud(40, 2, 8)
    own = receivers == 7
    vectors[own] = vectors[own, :1] * torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match="point 7 .* on a line"):
        PointOperators(senders, receivers, vectors, 40)


def test_a_line_and_a_plane_may_lie_anyhow_in_space():
    """Turned by a rotation, gradients turn with them and Laplacians stay."""
    turn = torch.linalg.qr(
        torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )[0]
    for dimension in (1, 2):
        points, senders, receivers, vectors = box_cloud(60, dimension, 12)
        flat = torch.cat([vectors, torch.zeros(len(vectors), 3 - dimension, dtype=torch.float64)], dim=1)
        plain, moved = (PointOperators(senders, receivers, v, 60) for v in (flat, flat @ turn.T))
        field = (2 * points.sum(1)).sin()
        torch.testing.assert_close(moved.gradient(field), turn @ plain.gradient(field), rtol=0, atol=1e-9)
        torch.testing.assert_close(moved.laplacian(field), plain.laplacian(field), rtol=0, atol=1e-7)


def test_directional_derivative_and_components():
    points, *edges = box_cloud(60, 2, 10)
    normals = torch.tensor([[0.6, 0.8], [1.0, 0.0]], dtype=torch.float64)
    fields = torch.stack([points[:, 0], points[:, 1] * 2])
    got = PointOperators(*edges, 60).directional(fields, torch.tensor([4, 7]), normals)
    torch.testing.assert_close(
        got, torch.tensor([[0.6, 1.0], [1.6, 0.0]], dtype=torch.float64), rtol=0, atol=1e-10
    )

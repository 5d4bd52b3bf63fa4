"""Boundary conditions that hold exactly, not as a penalty.

On point clouds the values at the boundary's points are solved for, so that

    a u + b du/dn = g      (Robin; Dirichlet b = 0, no-slip g = 0, inflow g = its profile; Neumann a = 0)

holds in the same discrete normal derivative that the residual uses: one small linear system, differentiable in u and
g. For networks of
coordinates, Lagaris et al. (IEEE Trans. Neural Netw. 9, 987 (1998)): u = g + D N with D = 0 on the boundary;
periodic axes enter as
sines and cosines. Units: a, b and g as in the equation; normals are unit vectors that point outward.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .least_squares import PointOperators


class ImposedBoundary:
    """Robin conditions at ``points [B]`` with ``normals [B, d]`` and coefficients ``a``, ``b`` ``[B]``.

    The linear system is factorised once; ``ValueError`` where the conditions do not determine the values (a = b = 0).
    """

    def __init__(self, operators: PointOperators, points: Tensor, normals: Tensor, a: Tensor, b: Tensor):
        self.operators, self.points, self.normals = operators, points, normals.double()
        self.a, self.b = a.double(), b.double()
        fields = torch.zeros(len(points), operators.num_points, dtype=torch.float64)
        fields[torch.arange(len(points)), points] = 1.0
        matrix = self.condition(fields).T
        if not bool(torch.isfinite(matrix).all()) or int(torch.linalg.matrix_rank(matrix)) < len(points):
            raise ValueError(
                "the boundary conditions do not determine the values there: a and b both zero, or a boundary point "
                "whose stencil has no interior neighbour"
            )
        self._factors = torch.linalg.lu_factor(matrix)

    def condition(self, field: Tensor) -> Tensor:
        """``a u + b du/dn`` at the boundary, ``[..., B]`` of ``field [..., N]``."""
        normal = self.operators.directional(field, self.points, self.normals)
        return self.a * field[..., self.points] + self.b * normal

    def impose(self, field: Tensor, given: Tensor) -> Tensor:
        """``field [..., N]`` (float64) with the values at the boundary replaced so that ``condition`` equals ``given
        [..., B]``."""
        inside = field.index_fill(-1, self.points, 0.0)
        wanted = given - self.condition(inside)
        values = torch.linalg.lu_solve(*self._factors, wanted.reshape(-1, len(self.points)).T).T
        return inside.index_copy(-1, self.points, values.reshape(wanted.shape))


def free_slip(velocity: Tensor, points: Tensor, normals: Tensor) -> Tensor:
    """``velocity [d, N]`` without its normal component at ``points [B]``: a wall that nothing crosses."""
    at = velocity[:, points]
    across = torch.einsum("db,bd->b", at, normals.to(velocity.dtype))
    return velocity.index_copy(1, points, at - across * normals.T.to(velocity.dtype))


def box_distance(coordinates: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """A smooth function ``[P]`` of ``coordinates [P, d]`` that is positive inside the box and zero on its faces: product of
    4 (x - low)(high - x) / (high - low)^2, 1 at the centre. Infinite bounds leave an axis out."""
    parts = []
    for x, a, b in zip(coordinates.T, low.tolist(), high.tolist(), strict=True):
        if math.isfinite(a) and math.isfinite(b):
            parts.append(4 * (x - a) * (b - x) / (b - a) ** 2)
        elif math.isfinite(a):
            parts.append(x - a)
        elif math.isfinite(b):
            parts.append(b - x)
    return torch.stack(parts).prod(0)


class HardConstraint(torch.nn.Module):
    """``prescribed(x) + distance(x) * network(x)``: equal to ``prescribed`` wherever ``distance`` vanishes, whatever
    the weights."""

    def __init__(
        self,
        network: torch.nn.Module,
        prescribed: Callable[[Tensor], Tensor],
        distance: Callable[[Tensor], Tensor],
    ):
        super().__init__()
        self.network, self.prescribed, self.distance = network, prescribed, distance

    def forward(self, coordinates: Tensor) -> Tensor:
        """``[P]`` from ``coordinates [P, d]``; the network gives ``[P]`` or ``[P, 1]``."""
        free = self.network(coordinates).reshape(len(coordinates))
        return self.prescribed(coordinates) + self.distance(coordinates) * free


def periodic_features(coordinates: Tensor, periods: tuple[float | None, ...]) -> Tensor:
    """``[P, k]``: cosine and sine of each periodic axis, other axes as they are; a function of these is periodic exactly."""
    out = []
    for x, period in zip(coordinates.T, periods, strict=True):
        phase = x if period is None else 2 * math.pi * x / period
        out += [x] if period is None else [phase.cos(), phase.sin()]
    return torch.stack(out, dim=1)

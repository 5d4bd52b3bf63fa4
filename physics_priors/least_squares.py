"""Derivatives on point clouds and meshes by weighted least squares over edges: exact on polynomials of the chosen degree.

Around each point the differences f_j - f_i are fitted by a Taylor polynomial in r_ij = x_j - x_i with weights |r|^-2; the
coefficients are the derivatives. The gradient is of order ``degree`` and the Laplacian of order ``degree - 1`` in
the spacing (one
more where neighbours are arranged symmetrically). References: Barth, AIAA 93-0668 (1993); Mavriplis, AIAA 2003-3986.
Units: lengths as the vectors have them; no unit enters otherwise.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor


class PointOperators:
    """Stencils of every point, computed once in float64.

    senders, receivers ``[E]``: edges, the receiver is the point whose derivative uses the edge. vectors ``[E, d]``: sender minus
    receiver, periodic images included. degree: of the polynomials that are differentiated exactly. A degree n needs at
    least C(n + d, d) - 1 neighbours in general position; a point that lacks them raises ``ValueError``. Directions in which
    nothing extends (across a plane in space, however it is turned) have no derivative: it is zero.
    """

    def __init__(
        self,
        senders: Tensor,
        receivers: Tensor,
        vectors: Tensor,
        num_points: int,
        degree: int = 2,
        volumes: Tensor | None = None,
    ):
        self.volumes = volumes
        """``[N]`` weights of the mean; None: every point alike."""
        self.senders, self.receivers, self.num_points = senders, receivers, num_points
        vectors = vectors.double()
        self.dimension = vectors.shape[1]
        basis = _span(vectors)
        vectors = vectors @ basis.T
        axes = list(range(len(basis)))
        powers = [p for n in range(1, degree + 1) for p in itertools.combinations_with_replacement(axes, n)]
        lengths = vectors.norm(dim=1)
        count = torch.bincount(receivers, minlength=num_points)
        if int(count.min()) < len(powers):
            point = int(count.argmin())
            raise ValueError(
                f"point {point} has {int(count[point])} neighbours; degree {degree} in {len(axes)} dimensions "
                f"needs {len(powers)}: add edges (two_rings) or lower the degree"
            )
        scale = torch.zeros(num_points, dtype=torch.float64).index_add(0, receivers, lengths) / count
        self.spacing = scale
        """Mean length of the edges of each point ``[N]``."""
        reduced = vectors / scale[receivers, None]
        # x^a / a!: the coefficient of the fit is the derivative itself, times scale^n
        columns = torch.stack(
            [
                reduced[:, list(p)].prod(1) / math.prod(math.factorial(p.count(a)) for a in axes)
                for p in powers
            ],
            dim=1,
        )
        # the square root of |r|^-2: rows of each point's system, padded with zero rows
        rows, slot = _padded(receivers, num_points, columns / reduced.norm(dim=1, keepdim=True))
        u, sizes, vh = torch.linalg.svd(rows, full_matrices=False)
        flat = sizes[:, -1] < 1e-8 * sizes[:, 0]
        if bool(flat.any()):
            point = int(flat.nonzero()[0])
            raise ValueError(
                f"the {int(count[point])} neighbours of point {point} do not determine a polynomial of degree {degree} "
                "(they lie on a line or a conic): add edges (two_rings) or lower the degree"
            )
        solution = torch.einsum("nkp,nk,nek->nep", vh, 1 / sizes, u)
        weights = solution[receivers, slot] / reduced.norm(dim=1, keepdim=True)
        order = torch.tensor([len(p) for p in powers], dtype=torch.float64)
        weights = weights / scale[receivers, None] ** order
        self._first = basis.T @ torch.stack([weights[:, powers.index((axis,))] for axis in axes])
        self._laplace = None
        if degree > 1:
            self._laplace = weights[:, [powers.index((a, a)) for a in axes]].sum(1)

    def to(self, device: torch.device) -> PointOperators:
        """A copy of the stencils on ``device``."""
        moved = object.__new__(PointOperators)
        for name, value in vars(self).items():
            setattr(moved, name, value.to(device) if isinstance(value, Tensor) else value)
        return moved

    def _apply(self, weights: Tensor, field: Tensor) -> Tensor:
        difference = field[..., self.senders] - field[..., self.receivers]
        return torch.zeros_like(field).index_add(-1, self.receivers, weights.to(field.dtype) * difference)

    def gradient(self, field: Tensor) -> Tensor:
        """``[d, ..., N]`` of ``field [..., N]``."""
        return torch.stack([self._apply(w, field) for w in self._first])

    def divergence(self, vector: Tensor) -> Tensor:
        """``[..., N]`` of ``vector [d, ..., N]``."""
        return torch.stack([self._apply(w, v) for w, v in zip(self._first, vector, strict=True)]).sum(0)

    def laplacian(self, field: Tensor) -> Tensor:
        """``[..., N]``; of the fitted polynomial when the degree is at least 2, else the divergence of the gradient."""
        if self._laplace is None:
            return self.divergence(self.gradient(field))
        return self._apply(self._laplace, field)

    def mean(self, field: Tensor) -> Tensor:
        """``[...]`` of ``field [..., N]``, by volume."""
        if self.volumes is None:
            return field.mean(-1)
        return field @ (self.volumes / self.volumes.sum()).to(field.dtype)

    def directional(self, field: Tensor, points: Tensor, directions: Tensor) -> Tensor:
        """``[..., B]``: derivative of ``field [..., N]`` at ``points [B]`` along ``directions [B, d]``, e.g. outward normals."""
        gradient = self.gradient(field)[..., points]
        return torch.einsum("d...b,bd->...b", gradient, directions.to(field.dtype))


def _span(vectors: Tensor) -> Tensor:
    """Orthonormal rows ``[r, d]`` of the space that ``vectors [E, d]`` fill: axes of the coordinates where those suffice."""
    used = (vectors != 0).any(0)
    axes = torch.eye(vectors.shape[1], dtype=vectors.dtype)[used]
    _, sizes, rows = torch.linalg.svd(vectors, full_matrices=False)
    rank = int((sizes > 1e-9 * sizes[0]).sum())
    return axes if rank == len(axes) else rows[:rank]


def _padded(receivers: Tensor, num_points: int, rows: Tensor) -> tuple[Tensor, Tensor]:
    """``rows [E, P]`` as ``[N, K, P]`` by receiver, zeros behind, and each edge's place among those of its receiver ``[E]``."""
    order = torch.argsort(receivers, stable=True)
    count = torch.bincount(receivers, minlength=num_points)
    start = torch.cumsum(count, 0) - count
    slot = torch.empty_like(receivers)
    slot[order] = torch.arange(len(receivers)) - start[receivers[order]]
    padded = rows.new_zeros(num_points, int(count.max()), rows.shape[1])
    padded[receivers, slot] = rows
    return padded, slot


def two_rings(
    senders: Tensor, receivers: Tensor, vectors: Tensor, num_points: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Edges to neighbours and neighbours of neighbours: what a mesh needs for degree 2. Each sender is taken once per
    image: vectors that agree to 1e-6 of the mean edge are one."""
    order = torch.argsort(senders, stable=True)
    count = torch.bincount(senders, minlength=num_points)
    start = torch.cumsum(count, 0) - count
    # path k -> j -> i: every edge (k -> j) meets the edges that leave j
    repeats = count[receivers]
    first = torch.repeat_interleave(torch.arange(len(senders)), repeats)
    within = torch.arange(len(first)) - torch.repeat_interleave(torch.cumsum(repeats, 0) - repeats, repeats)
    second = order[start[receivers[first]] + within]
    far = torch.cat([vectors, vectors[first] + vectors[second]])
    ends = torch.stack([torch.cat([senders, senders[first]]), torch.cat([receivers, receivers[second]])], 1)
    size = float(vectors.norm(dim=1).mean())
    away = far.norm(dim=1) > 1e-6 * size
    far, ends = far[away], ends[away]
    key = torch.cat([ends, torch.round(far / (1e-6 * size)).long()], dim=1)
    unique, inverse = torch.unique(key, dim=0, return_inverse=True)
    pick = torch.empty(len(unique), dtype=torch.int64).scatter_(0, inverse, torch.arange(len(key)))
    return ends[pick, 0], ends[pick, 1], far[pick]

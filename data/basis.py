"""Cartesian values <-> irreps, the one change of basis at the model's door.

Irreps follow e3nn's order: l=1 is (x, y, z); l=2 is (xz, xy, y^2-(x^2+z^2)/2, yz, (z^2-x^2)/2), orthonormal here, so
that Frobenius norms are kept. A symmetric 3x3 tensor is ``0e + 2e``: trace/sqrt(3), then five components. Any 3x3 tensor is
``0e + 1e + 2e``, its antisymmetric part ``A_ij = e_ijk a_k / sqrt(2)`` being the axial vector ``a``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _symmetric_basis() -> Tensor:
    """Orthonormal symmetric 3x3 matrices, float64 ``[6, 3, 3]``: the identity first, then l=2 in e3nn's order."""
    s, t = 1 / math.sqrt(2), 1 / math.sqrt(6)
    b = torch.zeros(6, 3, 3, dtype=torch.float64)
    b[0] = torch.eye(3, dtype=torch.float64) / math.sqrt(3)
    b[1, 0, 2] = b[1, 2, 0] = s
    b[2, 0, 1] = b[2, 1, 0] = s
    b[3] = torch.diag(torch.tensor([-t, 2 * t, -t], dtype=torch.float64))
    b[4, 1, 2] = b[4, 2, 1] = s
    b[5] = torch.diag(torch.tensor([-s, 0.0, s], dtype=torch.float64))
    return b


SYMMETRIC_BASIS = _symmetric_basis()


def _full_basis() -> Tensor:
    """Orthonormal 3x3 matrices, float64 ``[9, 3, 3]``: the identity, the three antisymmetric ones (l=1), then l=2."""
    turns = torch.zeros(3, 3, 3, dtype=torch.float64)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        turns[k, i, j], turns[k, j, i] = 1 / math.sqrt(2), -1 / math.sqrt(2)
    return torch.cat([SYMMETRIC_BASIS[:1], turns, SYMMETRIC_BASIS[1:]])


FULL_BASIS = _full_basis()


def to_irreps(values: Tensor, irreps: str) -> Tensor:
    """Cartesian ``[..., *shape]`` to components ``[..., dim]`` (dim 1, 3, 6 or 9). ``0e+2e`` has no antisymmetric part."""
    match irreps:
        case "0e" | "0o":
            return values.unsqueeze(-1)
        case "1o" | "1e":
            return values
        case "0e+2e":
            return torch.einsum("...ij,kij->...k", values, SYMMETRIC_BASIS.to(values))
        case "0e+1e+2e":
            return torch.einsum("...ij,kij->...k", values, FULL_BASIS.to(values))
    raise ValueError(
        f"irreps {irreps!r} have no Cartesian form here; expected 0e, 0o, 1o, 1e, 0e+2e or 0e+1e+2e"
    )


def from_irreps(components: Tensor, irreps: str) -> Tensor:
    """Inverse of :func:`to_irreps`."""
    match irreps:
        case "0e" | "0o":
            return components.squeeze(-1)
        case "1o" | "1e":
            return components
        case "0e+2e":
            return torch.einsum("...k,kij->...ij", components, SYMMETRIC_BASIS.to(components))
        case "0e+1e+2e":
            return torch.einsum("...k,kij->...ij", components, FULL_BASIS.to(components))
    raise ValueError(
        f"irreps {irreps!r} have no Cartesian form here; expected 0e, 0o, 1o, 1e, 0e+2e or 0e+1e+2e"
    )

"""Cartesian values <-> irreps, the one change of basis at the model's door.

Irreps follow e3nn's order: l=1 is (x, y, z); l=2 is (xz, xy, y^2-(x^2+z^2)/2, yz, (z^2-x^2)/2), orthonormal here, so that
Frobenius norms are kept. A symmetric 3x3 tensor is ``0e + 2e``: trace/sqrt(3), then five components. Any 3x3 tensor is ``0e
+ 1e + 2e``, its antisymmetric part ``A_ij = e_ijk a_k / sqrt(2)`` being the axial vector ``a``. An elastic tensor is a
symmetric bilinear form on symmetric tensors: in the basis above (trace | l=2) it is M = [[m, b], [b, Q]], which is ``0e``
(m), ``2e`` (sqrt(2) b) and the symmetric square Q of l=2, ``0e + 2e + 4e``; in all ``2x0e+2x2e+4e``, and norms are kept
again."""

from __future__ import annotations

import math
from functools import lru_cache

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


def _tables(irreps: str) -> tuple[Tensor, ...]:
    match irreps:
        case "0e+2e":
            return (SYMMETRIC_BASIS,)
        case "0e+1e+2e":
            return (FULL_BASIS,)
    return _elastic_basis()


def _beside(values: Tensor, irreps: str) -> tuple[Tensor, ...]:
    """The tables of ``irreps`` in the precision and on the device of ``values``. A GPU is given them once: a copy waits for it,
    and is refused where its work is recorded."""
    if values.device.type == "cpu" or type(values) is not Tensor:  # tracing has tensors of its own kinds
        return tuple(t.to(values) for t in _tables(irreps))
    return _copied(irreps, values.dtype, values.device)


@lru_cache(maxsize=64)
def _copied(irreps: str, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    with torch.inference_mode(False):
        return tuple(t.to(device, dtype) for t in _tables(irreps))


def to_irreps(values: Tensor, irreps: str) -> Tensor:
    """Cartesian ``[..., *shape]`` to components ``[..., dim]``. ``0e+2e`` has no antisymmetric part; what has no Cartesian form
    is components already."""
    match irreps:
        case "0e" | "0o":
            return values.unsqueeze(-1)
        case "1o" | "1e":
            return values
        case "0e+2e" | "0e+1e+2e":
            return torch.einsum("...ij,kij->...k", values, *_beside(values, irreps))
        case "2x0e+2x2e+4e":
            return _elastic_to_irreps(values, irreps)
    return values


def from_irreps(components: Tensor, irreps: str) -> Tensor:
    """Inverse of :func:`to_irreps`."""
    match irreps:
        case "0e" | "0o":
            return components.squeeze(-1)
        case "1o" | "1e":
            return components
        case "0e+2e" | "0e+1e+2e":
            return torch.einsum("...k,kij->...ij", components, *_beside(components, irreps))
        case "2x0e+2x2e+4e":
            return _elastic_from_irreps(components, irreps)
    return components


# ---------------------------------------------------------------- elastic tensors
@lru_cache(maxsize=1)
def _elastic_basis() -> tuple[Tensor, Tensor, Tensor]:
    """Voigt's 6x6 to M, ``[6, 6]`` P with M = P C P^T, its inverse, and the orthonormal irreps of symmetric 6x6 matrices M,
    ``[21, 6, 6]``."""
    from e3nn.o3 import wigner_3j

    pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    with torch.device("cpu"), torch.inference_mode(False):
        project = torch.stack([SYMMETRIC_BASIS[:, i, j] * (1.0 if i == j else 2.0) for i, j in pairs], dim=1)
        basis = torch.zeros(21, 6, 6, dtype=torch.float64)
        basis[0, 0, 0] = 1.0
        square = {l: wigner_3j(2, 2, l, dtype=torch.float64) * (2 * l + 1) ** 0.5 for l in (0, 2, 4)}
        for l, table in square.items():  # the sign is fixed, whatever version of e3nn made it
            first = table.reshape(-1)[table.reshape(-1).abs() > 1e-6][0]
            square[l] = table * first.sign()
        basis[1, 1:, 1:] = square[0][:, :, 0]
        for m in range(5):
            basis[2 + m, 0, 1 + m] = basis[2 + m, 1 + m, 0] = 0.5**0.5
            basis[7 + m, 1:, 1:] = square[2][:, :, m]
        for m in range(9):
            basis[12 + m, 1:, 1:] = square[4][:, :, m]
        return project, torch.linalg.inv(project), basis


def _elastic_to_irreps(values: Tensor, irreps: str) -> Tensor:
    project, _, basis = _beside(values, irreps)
    matrix = torch.einsum("ai,...ij,bj->...ab", project, values, project)
    return torch.einsum("...ab,kab->...k", matrix, basis)


def _elastic_from_irreps(components: Tensor, irreps: str) -> Tensor:
    _, inverse, basis = _beside(components, irreps)
    matrix = torch.einsum("...k,kab->...ab", components, basis)
    return torch.einsum("ia,...ab,jb->...ij", inverse, matrix, inverse)

"""Potentials and fields of charges and dipoles under an isotropic kernel, by exact sums: over pairs in open space, over wave
vectors where a structure repeats.

    phi_i = sum_j K(r_ij) q_j + sum_j K1(r_ij) (p_j . r_ij),        r_ij = x_i - x_j,  K1 = -K'/r,  K2 = -K1'/r
    E_i   = -grad phi_i = sum_j K1 r_ij q_j - K1 p_j + K2 r_ij (p_j . r_ij)

and, with rho(k) = sum_j (q_j - i k.p_j) exp(-i k.x_j) and f(k^2) the Fourier transform of K,

    phi_i = 1/V sum_k f(k^2) rho(k) exp(i k.x_i),    E_i = -1/V sum_k i k f(k^2) rho(k) exp(i k.x_i)

(Ewald, Ann. Phys. 369, 253 (1921), of which this is the reciprocal half; it is the whole where f decays like a Gaussian). A
charge does not act on itself: K(0) q_i and -K1(0) p_i, which the second sum contains, are taken away. Its own periodic images
do act on it.

Directions that do not repeat get a box so long that images in it lie beyond the kernel's reach; where all points lie in the
plane (or on the line) of the directions that do repeat, the sum runs over that plane's wave vectors and f is the transform in 2
(or 1) dimensions.

Legend: ``N`` points, ``Q`` channels, ``P`` ordered pairs, ``K`` wave vectors. Lattice vectors are rows. Any length unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Kernel(Protocol):
    """An isotropic kernel for each of Q channels, known in both spaces."""

    def radial(self, square_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """K, K1 and K2 at distances squared, ``[P, Q]`` each."""

    def spectrum(self, square_K: Tensor, dims: int) -> Tensor:
        """``[K, Q]`` Fourier transform in ``dims`` dimensions at wave numbers squared; finite at 0."""

    def at_zero(self) -> tuple[Tensor, Tensor]:
        """K(0) and K1(0), ``[Q]`` each."""


@dataclass(frozen=True)
class Sources:
    """Charges ``[N, Q]`` and dipoles ``[N, 3, Q]`` (or None) at ``positions [N, 3]``."""

    positions: Tensor
    charges: Tensor
    dipoles: Tensor | None = None


@dataclass(frozen=True)
class Box:
    """A complete lattice ``cell [3, 3]``; ``flat [3]`` marks the rows along which nothing extends, so only n = 0 counts."""

    cell: Tensor
    flat: tuple[bool, bool, bool]

    @property
    def dims(self) -> int:
        return 3 - sum(self.flat)

    @property
    def measure(self) -> Tensor:
        """Volume, area or length of the periodic cell (flat rows are unit normals)."""
        return torch.linalg.det(self.cell).abs()

    def reciprocal(self) -> Tensor:
        """``[3, 3]`` rows b with a_i . b_j = 2 pi delta_ij."""
        return 2 * math.pi * torch.linalg.inv(self.cell).T


def complete_box(positions_N3: Tensor, cell: Tensor, pbc: Tensor, reach: float, *, flat: bool) -> Box:
    """The lattice of ``cell`` with a row for each direction that ``pbc`` does not repeat.

    The row is ``reach`` longer than the extent of the points, or, with ``flat`` and no extent, a unit normal.
    """
    repeats = [bool(p) for p in pbc]
    if all(repeats):
        return Box(cell, (False, False, False))
    with torch.no_grad():
        basis = torch.linalg.svd(cell * pbc[:, None])[
            2
        ]  # rows: first those that span the lattice, then its complement
        normals = iter(basis[sum(repeats) :])
        rows, is_flat = [], []
        centred = positions_N3 - positions_N3.mean(0)
        size = float(centred.abs().max())
        for repeated in repeats:
            normal = None if repeated else next(normals)
            along = torch.zeros(1) if normal is None else centred @ normal
            extent = float(along.max() - along.min())
            thin = normal is not None and flat and extent <= 1e-9 * max(size, 1e-300)
            is_flat.append(thin)
            rows.append(None if normal is None else normal * (1.0 if thin else extent + reach))
    complete = torch.stack([cell[i] if row is None else row for i, row in enumerate(rows)])
    return Box(complete, (is_flat[0], is_flat[1], is_flat[2]))


def half_lattice(box: Box, longest: float) -> Tensor:
    """``[K, 3]`` integers n with |n b| <= ``longest``: zero first, then one of each pair n and -n."""
    with torch.no_grad():
        cell = box.cell
        axes = []
        for row, flat in zip(cell, box.flat, strict=True):
            most = 0 if flat else math.floor(longest / (2 * math.pi) * float(row.detach().norm()) + 1e-9)
            axes.append(torch.arange(-most, most + 1, dtype=cell.dtype, device=cell.device))
        n = torch.cartesian_prod(axes[0][axes[0] >= 0], *axes[1:])
        half = (n[:, 0] > 0) | ((n[:, 0] == 0) & ((n[:, 1] > 0) | ((n[:, 1] == 0) & (n[:, 2] > 0))))
        inside = (n @ box.reciprocal()).norm(dim=1) <= longest
        return torch.cat([torch.zeros_like(n[:1]), n[half & inside]])


def sum_over_waves(
    sources: Sources, box: Box, kernel: Kernel, longest: float, *, fields: bool
) -> tuple[Tensor, Tensor | None]:
    """Potential ``[N, Q]`` and, if asked, field ``[N, 3, Q]`` of what repeats; wave numbers above ``longest`` are left out."""
    x, q, p = sources.positions, sources.charges, sources.dipoles
    n = half_lattice(box, longest)
    k = n @ box.reciprocal()
    weight = torch.full((len(n), 1), 2.0, dtype=x.dtype, device=x.device)
    weight[0] = 1.0
    weight = weight * kernel.spectrum(k.square().sum(1), box.dims) / box.measure
    phase = x @ k.T
    cosine, sine = torch.cos(phase), torch.sin(phase)
    real, imaginary = cosine.T @ q, -(sine.T @ q)
    num_channels = q.shape[1]
    if p is not None:
        flat = p.reshape(len(p), -1)
        along = lambda wave: torch.einsum("kd,kdq->kq", k, (wave.T @ flat).view(-1, 3, num_channels))  # noqa: E731
        real, imaginary = real - along(sine), imaginary - along(cosine)
    real, imaginary = weight * real, weight * imaginary
    zero, first = kernel.at_zero()
    potential = cosine @ real - sine @ imaginary - zero.to(q) * q
    if not fields:
        return potential, None
    by_k = lambda part: (k.unsqueeze(2) * part.unsqueeze(1)).flatten(1)  # noqa: E731
    field = (sine @ by_k(real) + cosine @ by_k(imaginary)).view(-1, 3, num_channels)
    return potential, field if p is None else field + first.to(p) * p


def all_pairs(graph_index_N: Tensor, counts_G: Tensor, chosen_G: Tensor) -> tuple[Tensor, Tensor]:
    """(receiver, sender) of ordered pairs of different nodes within the chosen graphs; ``graph_index`` does not decrease."""
    first = torch.cumsum(counts_G, 0) - counts_G
    partners = torch.where(chosen_G, counts_G, 0)[graph_index_N]
    receiver = torch.repeat_interleave(partners)
    start = torch.cumsum(partners, 0) - partners
    within = torch.arange(len(receiver), device=receiver.device) - start[receiver]
    sender = first[graph_index_N][receiver] + within
    keep = sender != receiver
    return receiver[keep], sender[keep]


def sum_over_pairs(
    sources: Sources, receiver_P: Tensor, sender_P: Tensor, kernel: Kernel, *, fields: bool
) -> tuple[Tensor, Tensor | None]:
    """Potential ``[N, Q]`` and, if asked, field ``[N, 3, Q]`` in open space."""
    x, q, p = sources.positions, sources.charges, sources.dipoles
    r = x[receiver_P] - x[sender_P]
    k0, k1, k2 = kernel.radial(r.square().sum(1))
    at = q[sender_P]
    potential, radial = k0 * at, k1 * at
    if p is not None:
        dipole = p[sender_P]
        along = (r.unsqueeze(2) * dipole).sum(1)
        potential, radial = potential + k1 * along, radial + k2 * along
    summed = torch.zeros_like(q).index_add(0, receiver_P, potential)
    if not fields:
        return summed, None
    field = r.unsqueeze(2) * radial.unsqueeze(1)
    if p is not None:
        field = field - k1.unsqueeze(1) * dipole
    return summed, q.new_zeros(len(q), 3, q.shape[1]).index_add(0, receiver_P, field)

"""Spectral operators on the regular grid of any periodic lattice: exact on resolved modes, however the box is turned.

Derivatives are Cartesian, d f / dx_a = sum over k of i k_a f_k exp(i k.x), k = 2 pi n . inv(cell)^T: a rotated or mirrored box
has rotated or mirrored derivatives to rounding. A lattice of one or two vectors describes fields that do not depend on what is
perpendicular to them. As in ``spectral.py`` the Nyquist modes of even grids have no first derivative.
Reference: Canuto et al., *Spectral Methods*, Springer 2006.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class PeriodicCell:
    """``shape`` points in C order along ``cell [d, 3]`` (rows, d = 1 to 3): point (i, j) lies at i/n1 a1 + j/n2 a2 + offset.

    Fields are flat, ``[..., N]``, vectors ``[3, ..., N]``.
    """

    def __init__(self, shape: tuple[int, ...], cell: Tensor):
        self.shape = shape
        axes = []
        for n in shape:
            index = torch.fft.fftfreq(n, 1 / n, dtype=cell.dtype, device=cell.device)
            axes.append(index)
        index = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        odd = torch.stack(
            [
                torch.where(index[a].abs() * 2 == n, 0.0, index[a])  # no real first derivative
                for a, n in enumerate(shape)
            ]
        )
        reciprocal = 2 * math.pi * torch.linalg.pinv(cell)  # [3, d]: columns b with a_i . b_j = 2 pi delta_ij
        self.k = torch.einsum("cd,d...->c...", reciprocal, odd)
        """``[3, *shape]`` wave vectors of first derivatives."""
        self.k_squared = torch.einsum("cd,d...->c...", reciprocal, index).square().sum(0)

    def forward(self, field: Tensor) -> Tensor:
        grid = field.reshape(*field.shape[:-1], *self.shape)
        return torch.fft.fftn(grid, dim=tuple(range(-len(self.shape), 0)))

    def inverse(self, modes: Tensor) -> Tensor:
        grid = torch.fft.ifftn(modes, dim=tuple(range(-len(self.shape), 0))).real
        return grid.reshape(*grid.shape[: grid.dim() - len(self.shape)], -1)

    def gradient(self, field: Tensor) -> Tensor:
        """``[3, ..., N]``."""
        modes = self.forward(field)
        return torch.stack([self.inverse(1j * k * modes) for k in self.k])

    def divergence(self, vector: Tensor) -> Tensor:
        """``[..., N]`` of ``[3, ..., N]``."""
        modes = [1j * k * self.forward(v) for k, v in zip(self.k, vector, strict=True)]
        return self.inverse(torch.stack(modes).sum(0))

    def laplacian(self, field: Tensor) -> Tensor:
        return self.inverse(-self.k_squared * self.forward(field))

    def mean(self, field: Tensor) -> Tensor:
        return field.mean(-1)

    def project(self, vector: Tensor) -> Tensor:
        """``[3, N]`` without its divergence (Leray projection), mode by mode."""
        modes = self.forward(vector)
        square = self.k.square().sum(0)
        along = (self.k * modes).sum(0) / torch.where(square == 0, 1.0, square)
        return self.inverse(modes - self.k * along)

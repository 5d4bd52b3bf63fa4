"""Coulomb's law between Gaussian charges of one width, as a kernel of ``lattice_sums.py``: E = sum_i q_i phi_i / 2.

    K(r) = k erf(r / 2s) / r,        f(k^2) = 4 pi k exp(-s^2 k^2) / k^2,        k = e^2 / (4 pi eps0)

with s the standard deviation of each charge. Smooth charges need no split into real and reciprocal space; beyond r = 12 s they
are points to 1e-16. f(0) = 0: a uniform background neutralises a charged cell, with tin foil around the crystal, as in
``ewald.py`` (Ewald, Ann. Phys. 369, 253 (1921); Makov and Payne, Phys. Rev. B 51, 4014 (1995)). Units: e, angstrom, eV.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .coulomb import COULOMB


class SmearedCoulomb:
    """The kernel ``COULOMB erf(r / 2s) / r`` in eV/e^2, one channel; s in angstrom."""

    def __init__(self, width: float):
        self.width = width

    def radial(self, square_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """K, K1 = -K'/r and K2 = -K1'/r, ``[P, 1]`` each; r > 0."""
        r2 = square_P.unsqueeze(1)
        r, a = r2.sqrt(), 1 / (2 * self.width)
        gauss = 2 * a / math.sqrt(math.pi) * torch.exp(-a * a * r2)
        k0 = torch.erf(a * r) / r
        k1 = (k0 - gauss) / r2
        k2 = (3 * k1 - 2 * a * a * gauss) / r2
        return COULOMB * k0, COULOMB * k1, COULOMB * k2

    def spectrum(self, square_K: Tensor, dims: int) -> Tensor:
        """``[K, 1]`` in eV angstrom^3 / e^2."""
        if dims != 3:
            raise ValueError(f"Coulomb's law in {dims} periodic directions is not covered, expected 3")
        zero = square_K == 0
        k2 = torch.where(zero, 1.0, square_K)
        s2 = self.width**2
        value = torch.where(zero, 0.0, torch.exp(-s2 * k2) / k2)
        return (4 * math.pi * COULOMB * value).unsqueeze(1)

    def at_zero(self) -> tuple[Tensor, Tensor]:
        """K(0) and K1(0), ``[1]`` each."""
        a = 1 / (2 * self.width)
        k0 = 2 * a / math.sqrt(math.pi)
        zero = torch.tensor([[COULOMB * k0], [COULOMB * k0 * 2 * a * a / 3]], dtype=torch.float64)
        return zero[0], zero[1]

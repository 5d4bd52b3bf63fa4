"""Coulomb's law for charges in open space.

    E = k sum_{i<j} q_i q_j f(r_ij) / r_ij,        k = e^2 / (4 pi eps0) = 14.399645 eV angstrom / e^2 (CODATA 2018)

Point charges have f = 1. Gaussian charges of standard deviations s_i, s_j have f = erf(r / sqrt(2 (s_i^2 + s_j^2))), which
stays finite at contact (e.g. Rappe and Goddard, J. Phys. Chem. 95, 3358 (1991) for why charges of atoms are smeared). The
interaction of a Gaussian with itself, k q^2 / (2 s sqrt(pi)), is no interaction between atoms and is added only where asked.

Units: charges e, lengths angstrom, energy eV, potential V. Crystals: ``ewald.py``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .pairs import PairEdges

COULOMB = 14.39964547842567
"""e^2 / (4 pi eps0) in eV angstrom: CODATA 2018, e = 1.602176634e-19 C and eps0 = 8.8541878128e-12 F/m."""


def coulomb_kernel(pairs: PairEdges, width: Tensor | None = None) -> Tensor:
    """``[E]`` potential energy of two unit charges in eV: point charges, or Gaussian ones of standard deviation ``width [N]``."""
    distance = pairs.distances()
    if width is None:
        return COULOMB / distance
    spread = (2 * (width[pairs.sender] ** 2 + width[pairs.receiver] ** 2)).sqrt()
    return COULOMB * torch.erf(distance / spread) / distance


def coulomb_energy(pairs: PairEdges, charges: Tensor, width: Tensor | None = None) -> Tensor:
    """``[G]`` eV, summed over the given pairs (all pairs of each molecule for the whole law). charges ``[N]`` in e."""
    return pairs.sum_pairs(charges[pairs.sender] * charges[pairs.receiver] * coulomb_kernel(pairs, width))


def self_energy(pairs: PairEdges, charges: Tensor, width: Tensor) -> Tensor:
    """``[G]`` eV, the Coulomb energy of each Gaussian charge within itself, k q^2 / (2 s sqrt(pi))."""
    return pairs.sum_atoms(COULOMB / (2 * math.sqrt(math.pi)) * charges**2 / width)

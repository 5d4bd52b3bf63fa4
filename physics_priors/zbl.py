"""Ziegler-Biersack-Littmark: the repulsion of screened nuclei, for atoms far closer than any data set has them.

    E = sum_{i<j} k Z_i Z_j / r phi(r / a) s(r),      a = 0.8854 a0 / (Z_i^0.23 + Z_j^0.23),
    phi(x) = 0.18175 e^(-3.19980 x) + 0.50986 e^(-0.94229 x) + 0.28022 e^(-0.40290 x) + 0.02817 e^(-0.20162 x)

(Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Solids, Pergamon (1985), with the coefficients as
LAMMPS has them, https://docs.lammps.org/pair_zbl.html.) Fitted to pairs of neutral atoms; it knows no bonds. So, where the paper
goes on, ``s`` switches it off from 0.4 to 0.8 of the sum of two covalent radii: below the length of nearly every bond. There
it explains a part of the labels' forces; reaching to the whole sum it would add more than it explains
(``benchmarks/zbl_remainder.py``).

Units: lengths angstrom, energy eV.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .coulomb import COULOMB
from .pairs import PairEdges, switch

BOHR = 0.529177210903
"""angstrom (CODATA 2018)."""
AMPLITUDES = (0.18175, 0.50986, 0.28022, 0.02817)
EXPONENTS = (3.19980, 0.94229, 0.40290, 0.20162)


END = 0.8
"""Where the repulsion ends, in sums of two covalent radii; it is whole up to half of that."""


def screening(x: Tensor) -> Tensor:
    """phi of distances in units of the screening length."""
    return torch.stack([a * torch.exp(-b * x) for a, b in zip(AMPLITUDES, EXPONENTS, strict=True)]).sum(0)


def zbl_pair(distance: Tensor, number_i: Tensor, number_j: Tensor) -> Tensor:
    """Energy of pairs in eV, without the switch; any shape."""
    z_i, z_j = number_i.to(distance), number_j.to(distance)
    length = 0.8854 * BOHR / (z_i**0.23 + z_j**0.23)
    return COULOMB * z_i * z_j / distance * screening(distance / length)


def zbl(
    pairs: PairEdges, radii: Tensor | None = None, cutoff: float = float("inf"), end: float = END
) -> Tensor:
    """``[G]`` eV. radii ``[S]`` covalent radii by atomic number: pairs end smoothly at ``end`` times the sum of two of them, or
    at ``cutoff`` where that is shorter; None: no end."""
    distance = pairs.distances()
    energy = zbl_pair(distance, pairs.species[pairs.sender], pairs.species[pairs.receiver])
    if radii is not None:
        radius = radii.to(distance)[pairs.species]
        last = (end * (radius[pairs.sender] + radius[pairs.receiver])).clamp_max(cutoff)
        energy = energy * switch(distance / last, 0.5, 1.0)
    return pairs.sum_pairs(energy)

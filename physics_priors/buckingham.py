"""Buckingham pairs: exponential repulsion and dispersion r^-6.

    E = sum_{i<j} [A exp(-r / rho) - C / r^6] s(r)

(Buckingham, Proc. R. Soc. A 168, 264 (1938).) Below some distance the r^-6 wins and the energy falls without bound: no
dynamics should reach it; add ``zbl.py`` where it might. ``s`` is the common quintic switch, which the original lacks.
Units: A eV, rho angstrom, C eV angstrom^6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pairs import PairEdges, of_pair, switch


def buckingham(
    pairs: PairEdges,
    strength: Tensor | float,
    range_: Tensor | float,
    dispersion: Tensor | float,
    cutoff: float | None = None,
) -> Tensor:
    """``[G]`` eV. ``strength`` A, ``range_`` rho and ``dispersion`` C are scalars or tables ``[S, S]`` by atomic number; switched
    off over the last fifth of ``cutoff``."""
    distance = pairs.distances()
    repulsion = of_pair(strength, pairs) * torch.exp(-distance / of_pair(range_, pairs))
    energy = repulsion - of_pair(dispersion, pairs) / distance**6
    if cutoff is not None:
        energy = energy * switch(distance, 0.8 * cutoff, cutoff)
    return pairs.sum_pairs(energy)

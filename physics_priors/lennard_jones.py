"""Lennard-Jones pairs: repulsion r^-12 and dispersion r^-6.

    E = sum_{i<j} 4 epsilon [(sigma/r)^12 - (sigma/r)^6] s(r)

(Jones, Proc. R. Soc. A 106, 463 (1924).) Well of depth epsilon at 2^(1/6) sigma. ``s`` is the common quintic switch, which the
original lacks; without a cutoff the law is that of the paper. Units: epsilon eV, sigma angstrom.
"""

from __future__ import annotations

from torch import Tensor

from .pairs import PairEdges, of_pair, switch


def lennard_jones(
    pairs: PairEdges, epsilon: Tensor | float, sigma: Tensor | float, cutoff: float | None = None
) -> Tensor:
    """``[G]`` eV. Constants are scalars or tables ``[S, S]`` by atomic number; switched off over the last fifth of ``cutoff``."""
    distance = pairs.distances()
    sixth = (of_pair(sigma, pairs) / distance) ** 6
    energy = 4 * of_pair(epsilon, pairs) * (sixth * sixth - sixth)
    if cutoff is not None:
        energy = energy * switch(distance, 0.8 * cutoff, cutoff)
    return pairs.sum_pairs(energy)

"""Morse bonds: an anharmonic well that breaks.

    E = sum_{i<j} D [(1 - exp(-a (r - r0)))^2 - 1] s(r)

(Morse, Phys. Rev. 34, 57 (1929), shifted by -D so that separated atoms have energy 0.) Depth D, harmonic force constant 2 D a^2.
``s`` is the common quintic switch, which the original lacks. Units: D eV, a 1/angstrom, r0 angstrom.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pairs import PairEdges, of_pair, switch


def morse(
    pairs: PairEdges,
    depth: Tensor | float,
    steepness: Tensor | float,
    length: Tensor | float,
    cutoff: float | None = None,
) -> Tensor:
    """``[G]`` eV. Constants are scalars or tables ``[S, S]`` by atomic number; switched off over the last fifth of ``cutoff``."""
    distance = pairs.distances()
    decay = torch.exp(-of_pair(steepness, pairs) * (distance - of_pair(length, pairs)))
    energy = of_pair(depth, pairs) * (decay * decay - 2 * decay)
    if cutoff is not None:
        energy = energy * switch(distance, 0.8 * cutoff, cutoff)
    return pairs.sum_pairs(energy)

"""Stillinger-Weber: bonds and the angles between them, for tetrahedral semiconductors and their alloys.

    E = sum_{i<j} e_ij A_ij [B_ij (s_ij / r)^4 - 1] h_ij
        + sum_i sum_{j<k} lambda sqrt(e_ij e_ik) (cos theta_jik + 1/3)^2 h_ij^g h_ik^g
    h_ij = exp(s_ij / (r_ij - a_ij s_ij)), 0 beyond a_ij s_ij

(Stillinger and Weber, Phys. Rev. B 31, 5262 (1985); the geometric mean for alloys as in Zhou et al., Phys. Rev. B 88, 085309
(2013)). Everything ends smoothly at r = a s. Units: e in eV, s in angstrom, the rest pure numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .pairs import PairEdges


@dataclass(frozen=True)
class BondConstants:
    """Tables ``[S, S]`` by the two atomic numbers, symmetric: strength e, length s, reach a, A and B."""

    strength: Tensor
    length: Tensor
    reach: Tensor
    a: Tensor
    b: Tensor

    def cutoff(self) -> float:
        """The longest bond, angstrom."""
        return float(torch.nan_to_num(self.reach * self.length, nan=0.0).max())


def stillinger_weber(
    pairs: PairEdges, constants: BondConstants, angle_strength: float, angle_decay: float
) -> Tensor:
    """``[G]`` eV; ``angle_strength`` lambda, ``angle_decay`` g. ``pairs`` must reach ``constants.cutoff()``."""
    vectors = pairs.vectors()
    distance = vectors.norm(dim=1)
    at = (pairs.species[pairs.receiver], pairs.species[pairs.sender])
    strength, length, reach, a, b = (
        t[at] for t in (constants.strength, constants.length, constants.reach, constants.a, constants.b)
    )
    near = torch.nonzero(distance < reach * length - 1e-9)[:, 0]
    distance, vectors, strength, length = distance[near], vectors[near], strength[near], length[near]
    tail = length / (distance - reach[near] * length)
    bond = strength * a[near] * (b[near] * (length / distance) ** 4 - 1) * torch.exp(tail)
    energy = distance.new_zeros(pairs.num_graphs).index_add(0, pairs.edge_graph[near], bond) / 2
    first, second = _bond_pairs(pairs.receiver[near])
    cosine = (vectors[first] * vectors[second]).sum(1) / (distance[first] * distance[second])
    weight = strength.sqrt() * torch.exp(angle_decay * tail)
    angle = angle_strength * weight[first] * weight[second] * (cosine + 1 / 3) ** 2
    return energy.index_add(0, pairs.edge_graph[near[first]], angle)


def _bond_pairs(centre: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs of bonds of one atom, each once: indices into the bonds whose atom ``centre [B]`` names."""
    order = torch.argsort(centre, stable=True)
    counts = torch.bincount(centre)
    starts = torch.cumsum(counts, 0) - counts
    place = (
        torch.arange(len(centre), device=centre.device) - starts[centre[order]]
    )  # 0, 1, ... within an atom
    # the bond at place p is paired with the p bonds before it
    second = torch.repeat_interleave(place)
    within = torch.arange(len(second), device=centre.device) - torch.repeat_interleave(
        torch.cumsum(place, 0) - place, place
    )
    first = starts[centre[order]][second] + within
    return order[first], order[second]

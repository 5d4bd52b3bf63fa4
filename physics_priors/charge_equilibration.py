"""Charge equilibration: the charges that minimise the electrostatic energy at a total charge fixed exactly.

    E(q) = sum_i (chi_i q_i + J_i q_i^2 / 2) + k/2 sum_ij q_i q_j A_ij - sum_i q_i F . r_i,      sum_{i in g} q_i = Q_g

(Rappe and Goddard, J. Phys. Chem. 95, 3358 (1991), with the Gaussian charges of Ko et al., Nat. Commun. 12, 398 (2021).) A is the
matrix of ``ewald.py`` for Gaussians with their self-interaction added, so it is positive, and hardness J >= 0 makes the minimum
unique. With a Lagrange multiplier the conditions are one linear system for each graph,

    [ H  1 ] [ q      ]   [ -chi ]
    [ 1' 0 ] [ lambda ] = [  Q   ],       H = diag(J) + A,

solved by Cholesky factors of H. The energy is stationary in q, so forces are right to first order even with q held fixed; here
q depends on everything through the solution, and higher derivatives (training on forces, polarisability) are right too.

Where it departs from chemistry: electronegativity is equal everywhere, at any distance. Two different neutral fragments far apart
still exchange charge, and a pair of ions does not break into the neutral atoms it should: **it is not size consistent** across
fragments (Chen and Martinez, Chem. Phys. Lett. 438, 315 (2007)). ``fragment [N]``, in place of the graph, fixes the charge of
each fragment instead, and then fragments far apart add up exactly.

Units: chi eV/e (V), J eV/e^2, widths angstrom, charges e, field V/angstrom.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .coulomb import COULOMB
from .ewald import ewald_matrix, places
from .pairs import PairEdges


@dataclass(frozen=True)
class Equilibrium:
    """``energy [G]`` eV, ``charges [N]`` e and ``potential`` -lambda = dE/dQ in eV/e, the electronegativity that the atoms then
    share: ``[G]``, or ``[fragments]``."""

    energy: Tensor
    charges: Tensor
    potential: Tensor


def equilibrate(
    pairs: PairEdges,
    electronegativity: Tensor,
    hardness: Tensor,
    width: Tensor,
    total_charge: Tensor,
    cutoff: float,
    *,
    field: Tensor | None = None,
    fragment: Tensor | None = None,
    accuracy: float = 1e-10,
) -> Equilibrium:
    """Minimise E(q). electronegativity, hardness, width ``[N]``; total_charge ``[G]``; field ``[G, 3]`` for molecules only.

    pairs and cutoff as ``ewald_energy`` wants them. ``fragment [N]`` numbers the parts of which each keeps a charge of its own;
    then total_charge is ``[fragments]``; fragments are numbered graph by graph and lie in one graph each. The time is that of a
    dense solve, m^3 for the largest graph of m atoms. ``torch.linalg.LinAlgError`` where H is not positive (hardness below 0).
    """
    place, size = places(pairs.graph_index, pairs.num_graphs)
    at = (pairs.graph_index, place)
    matrix = ewald_matrix(pairs, cutoff, width, accuracy=accuracy)
    own = hardness + COULOMB / (math.sqrt(math.pi) * width)
    chi = electronegativity
    if field is not None:
        if bool((torch.linalg.det(pairs.cell.detach()) != 0).any()):
            raise ValueError("a uniform field was put on a graph with a cell, expected molecules only")
        chi = chi - (pairs.positions * field[pairs.graph_index]).sum(1)
    matrix = matrix.index_put((*at, place), own, accumulate=True)
    empty = torch.ones_like(matrix[:, :, 0]).index_put(at, torch.zeros_like(chi))
    matrix = matrix + torch.diag_embed(empty)
    part = pairs.graph_index if fragment is None else fragment
    slot, count = _slots(part, pairs.graph_index, pairs.num_graphs)
    sides = matrix.new_zeros(pairs.num_graphs, size, 1 + count)
    sides = sides.index_put((*at, torch.zeros_like(place)), chi)
    member = matrix.new_zeros(pairs.num_graphs, size, count).index_put((*at, slot), torch.ones_like(chi))
    sides = torch.cat([sides[:, :, :1], member], dim=2)
    solved = torch.cholesky_solve(sides, torch.linalg.cholesky(matrix))
    free, response = solved[:, :, :1], solved[:, :, 1:]
    owner = _first_atoms(part, len(total_charge))
    at_part = (pairs.graph_index[owner], slot[owner])
    wanted = matrix.new_zeros(pairs.num_graphs, count).index_put(at_part, total_charge.to(matrix))
    capacity = member.transpose(1, 2) @ response
    unused = (member.sum(1) == 0).to(matrix)
    capacity = capacity + torch.diag_embed(unused)
    shortfall = wanted[:, :, None] + member.transpose(1, 2) @ free
    multiplier = torch.linalg.solve(capacity, shortfall)
    charges = (response @ multiplier - free)[at][:, 0]
    charges = _exact(charges, part, total_charge)
    padded = matrix.new_zeros(pairs.num_graphs, size).index_put(at, charges)
    quadratic = torch.einsum("gi,gij,gj->g", padded, matrix, padded) / 2
    energy = quadratic + pairs.sum_atoms(chi * charges)
    return Equilibrium(energy, charges, multiplier[at_part][:, 0])


def _slots(part: Tensor, graph_index: Tensor, num_graphs: int) -> tuple[Tensor, int]:
    """``[N]`` the number of each atom's fragment within its graph, and the largest count of fragments in a graph."""
    first = torch.full((num_graphs,), int(part.max()) + 1, dtype=torch.int64, device=part.device)
    first = first.scatter_reduce(0, graph_index, part, "amin")
    slot = part - first[graph_index]
    return slot, int(slot.max()) + 1


def _first_atoms(part: Tensor, count: int) -> Tensor:
    """``[count]`` the first atom of each fragment."""
    assert int(part.max()) < count and len(torch.unique(part)) == count, "one total charge per fragment"
    atoms = torch.arange(len(part), device=part.device)
    return torch.full((count,), len(part), device=part.device).scatter_reduce(0, part, atoms, "amin")


def _exact(charges: Tensor, part: Tensor, total_charge: Tensor) -> Tensor:
    """The rest that rounding leaves, some 1e-16, spread evenly: every sum is the total charge to the last digit or so."""
    sums = torch.zeros_like(total_charge.to(charges)).index_add(0, part, charges)
    count = torch.zeros_like(sums).index_add(0, part, torch.ones_like(charges))
    return charges + ((total_charge.to(charges) - sums) / count.clamp_min(1))[part]

"""Particle-mesh Ewald: the sum of ``ewald.py`` for large cells, by fast Fourier transforms in N log N.

The smooth part of the sum is interpolated on a mesh (Darden, York and Pedersen, J. Chem. Phys. 98, 10089 (1993)), here by
torch-pme (Loche et al., J. Chem. Phys. 162, 142501 (2025)) with Lagrange polynomials over 7 points. Those are not smooth where
an atom passes from one set of points to the next, and the mesh is not invariant: energies and forces step, and change under
translation and rotation, by the interpolation error, which falls steeply with the spacing. Everything else (background,
Gaussians, units) is as in ``ewald.py``, to which it converges. torch-pme's P3M would be smooth, but its error falls only as
spacing^2 in cells that are not orthogonal (version 0.5).

Needs the extra ``atomfield[longrange]`` (torch-pme, BSD-3-Clause).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .coulomb import COULOMB
from .pairs import PairEdges

ORDER = 7
"""Points of the polynomial along each axis, the most that torch-pme offers."""


def pme_energy(
    pairs: PairEdges,
    charges: Tensor,
    cutoff: float,
    width: Tensor | None = None,
    *,
    spacing: float = 0.5,
    accuracy: float = 1e-8,
) -> Tensor:
    """``[G]`` eV of point or Gaussian charges ``[N]``, as ``ewald_energy``, on a mesh of ``spacing`` angstrom or finer.

    ``ValueError`` where a graph has no cell, ``ImportError`` without torch-pme.
    """
    if bool((torch.linalg.det(pairs.cell.detach()) == 0).any()):
        raise ValueError("a graph has no cell, expected crystals only; ewald_energy takes molecules too")
    smearing = cutoff / math.sqrt(-2 * math.log(accuracy))
    calculator = _calculator(smearing, spacing, pairs.positions)
    distance, pair_graph = pairs.distances(), pairs.edge_graph
    energies = []
    for graph in range(pairs.num_graphs):
        nodes = torch.nonzero(pairs.graph_index == graph)[:, 0]
        edges = torch.nonzero(pair_graph == graph)[:, 0]
        index = torch.stack([pairs.receiver[edges], pairs.sender[edges]], dim=1) - nodes[0]
        q = charges[nodes, None]
        potential = calculator(q, pairs.cell[graph], pairs.positions[nodes], index, distance[edges])
        energies.append((q * potential).sum())
    total = COULOMB * torch.stack(energies)
    return total if width is None else total + _smeared(pairs, charges, distance, width)


def _smeared(pairs: PairEdges, charges: Tensor, distance: Tensor, width: Tensor) -> Tensor:
    """What Gaussians of ``width`` change: erfc between near pairs and the mean of that potential, see ``ewald.py``."""
    spread = (2 * (width[pairs.sender] ** 2 + width[pairs.receiver] ** 2)).sqrt()
    near = -COULOMB * torch.erfc(distance / spread) / distance
    volume = torch.linalg.det(pairs.cell).abs()
    mean = 2 * COULOMB * math.pi / volume * pairs.sum_atoms(charges) * pairs.sum_atoms(charges * width**2)
    return pairs.sum_pairs(charges[pairs.sender] * charges[pairs.receiver] * near) + mean


def _calculator(smearing: float, spacing: float, like: Tensor) -> torch.nn.Module:
    try:
        import torchpme
    except ImportError as error:
        raise ImportError(
            "particle-mesh Ewald needs torch-pme: pip install 'atomfield[longrange]'"
        ) from error
    potential = torchpme.CoulombPotential(smearing=smearing)
    calculator = torchpme.PMECalculator(
        potential, mesh_spacing=spacing, interpolation_nodes=ORDER, full_neighbor_list=True
    )
    return calculator.to(device=like.device, dtype=like.dtype)

"""Charges that add up exactly, and the Coulomb energy between them.

``electrostatics_charges: bonds``

    q_i = Q w_i / sum_graph w + sum_edges t_ij,      t_ij = w_i w_j u(r_ij) (chi_j - chi_i) / sqrt(average neighbours)

chi (in e) and w > 0 are read off each node, u is the envelope of the network's edges. t is antisymmetric, so charge only flows
between neighbours: what is not connected keeps its own total, and a neutral fragment far away changes no charge. The transfer is
the first order of bond-charge increments. Only the charge Q of the whole graph is shared out without regard to distance, by w; an
unknown Q counts as 0. Two ions beyond the cutoff of a neutral pair have no charge.

``electrostatics_charges: atoms``

    q_i = chi_i + w_i / sum_graph w (Q - sum_graph chi)

(neutral charge equilibration of Zubatyuk et al., Nat. Commun. 12, 4870 (2021)). Every atom brings the charge that it has learned
for its element and neighbours, so ions stay ions at any distance. The price: what is missing to Q is shared by the whole graph,
so a fragment far away changes charges, unless those it brings add up. That is learned, and not exact.

The energy is that of Gaussian charges of one width, ``physics_priors/smeared_coulomb.py``: beyond a dozen angstrom exactly
Coulomb's law, so fragments that are far apart are left with the multipole energy of these charges. Close by the network learns
the difference.

Legend: ``N`` nodes, ``E`` edges, ``G`` graphs. Units: e, angstrom, eV.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import GraphBatch
from atomfield.physics_priors.lattice_sums import Sources
from atomfield.physics_priors.smeared_coulomb import SmearedCoulomb

from .config import NetworkConfig
from .long_range import convolve
from .radial import polynomial_envelope

CHARGE_WIDTH = 1.0
"""Standard deviation of each charge in angstrom."""


def conserved_charges(
    chi_N: Tensor, softness_N: Tensor, batch: GraphBatch, vector_E3: Tensor, config: NetworkConfig
) -> Tensor:
    """``[N]`` e, float64, whose sum over each graph is its total charge. chi ``[N]`` in e; softness ``[N]``: any real numbers, w
    is their softplus; vector ``[E, 3]`` angstrom."""
    chi, w = chi_N.double(), F.softplus(softness_N.double())
    if config.electrostatics_charges == "atoms":
        return chi + _missing(chi, w, batch)
    return _flown(chi, w, batch, vector_E3, config) + _missing(torch.zeros_like(chi), w, batch)


def _flown(chi: Tensor, w: Tensor, batch: GraphBatch, vector_E3: Tensor, config: NetworkConfig) -> Tensor:
    """``[N]`` e: what has flowed between neighbours; adds up to 0 in each graph. chi ``[N]`` in e."""
    sender, receiver = batch.edge_index
    envelope = polynomial_envelope(vector_E3.square().sum(1).sqrt(), config.cutoff)
    flow = w[receiver] * w[sender] * envelope * (chi[sender] - chi[receiver])
    return torch.zeros_like(chi).index_add(0, receiver, flow / math.sqrt(config.average_neighbors))


def _missing(brought_N: Tensor, w_N: Tensor, batch: GraphBatch) -> Tensor:
    """``[N]`` e: what the charges ``brought_N`` of each graph lack of its total, shared out by ``w_N``. Where fragments are known
    (``fragment_charge``), those that are neutral lack of 0 and the others of the total, unless all are neutral."""
    total = batch.conditions.get("charge", brought_N.new_zeros(batch.num_graphs))
    total, part = torch.nan_to_num(total.double()), batch.graph_index
    own = batch.quantities.get("fragment_charge")
    if own is not None:
        charged = torch.zeros_like(total).index_add(0, part, (own != 0).to(total)) > 0
        part = 2 * part + (own == 0)
        total = torch.stack([total, torch.where(charged, 0.0, total)], dim=1).flatten()
    share = w_N / torch.zeros_like(total).index_add(0, part, w_N)[part]
    return share * total.index_add(0, part, -brought_N)[part]


def coulomb_energy(
    positions: Tensor, cell: Tensor, charges_N: Tensor, batch: GraphBatch, config: NetworkConfig
) -> Tensor:
    """``[G]`` eV of molecules and of crystals with three periodic directions; others are refused."""
    directions = batch.pbc.sum(1)
    odd = torch.nonzero((directions != 0) & (directions != 3))[:, 0].tolist()
    if odd:
        raise InputError(
            f"{int(directions[odd[0]])} periodic directions, expected 0 or 3 for a network with electrostatics: slabs and "
            "wires need boundary conditions that are not implemented; give the cell vacuum and make all three directions "
            "periodic",
            batch.provenance[odd[0]] if batch.provenance else None,
        )
    potential, _ = convolve(
        Sources(positions.double(), charges_N.unsqueeze(1)), batch, cell.double(), SmearedCoulomb(CHARGE_WIDTH),
        smallest=math.sqrt(2) * CHARGE_WIDTH, reach=None, route=config.long_range_route, fields=False,
    )  # fmt: skip
    energy = charges_N * potential[:, 0] / 2
    return energy.new_zeros(batch.num_graphs).index_add(0, batch.graph_index, energy)

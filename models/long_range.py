"""Long range between layers: charges and dipoles read off the features, convolved with a learned isotropic kernel, added back.

    q_i, p_i = linear(features, l = 0 and 1);   phi, E = sums of physics_priors/lattice_sums.py;   features += linear(phi, E)

The kernel of each channel is a mixture of Gaussians of learned widths s and amplitudes a of either sign, one set of parameters
for both spaces:

    K(r) = sum_s a_s (s0/s) exp(-r^2 / 2 s^2),      f(k^2) = sum_s a_s (s0/s) (2 pi s^2)^(d/2) exp(-s^2 k^2 / 2)

Equal amplitudes at widths in a geometric row follow 1/r between the smallest and the largest (the u-series of Predescu et al.,
J. Chem. Phys. 152, 084113 (2020)); falling ones follow a screened law. Gaussians have no singularity, exist at k = 0 and reach
7.5 s at most (7e-13), so sums converge absolutely: energies of crystals stay extensive, and slabs and wires need no correction.
Exact Coulomb tails are the business of ``electrostatics.py``.

Points of a field count by their quadrature weight, in units of the spacing of the points: refining a mesh at fixed ``spacing``
of the record leaves the potential as it is, up to the quadrature error.

Routes: exact sums over pairs (open) or wave vectors (periodic in 1 to 3 directions), and a mesh, ``mesh.py``, for what is too
large.

Legend: ``N`` nodes, ``G`` graphs, ``Q`` channels of charges, ``S`` widths, ``M`` components, ``K`` channels, ``C`` natural ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atomfield.data.graph import GraphBatch
from atomfield.physics_priors.lattice_sums import (
    Box,
    Kernel,
    Sources,
    all_pairs,
    complete_box,
    sum_over_pairs,
    sum_over_waves,
)

from .config import NetworkConfig
from .layers import BOUND_EPS, EquivariantNorm
from .mesh import sum_over_mesh

Route = Literal["auto", "direct", "mesh"]

REACH = 7.5
"""In widths: exp(-7.5^2 / 2) = 6e-13, in real space and, over the smallest width, in k."""
MESH_PER_WIDTH = 0.5
"""Default mesh spacing over the smallest width; ``tests/models/test_long_range.py`` publishes the error."""
MESH_REACH = 5.0
"""In widths, where open directions of a mesh get vacuum: exp(-5^2 / 2) = 4e-6 is below the error of the mesh."""
DIRECT_PAIRS = 4_000_000
"""Most pairs of a graph in open space, or points times wave vectors, that ``auto`` sums directly."""


@dataclass(frozen=True)
class Space:
    """Where the nodes are, in the length unit of the network: positions ``[N, 3]``, cell ``[G, 3, 3]`` and, for fields, weights
    ``[N]`` and the unit ``[G]`` itself (network lengths in one length of the record)."""

    positions: Tensor
    cell: Tensor
    weight: Tensor | None = None
    unit: Tensor | float = 1.0

    @classmethod
    def of_field(cls, batch: GraphBatch, unit_G: Tensor) -> Space:
        """``unit_G``: network length units per length unit of the record. Weights are volumes in the network's unit, over
        ``field_spacing``^d where the record has no volumes (all are 1)."""
        unit_N = unit_G[batch.graph_index]
        positions = batch.positions * unit_N[:, None]
        weight = torch.empty_like(batch.volume)
        for graph in range(batch.num_graphs):
            nodes = batch.graph_index == graph
            dims = _dimensions(positions[nodes])
            volume = batch.volume[nodes]
            if bool((volume == 1).all()):
                volume = torch.full_like(volume, float(batch.spacing[graph]) ** dims)
            weight[nodes] = volume * unit_G[graph] ** dims
        return cls(positions, batch.cell * unit_G[:, None, None], weight, unit_G)


def _dimensions(positions_N3: Tensor) -> int:
    """Of the line, plane or space that the points fill; at least 1."""
    centred = positions_N3 - positions_N3.mean(0)
    size = torch.linalg.svdvals(centred)
    return max(1, int((size > 1e-6 * size[0]).sum()))


@dataclass(frozen=True)
class GaussianMixture:
    """``K(r) = sum_s amplitude[q, s] exp(-r^2 / 2 width[s]^2)``; float64."""

    width_S: Tensor
    amplitude_QS: Tensor

    def radial(self, square_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inverse = self.width_S**-2
        gauss = torch.exp(-0.5 * square_P.unsqueeze(1) * inverse)
        mixed = [gauss @ (self.amplitude_QS * inverse**n).T for n in range(3)]
        return mixed[0], mixed[1], mixed[2]

    def spectrum(self, square_K: Tensor, dims: int) -> Tensor:
        square = self.width_S**2
        gauss = torch.exp(-0.5 * square_K.unsqueeze(1) * square)
        return gauss @ (self.amplitude_QS * (2 * math.pi * square) ** (dims / 2)).T

    def at_zero(self) -> tuple[Tensor, Tensor]:
        return self.amplitude_QS.sum(1), (self.amplitude_QS * self.width_S**-2).sum(1)


class LongRange(nn.Module):
    """Adds what the charges and dipoles of all other nodes of the graph do at each node to its features ``[N, M, K]``."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        c, q = config.channels, config.long_range_channels
        self.lmax, self.width, self.channels = config.lmax, config.width, c
        self.route: Route = config.long_range_route
        self.smallest, self.largest = config.long_range_smallest, config.long_range_largest
        num_widths = config.long_range_widths
        self.norm = EquivariantNorm(config)
        self.charge = nn.Linear(c, q, bias=False)
        place = torch.linspace(-2.0, 2.0, num_widths)
        self.width_logit = nn.Parameter(place)
        self.amplitude = nn.Parameter(torch.randn(q, num_widths) * 0.1 + 1 / num_widths)
        self.potential = nn.Parameter(torch.zeros(q, c))
        """Starts at zero: a network with the switch on begins as the local one."""
        if config.lmax > 0:
            self.dipole = nn.Parameter(torch.randn(c, q) / math.sqrt(c))
            self.field = nn.Parameter(torch.zeros(q, c))
        self.bound = EquivariantNorm(config, BOUND_EPS)

    def kernel(self) -> GaussianMixture:
        """Widths stay between ``smallest`` and ``largest``, which fixes mesh, box and cost; float64, since sums are long."""
        ratio = self.largest / self.smallest
        width = self.smallest * ratio ** torch.sigmoid(self.width_logit.double())
        return GaussianMixture(width, self.amplitude.double() * (self.smallest / width))

    def forward(self, x_NMK: Tensor, batch: GraphBatch, space: Space) -> Tensor:
        c, dtype = self.channels, x_NMK.dtype
        h = self.norm(x_NMK)
        charges = self.charge(h[:, 0, :c]).double()
        dipoles = (h[:, 1:4, :c] @ self.dipole).double() if self.lmax > 0 else None
        if space.weight is not None:
            charges = charges * space.weight[:, None]
            dipoles = None if dipoles is None else dipoles * space.weight[:, None, None]
        sources = Sources(space.positions.double(), charges, dipoles)
        potential, field = convolve(
            sources, batch, space.cell.double(), self.kernel(), smallest=self.smallest,
            reach=REACH * self.largest, route=self.route, fields=self.lmax > 0,
        )  # fmt: skip
        parts = [(potential.to(dtype) @ self.potential).unsqueeze(1)]
        if field is not None:
            parts.append(field.to(dtype) @ self.field)
        added = torch.cat(parts, dim=1)
        missing = (self.lmax + 1) ** 2 - added.shape[1]
        return x_NMK + self.bound(F.pad(added, (0, self.width - c, 0, missing)))


def convolve(
    sources: Sources,
    batch: GraphBatch,
    cell_G33: Tensor,
    kernel: Kernel,
    *,
    smallest: float,
    reach: float | None,
    route: Route,
    fields: bool,
) -> tuple[Tensor, Tensor | None]:
    """Potential ``[N, Q]`` and, if asked, field ``[N, 3, Q]`` of each graph's own sources; each graph goes its own route.

    smallest: width of the narrowest Gaussian in the kernel. reach: where the kernel has died, None for one that never does
    (graphs that do not repeat are then summed over pairs whatever the route).
    """
    counts = batch.nodes_per_graph()
    paired = ~batch.pbc.any(1)
    if route == "mesh" and reach is not None:
        paired = torch.zeros_like(paired)
    elif route == "auto" and reach is not None:
        paired = paired & (counts**2 <= DIRECT_PAIRS)
    receiver, sender = all_pairs(batch.graph_index, counts, paired)
    potential, field = sum_over_pairs(sources, receiver, sender, kernel, fields=fields)
    longest = REACH / smallest
    for graph in torch.nonzero(~paired)[:, 0].tolist():
        nodes = torch.nonzero(batch.graph_index == graph)[:, 0]
        own = Sources(
            sources.positions[nodes],
            sources.charges[nodes],
            None if sources.dipoles is None else sources.dipoles[nodes],
        )
        flat = batch.world == "field"
        lattice, pbc, far = cell_G33[graph], batch.pbc[graph], reach or 0.0
        box = complete_box(own.positions, lattice, pbc, far, flat=flat)
        work = len(nodes) * _num_waves(box, longest)
        if route == "direct" or (route == "auto" and work <= DIRECT_PAIRS):
            phi, e = sum_over_waves(own, box, kernel, longest, fields=fields)
        else:
            box = complete_box(own.positions, lattice, pbc, far * MESH_REACH / REACH, flat=flat)
            phi, e = sum_over_mesh(own, box, kernel, MESH_PER_WIDTH * smallest, fields=fields)
        potential = potential.index_add(0, nodes, phi)
        if field is not None and e is not None:
            field = field.index_add(0, nodes, e)
    return potential, field


def _num_waves(box: Box, longest: float) -> float:
    """About how many wave vectors half of the sphere holds."""
    ball = {0: 1.0, 1: 2 * longest, 2: math.pi * longest**2, 3: 4 / 3 * math.pi * longest**3}[box.dims]
    return ball * float(box.measure.detach()) / (2 * math.pi) ** box.dims / 2 + 1

"""The shape that every interatomic law shares: pairs of atoms in, one energy per graph out.

A law is a plain function ``energy [G] = law(pairs, constants...)``. Its constants are tensors, so an ``nn.Parameter`` in their
place is identified from data by gradient; :func:`derivatives` gives forces and stress of any of them. Everything is
differentiable twice. Laws calculate in the dtype of the positions: float64 wherever the digits matter.

Legend: ``N`` atoms, ``E`` directed pairs, ``G`` graphs, ``S`` species. Units: angstrom, eV, e. Lattice vectors are rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .mechanics import forces_and_stress


@dataclass(frozen=True)
class PairEdges:
    """Atoms and the pairs that interact, each pair in both directions (i, j) and (j, i).

    positions ``[N, 3]``, cell ``[G, 3, 3]`` (zero rows where nothing repeats), species ``[N]`` (atomic numbers), graph_index
    ``[N]`` (not decreasing), sender and receiver ``[E]``, shift ``[E, 3]``: the sender's image in lattice units, of any dtype.
    """

    positions: Tensor
    cell: Tensor
    species: Tensor
    graph_index: Tensor
    sender: Tensor
    receiver: Tensor
    shift: Tensor

    @property
    def num_graphs(self) -> int:
        return self.cell.shape[0]  # no int(...): a tracer keeps the size free

    @property
    def edge_graph(self) -> Tensor:
        """``[E]`` the graph of each pair."""
        return self.graph_index[self.receiver]

    def vectors(self) -> Tensor:
        """``[E, 3]`` from receiver to sender."""
        lattice = torch.einsum("es,esd->ed", self.shift.to(self.positions), self.cell[self.edge_graph])
        return self.positions[self.sender] - self.positions[self.receiver] + lattice

    def distances(self) -> Tensor:
        """``[E]``."""
        return self.vectors().norm(dim=1)

    def sum_atoms(self, values: Tensor) -> Tensor:
        """Values of atoms ``[N, ...]`` added up per graph, ``[G, ...]``."""
        zeros = values.new_zeros(self.num_graphs, *values.shape[1:])
        return zeros.index_add(0, self.graph_index, values)

    def sum_pairs(self, values: Tensor) -> Tensor:
        """Energies of directed pairs ``[E]`` added up per graph, ``[G]``: every pair counts once."""
        return values.new_zeros(self.num_graphs).index_add(0, self.edge_graph, values) / 2


def switch(distance: Tensor, onset: float, cutoff: float) -> Tensor:
    """1 below ``onset``, 0 beyond ``cutoff``, between them 1 - 10 x^3 + 15 x^4 - 6 x^5: smooth to the second derivative."""
    x = ((distance - onset) / (cutoff - onset)).clamp(0.0, 1.0)
    return 1 - x**3 * (10 - 15 * x + 6 * x * x)


def of_pair(constant: Tensor | float, pairs: PairEdges) -> Tensor | float:
    """A constant for each pair: a number or scalar tensor as it is, a table ``[S, S]`` looked up by the two atomic numbers."""
    if isinstance(constant, Tensor) and constant.ndim == 2:
        return constant[pairs.species[pairs.sender], pairs.species[pairs.receiver]]
    return constant


def derivatives(
    law: Callable[[PairEdges], Tensor], pairs: PairEdges, *, stress: bool = True
) -> dict[str, Tensor]:
    """``energy [G]``, ``forces [N, 3]`` and ``stress [G, 3, 3]`` (tension positive, zero where there is no cell) of one law.

    The virial is minus the stress times the volume. Differentiable again under ``enable_grad``, also with respect to constants.
    """

    def energies(positions: Tensor, cell: Tensor) -> dict[str, Tensor]:
        return {"energy": law(replace(pairs, positions=positions, cell=cell))}

    return forces_and_stress(energies, pairs.positions, pairs.cell, pairs.graph_index, stress=stress)


def find_pairs(
    positions: Tensor, cell: Tensor, species: Tensor, graph_index: Tensor, cutoff: float
) -> PairEdges:
    """Every pair of each graph without a cell, and of each graph with one (periodic in all three directions) the pairs and
    images closer than ``cutoff``.

    Tries all pairs with all images: for cells of up to some hundred atoms. Larger ones want a cell list in its place.
    """
    parts = []
    with torch.no_grad():
        for graph in range(cell.shape[0]):
            nodes = torch.nonzero(graph_index == graph)[:, 0]
            images = _images(cell[graph], positions[nodes], cutoff)
            sender, receiver = (x.reshape(-1) for x in torch.meshgrid(nodes, nodes, indexing="ij"))
            for image in images.split(max(1, 2_000_000 // max(1, len(sender)))):
                apart = positions[sender] - positions[receiver] + (image @ cell[graph])[:, None]
                keep = torch.linalg.vector_norm(apart, dim=2) < (cutoff if len(images) > 1 else torch.inf)
                keep &= (sender != receiver) | (image != 0).any(1, keepdim=True)
                number, pair = torch.nonzero(keep).unbind(1)
                parts.append((sender[pair], receiver[pair], image[number]))
    sender, receiver, shift = (torch.cat(x) for x in zip(*parts, strict=True))
    return PairEdges(positions, cell, species, graph_index, sender, receiver, shift)


def _images(cell: Tensor, positions: Tensor, cutoff: float) -> Tensor:
    """``[I, 3]`` lattice shifts that can bring two of the positions within ``cutoff``; one zero row without a cell."""
    if torch.linalg.det(cell) == 0:
        return positions.new_zeros(1, 3)
    inverse = torch.linalg.inv(cell)
    fractional = positions @ inverse
    spread = fractional.amax(0) - fractional.amin(0)
    reach = torch.floor(cutoff * inverse.norm(dim=0) + spread + 1e-9).clamp_min(1).tolist()
    axes = [torch.arange(-n, n + 1, dtype=cell.dtype, device=cell.device) for n in reach]
    return torch.cartesian_prod(*axes)

"""The walk over a network's layers and back for the edges of one batch, made by calling kernels or by replaying the calls.

Legend: ``N`` nodes, ``E`` edges, ``G`` graphs, ``M`` = (lmax+1)^2, ``C`` natural channels, ``K`` = C + U. Positions, cells, edge
vectors, forces and virials are float64 in angstrom and eV, features in the precision of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from atomfield.data.graph import GraphBatch
from atomfield.physics_priors.mechanics import per_volume

from .convolution import EdgeGeometry
from .fused import (
    AtomsRead,
    EdgeList,
    Tape,
    Vectors,
    across_vectors,
    along_vectors,
    forces_of,
    pool_atoms,
    read_atoms,
    recording,
    vectors,
    virial_of,
)
from .heads import level_rows
from .layer_pass import Computed, EdgeSlopes, LayerPass

if TYPE_CHECKING:
    from .network import AtomFieldNet


@dataclass(frozen=True)
class Edges:
    """The edges of a batch: vectors, what layers read of them, and the ways between their slopes and forces."""

    batch: GraphBatch
    vectors: Vectors
    geometry: EdgeGeometry
    cutoff: float

    @staticmethod
    def of(net: AtomFieldNet, batch: GraphBatch) -> Edges:
        cutoff = net.config.cutoff
        listed = EdgeList.of(batch)
        listed.by_receiver  # noqa: B018 (checks that every edge names nodes that are there)
        known = vectors(
            batch.positions, batch.cell, batch.graph_index, listed, batch.edge_shift,
            cutoff=cutoff, bases=net.config.num_radial, dtype=net.dtype,
        )  # fmt: skip
        geometry = EdgeGeometry(
            listed, known.basis_EB, known.envelope_E, known.direction_E3, net.backbone.rotation
        )
        return Edges(batch, known, geometry, cutoff)

    def along(self, slopes: EdgeSlopes) -> Tensor:
        """``[E, 3]`` eV/angstrom: the energy's derivative with respect to each edge's vector."""
        return along_vectors(self.vectors, slopes.basis, slopes.envelope, slopes.direction, self.cutoff)

    def virial(self, along_E3: Tensor) -> Tensor:
        """``[G, 3, 3]`` eV: dE/d(strain), symmetric."""
        batch = self.batch
        return virial_of(self.vectors, along_E3, self.geometry.edges, batch.graph_index, batch.num_graphs)

    @property
    def _graph_of_edges(self) -> Tensor:
        return self.batch.graph_index[self.batch.edge_index[1]]

    def cotangents(self, a_forces: Tensor | None, a_virial: Tensor | None) -> EdgeSlopes:
        """What cotangents of forces ``[N, 3]`` and of the virial ``[G, 3, 3]`` are for the slopes of edges."""
        sender, receiver = self.batch.edge_index
        a_along = torch.zeros_like(self.vectors.vector_E3)
        if a_forces is not None:
            a_along = a_forces.index_select(0, receiver) - a_forces.index_select(0, sender)
        if a_virial is not None:
            symmetric = (a_virial + a_virial.transpose(1, 2)) / 2
            vector = self.vectors.vector_E3.unsqueeze(1)
            a_along = a_along + torch.bmm(vector, symmetric[self._graph_of_edges]).squeeze(1)
        return EdgeSlopes(*across_vectors(self.vectors, a_along, self.cutoff))


class Walk:
    """What a walk found. Where it is recorded all of it keeps its place, and :meth:`again` writes there.

    level_G: the row of each graph's level. first: ``condition_NC`` and the first features ``[N, M, K]``.
    """

    x: Tensor
    """``[N, M, K]``: the last features."""
    atoms: AtomsRead
    energy: Tensor
    """``[G]`` eV."""
    dipole: Tensor | None
    """``[G, 3]`` e angstrom about the centre of mass, where features have vectors."""
    along: Tensor
    """``[E, 3]`` eV/angstrom, see :meth:`Edges.along`."""
    forces: Tensor
    """``[N, 3]`` eV/angstrom."""

    def __init__(
        self, net: AtomFieldNet, layers: Sequence[LayerPass], batch: GraphBatch, level_G: Tensor, first: tuple[Tensor, Tensor],
        *, record: bool,
    ):  # fmt: skip
        self._tape: Tape | None = None
        condition_NC, x = first
        head, level_N = net.atom_head, level_rows(level_G, batch)
        if record:
            batch = replace(batch, positions=batch.positions.clone(), cell=batch.cell.clone())
            weights = [w for layer in layers for w in layer.all_weights()]
            self._tape = Tape([batch.positions, batch.cell, condition_NC, x, *weights])
        with recording(self._tape):
            self.edges = Edges.of(net, batch)
            computed: list[Computed] = []
            for layer in layers:
                x, own = layer.forward(x, self.edges.geometry, condition_NC)
                computed.append(own)
            self.x = x
            g = torch.zeros_like(x)
            self.atoms = read_atoms(
                x,
                g,
                head.readout(level_N),
                head.charge[level_N],
                head.dipole[level_N],
                float(head.energy_scale),
            )
            self.energy, self.dipole = pool_atoms(
                self.atoms, batch.positions, batch.graph_index, batch.num_graphs,
                head.reference[level_N, batch.species].double(), net.masses[batch.species].double(), net.config.channels,
            )  # fmt: skip
            slopes: EdgeSlopes | None = None
            for layer in reversed(layers):
                g, found, _ = layer.adjoint(g, computed.pop(), self.edges.geometry)
                slopes = found if slopes is None else slopes.plus(found)
            assert slopes is not None
            self.along = self.edges.along(slopes)
            self.forces = forces_of(self.along, self.edges.geometry.edges, x.dtype)

    def again(self, positions: Tensor, cell: Tensor) -> None:
        """The same for other positions ``[N, 3]`` and cells ``[G, 3, 3]``."""
        assert self._tape is not None
        self.edges.batch.positions.copy_(positions)
        self.edges.batch.cell.copy_(cell)
        self._tape.replay()

    def answers(self, *, stress: bool, features: bool) -> dict[str, Tensor]:
        """Of graphs and atoms, in tensors of their own."""
        out = {"energy": self.energy.clone(), "charges": self.atoms.charge.clone()}
        if features:
            out["features/atoms"] = self.atoms.hidden.clone()
        if self.dipole is not None:
            out["dipole"] = self.dipole.clone()
        out["forces"] = self.forces.clone()
        if stress:
            out["stress"] = per_volume(self.edges.virial(self.along), self.edges.batch.cell)
        return out

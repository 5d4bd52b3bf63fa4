"""The network: a backbone and its heads, forces and stress included, behind one ``forward``.

Legend: ``N`` nodes, ``E`` edges, ``G`` graphs, ``C`` channels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph, GraphBatch
from atomfield.data.neighbors import batch_of
from atomfield.physics_priors.mechanics import forces_and_stress

from .auxiliary import ElementHead, StateHead
from .backbone import Backbone, Layer
from .config import NetworkConfig
from .constraints import constrained
from .electrostatics import conserved_charges, coulomb_energy
from .force_pass import ForcePass, recorded_pass, serves
from .fused import EdgeList, fixed_weights
from .gpu import Call, CapturedPass, CompiledPass, ReplayedPass, rows_of
from .heads import Answers, AtomHead, FieldHead, PropertyHead, sum_by_graph
from .long_range import Space
from .priors import Priors
from .uncertainty import Uncertainty


class AtomFieldNet(nn.Module):
    """One set of weights for atoms and fields.

    ``forward`` takes a :class:`GraphBatch` (float64) and returns physical units: for atoms ``energy [G]`` (eV, float64),
    ``forces [N, 3]`` (eV/angstrom), ``stress [G, 3, 3]`` (eV/angstrom^3), ``dipole [G, 3]`` (e*angstrom, about the centre of
    mass), ``charges [N]`` (e) and the user's properties, ``[G, ...]`` or ``[N, ...]``; for fields the next state of each
    state quantity in the batch, in its own shape and unit."""

    masses: Tensor

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        with torch.device(
            "cpu"
        ):  # transformers builds on the meta device, where our constants cannot be computed
            self.backbone = Backbone(config)
            self.atom_head = AtomHead(config)
            self.field_head = FieldHead(config)
            self.property_head = PropertyHead(config)
            with torch.random.fork_rng(devices=[]):  # the other weights start as they do without these
                if "elements" in config.auxiliary:
                    self.element_head = ElementHead(config)
                if "states" in config.auxiliary:
                    self.state_head = StateHead(config)
            self.priors = Priors(config) if config.priors else None
            self.uncertainty = Uncertainty(config, config.uncertainty) if config.uncertainty else None
            self.register_buffer("masses", _atomic_masses())
        self.fused = True
        """Use compiled kernels where there are any; False is the reference."""
        self.compiled: CompiledPass | None = None
        """See :meth:`compile_passes`."""
        self.replayed: ReplayedPass | None = None
        """See :meth:`replay_passes`."""

    # ------------------------------------------------------------------ doors
    def compile_passes(self, on: bool = True) -> AtomFieldNet:
        """Let ``torch.compile`` fuse passes over atoms where this package's kernels for processors do not serve: on a GPU. Takes
        a minute at the first pass of each kind, and pays where many follow. Returns the network itself."""
        self.compiled = CompiledPass(self) if on else None
        return self

    def replay_passes(self, on: bool = True) -> AtomFieldNet:
        """Let passes of training and validation on a GPU be recorded and replayed, which small batches gain most from
        (``gpu/replayed.py``). For weights that change in place. Returns the network itself."""
        self.replayed = ReplayedPass(self) if on else None
        return self

    @property
    def dtype(self) -> torch.dtype:
        return self.backbone.embedding.species.dtype

    @property
    def device(self) -> torch.device:
        return self.backbone.embedding.species.device

    def level_index(self, batch: GraphBatch) -> Tensor:
        """``[G]`` row of each graph's level; an empty level means the network's default of that world."""
        default = (
            self.config.default_level_field if batch.world == "field" else self.config.default_level_atoms
        )
        rows = []
        for number, level in enumerate(batch.levels):
            name = level or default
            if name not in self.config.levels:
                where = batch.provenance[number] if batch.provenance else None
                raise InputError(
                    f"level {name!r} is unknown to this model, expected one of "
                    f"{', '.join(self.config.levels)}",
                    where,
                )
            rows.append(self.config.levels.index(name))
        return torch.tensor(rows, device=batch.positions.device)

    def forward(
        self,
        batch: GraphBatch,
        *,
        forces: bool = True,
        stress: bool = False,
        denoise: bool = False,
        properties: bool = True,
        added: bool = False,
        features: bool = False,
        direct: bool = False,
        hidden: bool = False,
        prepared: ForcePass | CapturedPass | None = None,
    ) -> dict[str, Tensor]:
        """``added``: with the analytic terms that the labels of a level lack, see ``priors.py``; False: as the labels are.
        ``features``: with what the last layers read, as ``features/...`` (``uncertainty.py``).

        ``direct``: forces are those of the vector head, no gradient, and there is no stress. ``hidden``: what was hidden in the
        batch instead, the ``elements`` of atoms (logits ``[N, 119]``) or the present state of points. ``prepared``: the pass of
        these weights, kept between calls where they do not change (``force_pass.py``); used where no gradients are recorded.
        """
        level_G = self.level_index(batch)
        answers = Answers(denoise, properties, features)
        if self.replayed is not None and prepared is None and not (hidden or added):
            call = Call((forces or stress) and not direct, stress and not direct, answers)
            found = self.replayed(batch, level_G, call)
            if found is not None:
                if direct:
                    return _with_direct(found)
                found.pop("direct_forces", None)
                return found
        if batch.world == "field":
            return self.fields(batch, level_G, hidden=hidden, features=features)
        if hidden:
            vectors = self._edge_vectors(batch, batch.positions, batch.cell)
            x = self.backbone(batch, vectors, level_G, self._space(batch))
            return {"elements": self.element_head(x)}
        if direct or not (forces or stress):
            found = self.plain(batch, level_G, added=added, answers=answers)
            if direct:
                return _with_direct(found)
            found.pop("direct_forces", None)
            return found
        recorded = torch.is_grad_enabled()
        if isinstance(prepared, CapturedPass):
            assert prepared.net is self, "the pass of another network"
            if prepared.serves(batch):
                return prepared(batch, level_G, stress=stress, answers=answers)
            prepared = None
        if (not recorded and prepared is not None and prepared.follows(batch)) or serves(self, batch):
            if recorded:
                found = recorded_pass(self, batch, level_G, stress=stress, answers=answers)
            else:
                taken = prepared or ForcePass(self)
                assert taken.net is self, "the pass of another network"
                found = taken(batch, level_G, stress=stress, answers=answers)
            found.pop("direct_forces", None)
            return found
        return self.conservative(batch, level_G, stress=stress, answers=answers, added=added)

    def fields(
        self, batch: GraphBatch, level_G: Tensor, *, hidden: bool = False, features: bool = False
    ) -> dict[str, Tensor]:
        """What :meth:`forward` gives for fields; ``level_G``: of :meth:`level_index`."""
        if self.config.steady:  # a solution that the record knows is no input
            kept = {k: v for k, v in batch.quantities.items() if k not in self.config.steady}
            batch = replace(batch, quantities=kept)
        x = self.backbone(batch, self._field_vectors(batch), level_G, self._space(batch))
        if hidden:
            embedding = self.backbone.embedding
            return self.state_head(x, batch, level_G, embedding.input_rms, embedding.input_mean)
        out = constrained(self.config.constraints, batch, self.field_head(x, batch, level_G))
        return out | ({"features/points": x[:, 0, : self.config.channels]} if features else {})

    def conservative(
        self, batch: GraphBatch, level_G: Tensor, *, stress: bool, answers: Answers, added: bool = False
    ) -> dict[str, Tensor]:
        """What :meth:`forward` gives for atoms, with forces as autograd's derivative of the energy, compiled where asked for;
        ``level_G``: of :meth:`level_index`."""
        if self.compiled is not None and self.compiled.serves(batch):
            found = self.compiled(batch, level_G, stress=stress, answers=answers)
        else:
            found = self.differentiated(batch, level_G, stress=stress, answers=answers, added=added)
        found.pop("direct_forces", None)
        return found

    def plain(
        self, batch: GraphBatch, level_G: Tensor, *, added: bool, answers: Answers
    ) -> dict[str, Tensor]:
        """What the heads of atoms say, with forces of the vector head as ``direct_forces``; compiled where asked for and where
        there are no kernels for processors."""
        if self.compiled is not None and self.compiled.serves(batch):
            first, features = self.backbone.layers[0], self.backbone.embedding.species
            if not (isinstance(first, Layer) and first.compiled(features, scalars_only=True)):
                return self.compiled(batch, level_G, stress=False, answers=answers, derived=False)
        return self.read(batch, batch.positions, batch.cell, level_G, added=added, answers=answers)

    def differentiated(
        self, batch: GraphBatch, level_G: Tensor, *, stress: bool, answers: Answers, added: bool = False
    ) -> dict[str, Tensor]:
        """:meth:`conservative` by autograd."""

        def energies(positions: Tensor, cell: Tensor) -> dict[str, Tensor]:
            return self.read(batch, positions, cell, level_G, added=added, answers=answers)

        with fixed_weights():
            return forces_and_stress(energies, batch.positions, batch.cell, batch.graph_index, stress=stress)

    def embed(self, batch: GraphBatch) -> dict[str, Tensor]:
        """Pooled features: ``invariant [G, C]`` and, for lmax > 0, ``vector [G, 3, C]`` (means over nodes)."""
        x = self.node_features(batch)
        count = batch.nodes_per_graph().to(x.dtype)
        c = self.config.channels
        out = {"invariant": sum_by_graph(x[:, 0, :c], batch) / count[:, None]}
        if self.config.lmax > 0:
            out["vector"] = sum_by_graph(x[:, 1:4, :c], batch) / count[:, None, None]
        return out

    def node_features(self, batch: GraphBatch) -> Tensor:
        """What the heads read: ``[N, M, K]``, natural channels first."""
        field = batch.world == "field"
        vector = (
            self._field_vectors(batch) if field else self._edge_vectors(batch, batch.positions, batch.cell)
        )
        return self.backbone(batch, vector, self.level_index(batch), self._space(batch))

    # ------------------------------------------------------------------ parts
    def _edge_vectors(self, batch: GraphBatch, positions: Tensor, cell: Tensor) -> Tensor:
        """``[E, 3]`` from receivers to senders, in the unit of positions."""
        sender, receiver = batch.edge_index
        if cell.shape[0] == 1:
            lattice = batch.edge_shift @ cell[0]
        else:
            lattice = torch.einsum("es,esd->ed", batch.edge_shift, cell[batch.graph_index[receiver]])
        if not self.fused:
            return positions[sender] - positions[receiver] + lattice
        edges = EdgeList.of(batch)
        there = rows_of(positions, sender, edges, senders=True)
        return there - rows_of(positions, receiver, edges, senders=False) + lattice

    def _field_vectors(self, batch: GraphBatch) -> Tensor:
        """Edge vectors of a field in model units: neighbouring points are ``field_spacing`` apart on average."""
        vector = self._edge_vectors(batch, batch.positions, batch.cell)
        scale = self.config.field_spacing / batch.spacing[batch.graph_index[batch.edge_index[1]]]
        return vector * scale.unsqueeze(1)

    def _space(self, batch: GraphBatch) -> Space | None:
        """Where the nodes are, in model units; None where nothing asks for it."""
        if self.config.long_range == "none":
            return None
        if batch.world == "field":
            return Space.of_field(batch, self.config.field_spacing / batch.spacing)
        return Space(batch.positions, batch.cell)

    def read(
        self,
        batch: GraphBatch,
        positions: Tensor,
        cell: Tensor,
        level_G: Tensor,
        *,
        added: bool,
        answers: Answers,
    ) -> dict[str, Tensor]:
        """What the heads of atoms say, with forces of the vector head as ``direct_forces``."""
        vector = self._edge_vectors(batch, positions, cell)
        x = self.backbone(batch, vector, level_G, Space(positions, cell))
        out = self.atom_head(x, batch, level_G, answers)
        if self.priors is not None:
            out["energy"] = out["energy"] + self.priors(batch, positions, cell, added=added)
        if self.config.electrostatics:
            charges = conserved_charges(out["charges"], out.pop("softness"), batch, vector, self.config)
            out["charges"] = charges
            out["energy"] = out["energy"] + coulomb_energy(positions, cell, charges, batch, self.config)
        return self.answers(out, x, batch, positions, answers)

    def answers(
        self, out: dict[str, Tensor], x_NMK: Tensor, batch: GraphBatch, positions: Tensor, wanted: Answers
    ) -> dict[str, Tensor]:
        """What the atom head gave, with dipoles of graphs and the user's properties."""
        if "atomic_dipole" in out:
            mass = self.masses[batch.species].to(positions)
            weighted = sum_by_graph(mass[:, None] * positions, batch) / sum_by_graph(mass, batch)[:, None]
            relative = positions - weighted[batch.graph_index]
            local = out.pop("atomic_dipole") + out["charges"][:, None] * relative.to(x_NMK.dtype)
            out["dipole"] = sum_by_graph(local, batch)
        if wanted.properties:
            out |= self.property_head(x_NMK, batch, wanted.features)
        return out


def _with_direct(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Answers whose forces are those of the vector head."""
    if "direct_forces" not in found:
        raise InputError("this checkpoint has no head for direct forces (auxiliary 'direct')")
    forces = found.pop("direct_forces")
    return found | {"forces": forces}


def _atomic_masses() -> Tensor:
    """Standard atomic masses in amu by atomic number (ASE's table), float64 ``[119]``; index 0 is 1."""
    from ase.data import atomic_masses

    masses = torch.ones(119, dtype=torch.float64)
    masses[1 : len(atomic_masses)] = torch.from_numpy(atomic_masses[1:119].copy())
    return masses


def graphs_to_batch(config: NetworkConfig, graphs: list[Graph]) -> GraphBatch:
    """Build the edges that the network needs and pack the graphs (snapshots of one world)."""
    return batch_of(graphs, config.cutoff)

"""What enters a node: species, node type, field quantities and the conditions of the whole system.

Legend: ``N`` nodes, ``G`` graphs, ``C`` channels, ``K`` = C + U. A missing condition or quantity is a learned state, never zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atomfield.data.basis import to_irreps
from atomfield.data.graph import GraphBatch, NodeType
from atomfield.data.quantities import CONDITIONS, PER_FRAGMENT, VOCABULARY

from .auxiliary import GivenForces, is_hidden
from .config import NetworkConfig
from .control import MAX_COMPONENTS
from .layers import placements

NUM_SPECIES = 119


class ConditionEmbedding(nn.Module):
    """Level of theory and scalar conditions, one vector per node.

    A condition of the system is the same at all of its nodes. Charge and spin may be known for each fragment
    (``PER_FRAGMENT``), and then an atom sees those of its own, so that ions and neutral molecules far apart add up.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.names = config.conditions
        self.level = nn.Parameter(torch.randn(len(config.levels), config.channels) * 0.3)
        self.up = nn.Linear(2 * len(self.names), config.channels)
        self.down = nn.Linear(config.channels, config.channels)
        self.signed = [CONDITIONS[name].scale == "signed" for name in self.names]

    def forward(self, batch: GraphBatch, level_G: Tensor) -> Tensor:
        """``[N, C]``."""
        quantities = {} if batch.world == "field" else batch.quantities
        per_node = any(name in quantities for name in PER_FRAGMENT.values())
        missing = torch.full((batch.num_graphs,), float("nan"), dtype=torch.float64, device=level_G.device)
        raw = torch.stack([batch.conditions.get(name, missing).double() for name in self.names], dim=1)
        if per_node:
            raw, level_G = raw[batch.graph_index], level_G[batch.graph_index]
            for column, name in enumerate(self.names):
                own = quantities.get(PER_FRAGMENT.get(name, ""))
                if own is not None:
                    raw[:, column] = torch.where(torch.isnan(own), raw[:, column], own.to(raw))
        known = ~torch.isnan(raw)
        value = torch.where(known, raw, 1.0)
        columns = [
            torch.asinh(column) if signed else column.clamp_min(1e-12).log() / 4
            for signed, column in zip(self.signed, value.unbind(1), strict=True)
        ]
        value = torch.stack(columns, dim=1) if columns else value
        # of each condition its value, then whether it is known
        pairs = torch.stack([torch.where(known, value, 0.0), known.double()], dim=2).flatten(1)
        found = self.down(F.silu(self.up(pairs.to(self.up.weight.dtype)))) + self.level[level_G]
        return found if per_node else found[batch.graph_index]


class NodeEmbedding(nn.Module):
    """First features ``[N, M, K]``: species and node type as scalars, field quantities by their irreps."""

    input_rms: Tensor
    """``[levels, inputs]`` RMS norm of each quantity, in its unit; of one with a mean that is taken off, of what is left."""
    input_mean: Tensor | None
    """``[levels, inputs]`` what is taken off a number, in its unit; only where the configuration has ``centred``."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        c = config.channels
        self.species = nn.Parameter(torch.randn(NUM_SPECIES, c))
        self.node_type = nn.Parameter(torch.randn(len(NodeType), c) * 0.3)
        self.present = nn.Parameter(torch.randn(len(config.field_inputs), c) * 0.1)
        parts = 2 if config.symmetry == "O3" else MAX_COMPONENTS
        self.value = nn.Parameter(torch.randn(len(config.field_inputs), parts, c))
        """Weights per quantity for (lowest degree, second degree of a tensor); of the control for each raw component."""
        num_levels = len(config.levels)
        with torch.random.fork_rng(devices=[]):  # the other weights start as they do without these
            if "elements" in config.auxiliary:
                self.hidden_atom = nn.Parameter(torch.randn(c))
            if "states" in config.auxiliary:
                self.hidden_point = nn.Parameter(torch.randn(c) * 0.3)
            if "given_forces" in config.auxiliary:
                self.given_forces = GivenForces(config)
        self.register_buffer(
            "input_rms", torch.ones(num_levels, len(config.field_inputs), dtype=torch.float64)
        )
        self.register_buffer("input_mean", torch.zeros_like(self.input_rms) if config.centred else None)

    def only_scalars(self, batch: GraphBatch) -> bool:
        """Whether nothing but natural l = 0 enters: atoms, unless their forces are given."""
        return batch.world != "field" and not (
            "given_forces" in self.config.auxiliary and "given_forces" in batch.quantities
        )

    def forward(self, batch: GraphBatch, level_G: Tensor, condition_NC: Tensor) -> Tensor:
        config, dtype = self.config, self.species.dtype
        c, u = config.channels, config.channels_unnatural
        size = (config.lmax + 1) ** 2
        species = self.species[batch.species]
        hidden = is_hidden(batch)
        if hidden is not None and batch.world != "field":
            species = torch.where(hidden[:, None], self.hidden_atom, species)
        scalars = species + self.node_type[batch.node_type] + condition_NC
        rows: list[Tensor] = [scalars]
        if hidden is not None and batch.world == "field":
            rows.append(hidden.to(dtype)[:, None] * self.hidden_point)
        natural = scalars.new_zeros(batch.num_nodes, size, c)
        unnatural = scalars.new_zeros(batch.num_nodes, size, u)
        for k, name in enumerate(config.field_inputs):
            value = batch.quantities.get(name)
            if batch.world != "field" or value is None:
                continue
            q = VOCABULARY[name]
            if q.support == "graph":
                value = value[batch.graph_index]
            rms = self.input_rms[level_G[batch.graph_index], k]
            known = torch.isfinite(value).flatten(1).all(1) if value.ndim > 1 else torch.isfinite(value)
            if self.input_mean is not None and q.irreps == "0e":
                value = value - self.input_mean[level_G[batch.graph_index], k]
            components = torch.nan_to_num(to_irreps(value, q.irreps)) / rms[:, None]
            components = components.to(dtype)
            rows.append(known.to(dtype)[:, None] * self.present[k])
            if config.symmetry == "none":
                rows.append(components @ self.value[k, : components.shape[1]])
                continue
            for part, (start, stop, is_natural) in enumerate(placements(q.irreps)):
                if start >= size:
                    continue
                piece = components[:, : stop - start] if part == 0 else components[:, -(stop - start) :]
                pad = (0, 0, start, size - stop)
                if is_natural:
                    natural = natural + F.pad(piece[:, :, None] * self.value[k, part], pad)
                elif u:
                    unnatural = unnatural + F.pad(piece[:, :, None] * self.value[k, part, :u], pad)
        if not self.only_scalars(batch) and batch.world != "field":
            row, vectors = self.given_forces(batch.quantities["given_forces"])
            rows.append(row)
            if vectors is not None:
                natural = natural + F.pad(vectors, (0, 0, 1, size - 4))
        natural = natural + F.pad(torch.stack(rows).sum(0).unsqueeze(1), (0, 0, 0, size - 1))
        return torch.cat([natural, unnatural], dim=2)

"""How much room the recording of a pass has beside its batch, and what fills it: pairs of atoms that do not see each other.

Legend: ``N`` nodes, ``E`` edges, ``G`` graphs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from atomfield.data.graph_batch import GraphBatch
from atomfield.data.quantities import VOCABULARY

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet

_STEPS = 4
"""Sizes of recordings in each doubling. A batch's room follows from its own sizes alone, so that a training that goes on from a
checkpoint adds up in the same order as the one that never stopped."""
_PAIRS = 32
"""Pairs of atoms that there is room for at least beside a batch."""
_EDGES_OF_A_PAIR = 128


class Room(NamedTuple):
    """How many nodes, edges and graphs a recording has. Nodes are more than graphs: that tells what an answer belongs to."""

    nodes: int
    edges: int
    graphs: int

    @staticmethod
    def for_batch(batch: GraphBatch) -> Room:
        """Enough for ``batch``, for a graph more at least, and for pairs of atoms that no edge is too much for."""
        n, e, g = batch.num_nodes, batch.num_edges, batch.num_graphs
        edges, graphs = _step(e), _step(g + 1)
        pairs = max(_PAIRS, -(-(edges - e) // _EDGES_OF_A_PAIR), graphs - g)
        return Room(_step(n + 2 * pairs), edges, graphs)


def _step(number: int) -> int:
    """The next of :data:`_STEPS` sizes in each doubling."""
    step = 0
    while (size := round(2 ** (step / _STEPS))) < number:
        step = max(step + 1, int(_STEPS * math.log2(number)) - 1)
    return size


def inputs_of(net: AtomFieldNet, batch: GraphBatch) -> dict[str, Tensor]:
    """What a network reads of the quantities: nothing of atoms, whose quantities are labels."""
    if batch.world != "field":
        return {}
    read = {*net.config.field_inputs, *net.config.field_states}
    return {name: value for name, value in batch.quantities.items() if name in read}


def length_of(net: AtomFieldNet, batch: GraphBatch) -> float:
    """Twice as far as atoms, or points of spacing 1, see each other, in the unit of positions."""
    scale = net.config.field_spacing if batch.world == "field" else 1.0
    return 2 * net.config.cutoff / scale


def empty(net: AtomFieldNet, batch: GraphBatch, level_G: Tensor, room: Room) -> tuple[GraphBatch, Tensor]:
    """A batch of the sizes of ``room`` that :func:`fill` writes to, and its levels."""
    device, (n, e, g) = batch.positions.device, (room.nodes, room.edges, room.graphs)

    def rows(like: Tensor, count: int) -> Tensor:
        return like.new_zeros(count, *like.shape[1:])

    quantities = {
        name: rows(v, g if VOCABULARY[name].support == "graph" else n)
        for name, v in inputs_of(net, batch).items()
    }
    made = GraphBatch(
        positions=rows(batch.positions, n), species=rows(batch.species, n), node_type=rows(batch.node_type, n),
        graph_index=rows(batch.graph_index, n), volume=rows(batch.volume, n), cell=rows(batch.cell, g), pbc=rows(batch.pbc, g),
        edge_index=batch.edge_index.new_zeros(2, e), edge_shift=rows(batch.edge_shift, e),
        edge_is_radius=rows(batch.edge_is_radius, e), quantities=quantities, next_quantities={},
        conditions={name: torch.zeros(g, dtype=torch.float64, device=device) for name in net.config.conditions},
        # what a level is asked for is in level_G; that they are not all one must not change from batch to batch
        levels=["", " "], spacing=rows(batch.spacing, g), world=batch.world,
        bonds_known=torch.zeros(g, dtype=torch.bool, device=device),
    )  # fmt: skip
    return made, rows(level_G, g)


def fill(own: GraphBatch, own_level_G: Tensor, batch: GraphBatch, level_G: Tensor, apart: float) -> None:
    """Write ``batch`` into ``own``, and behind it pairs of atoms ``apart`` from each other, in graphs of their own, over which
    the edges that are left are dealt."""
    n, e, g = batch.num_nodes, batch.num_edges, batch.num_graphs
    nodes, edges, graphs = own.num_nodes - n, own.num_edges - e, own.num_graphs - g
    device = own.positions.device

    def put(target: Tensor, source: Tensor, tail: Tensor | float) -> None:
        target[: len(source)].copy_(source)
        if isinstance(tail, Tensor):
            target[len(source) :].copy_(tail)
        else:
            target[len(source) :].fill_(tail)

    number = torch.arange(nodes, device=device)
    put(own.positions, batch.positions, 0.0)
    own.positions[n:, 0].copy_(number * apart)
    put(own.species, batch.species, 0 if batch.world == "field" else 1)
    put(own.node_type, batch.node_type, 0)
    pairs = nodes // 2
    put(own.graph_index, batch.graph_index, g + ((number // 2).clamp_max(pairs - 1) * graphs) // pairs)
    put(own.volume, batch.volume, 1.0)
    put(own.cell, batch.cell, 0.0)
    put(own.pbc, batch.pbc, 0.0)
    put(own.spacing, batch.spacing, 1.0)
    put(own_level_G, level_G, 0)
    sender = n + 2 * (torch.arange(edges, device=device) % pairs)
    own.edge_index[:, :e].copy_(batch.edge_index)
    own.edge_index[:, e:].copy_(torch.stack([sender, sender + 1]))
    put(own.edge_shift, batch.edge_shift, 0.0)
    put(own.edge_is_radius, batch.edge_is_radius, 1.0)
    for name, value in own.quantities.items():
        put(value, batch.quantities[name], 0.0)
    for name, value in own.conditions.items():
        given = batch.conditions.get(name)
        value.fill_(float("nan")) if given is None else put(value, given, float("nan"))

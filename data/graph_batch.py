"""Many graphs packed into flat tensors: what a network sees. Made by ``graph.collate`` and ``Store.batch``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from .bonds import Bonds, no_bonds
from .errors import Provenance

if TYPE_CHECKING:
    from .coarse import CoarseLevel

World = Literal["molecule", "crystal", "field"]


@dataclass
class GraphBatch:
    """Packed graphs. Missing values of a quantity or condition are NaN.

    positions ``[N, 3]``, species, node_type, graph_index ``[N]``, volume ``[N]`` (1 where not given), cell ``[G, 3, 3]``,
    pbc ``[G, 3]``, edge_index ``[2, E]`` (senders, receivers), edge_shift ``[E, 3]`` (float, lattice
    units), edge_is_radius ``[E]``
    bool, quantities and next_quantities name -> ``[N, ...]`` or ``[G, ...]``, conditions name -> ``[G]``,
    levels: one string per graph, spacing ``[G]``, world: the one world of the batch.
    bonds: of all graphs, each once; bonds_known ``[G]`` bool. ``bonds.edge_bonds(batch)`` is the type of bond on each edge.
    coarse: levels of coarse nodes, finest first, where ``coarse.with_coarse`` made them.
    grid_shapes: of each graph its ``grid_shape``; empty for atoms.
    earlier: the same points at times before this batch's, first to last: a rollout starts at the first of them.
    clean: states before noise was put on them in ``quantities``; empty where none was.
    """

    positions: Tensor
    species: Tensor
    node_type: Tensor
    graph_index: Tensor
    volume: Tensor
    cell: Tensor
    pbc: Tensor
    edge_index: Tensor
    edge_shift: Tensor
    edge_is_radius: Tensor
    quantities: dict[str, Tensor]
    next_quantities: dict[str, Tensor]
    conditions: dict[str, Tensor]
    levels: list[str]
    spacing: Tensor
    world: World
    provenance: Sequence[Provenance] = ()
    bonds: Bonds = field(default_factory=no_bonds)
    bonds_known: Tensor = None  # type: ignore[assignment]  # filled in when made: nothing is known
    coarse: tuple[CoarseLevel, ...] = ()
    grid_shapes: Sequence[tuple[int, ...] | None] = ()
    earlier: tuple[GraphBatch, ...] = ()
    clean: dict[str, Tensor] = field(default_factory=dict)
    derived: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What a network worked out about the edges, kept for its next pass over this very batch; copies start without."""

    def __post_init__(self) -> None:
        if self.bonds_known is None:
            self.bonds_known = torch.zeros(len(self.cell), dtype=torch.bool, device=self.cell.device)

    @property
    def num_graphs(self) -> int:
        return int(self.cell.shape[0])

    @property
    def num_nodes(self) -> int:
        return int(self.positions.shape[0])

    @property
    def num_edges(self) -> int:
        return int(self.edge_index.shape[1])

    def nodes_per_graph(self) -> Tensor:
        """``[G]`` int64."""
        zeros = torch.zeros(self.num_graphs, dtype=torch.int64, device=self.graph_index.device)
        return zeros.index_add(0, self.graph_index, torch.ones_like(self.graph_index))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> GraphBatch:
        """A copy on ``device`` with every floating tensor as ``dtype``; from page-locked memory it runs beside the program."""
        cuda = device is not None and torch.device(device).type == "cuda"

        def moved(x: Tensor) -> Tensor:
            kind = dtype if dtype is not None and x.is_floating_point() else None
            # asking whether memory is page-locked takes longer than what follows
            return x.to(device=device, dtype=kind, non_blocking=cuda and x.is_pinned())

        return self.mapped(moved)

    def cut(self, max_edges: int) -> list[GraphBatch]:
        """The batch in pieces of whole graphs, in order: each has at most ``max_edges`` edges, or is one graph of more. Coarse
        levels are left to be made again."""
        edges_G = torch.bincount(self.graph_index[self.edge_index[1]], minlength=self.num_graphs)
        starts, held = [0], 0
        for number, edges in enumerate(edges_G.tolist()):
            if number > starts[-1] and held + edges > max_edges:
                starts.append(number)
                held = 0
            held += edges
        stops = [*starts[1:], self.num_graphs]
        return [self] if len(starts) == 1 else [self._piece(a, b) for a, b in zip(starts, stops, strict=True)]

    def _piece(self, start: int, stop: int) -> GraphBatch:
        """Graphs ``start`` to ``stop``."""
        graphs, first = slice(start, stop), int((self.graph_index < start).sum())
        nodes = slice(first, int((self.graph_index < stop).sum()))
        edges = (self.edge_index[1] >= nodes.start) & (self.edge_index[1] < nodes.stop)
        bonds = (self.bonds.index[0] >= nodes.start) & (self.bonds.index[0] < nodes.stop)
        own = self.bonds.mapped(lambda x: x[..., bonds])

        def chosen(values: dict[str, Tensor]) -> dict[str, Tensor]:
            return {k: v[nodes if len(v) == self.num_nodes else graphs] for k, v in values.items()}

        return GraphBatch(
            positions=self.positions[nodes],
            species=self.species[nodes],
            node_type=self.node_type[nodes],
            graph_index=self.graph_index[nodes] - start,
            volume=self.volume[nodes],
            cell=self.cell[graphs],
            pbc=self.pbc[graphs],
            edge_index=self.edge_index[:, edges] - first,
            edge_shift=self.edge_shift[edges],
            edge_is_radius=self.edge_is_radius[edges],
            quantities=chosen(self.quantities),
            next_quantities=chosen(self.next_quantities),
            conditions={k: v[graphs] for k, v in self.conditions.items()},
            levels=self.levels[graphs],
            spacing=self.spacing[graphs],
            world=self.world,
            provenance=self.provenance[graphs],
            bonds=replace(own, index=own.index - first),
            bonds_known=self.bonds_known[graphs],
            grid_shapes=self.grid_shapes[graphs],
            earlier=tuple(one._piece(start, stop) for one in self.earlier),
            clean=chosen(self.clean),
        )

    def pinned(self) -> GraphBatch:
        """A copy in page-locked memory, from which a GPU reads faster. Needs CUDA."""
        return self.mapped(Tensor.pin_memory)

    def parts(self) -> dict[str, Any]:
        """What another batch like this one is made with."""
        return {name: value for name, value in vars(self).items() if name != "derived"}

    def mapped(self, change: Callable[[Any], Any]) -> GraphBatch:
        """The batch with ``change`` applied to each tensor."""
        values = {}
        for name, value in self.parts().items():
            if isinstance(value, dict):
                value = {k: change(v) for k, v in value.items()}
            elif isinstance(value, Bonds):
                value = value.mapped(change)
            elif name in ("coarse", "earlier"):
                value = tuple(level.mapped(change) for level in value)
            elif name not in ("levels", "world", "provenance", "grid_shapes"):
                value = change(value)
            values[name] = value
        return GraphBatch(**values)

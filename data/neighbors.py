"""Edges: radius graphs (``radius.py``), nearest neighbours (``knn.py``), grid stencils and mesh edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .graph import Edges, Graph, GraphBatch, collate
from .knn import knn_edges
from .radius import completed_box, in_order, radius_pairs

__all__ = [
    "batch_of",
    "completed_box",
    "grid_edges",
    "knn_edges",
    "mean_spacing",
    "mesh_edges",
    "radius_edges",
    "radius_pairs",
    "with_edges",
    "with_radius_edges",
]


def _sorted_by_receiver(senders: np.ndarray, receivers: np.ndarray, shift: np.ndarray) -> Edges:
    j, i, s = (torch.from_numpy(np.array(x, dtype=np.int64)) for x in (senders, receivers, shift))
    return Edges(*in_order(j, i, s, int(max(j.max(), i.max())) + 1 if len(j) else 0))


def radius_edges(positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float) -> Edges:
    """All pairs closer than ``cutoff`` (same unit as positions), both directions, periodic images included."""
    sizes = torch.tensor([len(positions)])
    return Edges(*radius_pairs(positions, sizes, cell[None], pbc[None], cutoff))


def grid_edges(shape: tuple[int, ...], pbc: tuple[bool, ...]) -> Edges:
    """Stencil of a regular grid in C order: 2D and 3D all neighbours that differ by at most one in each index (8, 26),
    1D two on each side."""
    dims = len(shape)
    reach = 2 if dims == 1 else 1
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * dims, indexing="ij"), -1).reshape(
        -1, dims
    )
    offsets = offsets[(offsets != 0).any(axis=1)]
    nodes = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).reshape(-1, dims)
    target = nodes[:, None, :] + offsets[None]
    size = np.array(shape)
    wrap = np.floor_divide(target, size)
    allowed = ((wrap == 0) | np.array(pbc)[None, None, :]).all(-1)
    senders = np.ravel_multi_index(tuple(np.moveaxis(target % size, -1, 0)), shape)
    receivers = np.broadcast_to(np.arange(len(nodes))[:, None], senders.shape)
    shift = np.zeros((*wrap.shape[:2], 3), dtype=np.int64)
    shift[..., :dims] = wrap
    return _sorted_by_receiver(senders[allowed], receivers[allowed], shift[allowed])


def mesh_edges(cells: np.ndarray) -> Edges:
    """Both directions of every side (and diagonal of a quad) of the cells ``[num_cells, corners]``."""
    cells = np.asarray(cells, dtype=np.int64)
    corners = range(cells.shape[1])
    pairs = np.concatenate([cells[:, [a, b]] for a in corners for b in corners if a != b])
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    return _sorted_by_receiver(pairs[:, 0], pairs[:, 1], np.zeros((len(pairs), 3), dtype=np.int64))


def mean_spacing(positions: Tensor, edges: Edges, cell: Tensor) -> float:
    """Mean over nodes of the shortest edge of each, the length scale of a field graph."""
    sender, receiver = edges.index
    vector = positions[sender] + edges.shift.to(positions) @ cell - positions[receiver]
    nearest = torch.full((len(positions),), float("inf"), dtype=positions.dtype)
    nearest.scatter_reduce_(0, receiver, vector.norm(dim=1), "amin")
    return float(nearest[torch.isfinite(nearest)].mean())


def with_edges(graph: Graph, cutoff: float, num_neighbors: int = 8) -> Graph:
    """The graph with edges: atoms get a fresh radius graph (and keep their bonds), fields keep the edges they have or get nearest
    neighbours."""
    if graph.world != "field":
        edges = radius_edges(graph.positions, graph.cell, graph.pbc, cutoff)
        return graph.changed(edges={**graph.edges, "radius": edges})
    if graph.edges:
        return graph
    edges = knn_edges(graph.positions, graph.cell, graph.pbc, num_neighbors)
    spacing = mean_spacing(graph.positions, edges, graph.cell)
    return graph.changed(edges={"knn": edges}, spacing=spacing)


def batch_of(graphs: Sequence[Graph], cutoff: float) -> GraphBatch:
    """``collate`` of ``with_edges`` of each graph, with the radius graphs of all atoms built in one call.

    Graphs that bring radius edges keep them.
    """
    if graphs[0].world == "field" or any("radius" in g.edges for g in graphs):
        return collate([g if "radius" in g.edges else with_edges(g, cutoff) for g in graphs])
    return with_radius_edges(collate(list(graphs)), cutoff)


def with_radius_edges(batch: GraphBatch, cutoff: float) -> GraphBatch:
    """The batch of atoms with the radius graphs of all its structures, built in one call, as its edges."""
    index, shift = radius_pairs(batch.positions, batch.nodes_per_graph(), batch.cell, batch.pbc, cutoff)
    return replace(
        batch,
        edge_index=index,
        edge_shift=shift.to(torch.float64),
        edge_is_radius=torch.ones(index.shape[1], dtype=torch.bool, device=index.device),
    )

"""Edges: radius graphs (vesin, any mix of periodic directions), grid stencils, mesh edges and nearest neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import vesin
from torch import Tensor

from .graph import EdgeKind, Edges, Graph


def _sorted_by_receiver(senders: np.ndarray, receivers: np.ndarray, shift: np.ndarray) -> Edges:
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], senders, receivers))
    index = np.stack([senders[order], receivers[order]]).astype(np.int64)
    return Edges(torch.from_numpy(index), torch.from_numpy(shift[order].astype(np.int64)))


def radius_edges(positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float) -> Edges:
    """All pairs closer than ``cutoff`` (same unit as positions), both directions, periodic images included."""
    box = cell.detach().cpu().numpy().astype(np.float64)
    periodic = pbc.cpu().numpy().astype(bool)
    if periodic.any() and not periodic.all():
        box = completed_box(box, periodic)
    finder = vesin.NeighborList(cutoff=cutoff, full_list=True)
    points = positions.detach().cpu().numpy().astype(np.float64)
    receivers, senders, shift = finder.compute(points=points, box=box, periodic=periodic, quantities="ijS")
    return _sorted_by_receiver(senders.astype(np.int64), receivers.astype(np.int64), shift.astype(np.int64))


def completed_box(box: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """A full-rank box: rows of directions that are not periodic become unit vectors orthogonal to the periodic ones."""
    box = box.copy()
    kept = [box[i] for i in range(3) if periodic[i]]
    for i in range(3):
        if periodic[i]:
            continue
        _, _, vt = np.linalg.svd(np.array(kept))
        direction = vt[len(kept)]
        box[i] = direction
        kept.append(direction)
    return box


def knn_edges(positions: Tensor, cell: Tensor, pbc: Tensor, num_neighbors: int) -> Edges:
    """Edges from the ``num_neighbors`` nearest points (periodic images included) to each point."""
    from scipy.spatial import cKDTree

    points = positions.numpy()
    axes = [range(-1, 2) if bool(p) else range(1) for p in pbc]
    shifts = np.array([(a, b, c) for a in axes[0] for b in axes[1] for c in axes[2]], dtype=np.int64)
    images = np.concatenate([points + s @ cell.numpy() for s in shifts])
    _, neighbor = cKDTree(images).query(points, k=num_neighbors + 1)
    num_nodes = len(points)
    home = int(np.flatnonzero((shifts == 0).all(axis=1))[0])
    receivers = np.repeat(np.arange(num_nodes), num_neighbors + 1)
    flat = neighbor.reshape(-1)
    keep = flat != home * num_nodes + receivers
    return _sorted_by_receiver(flat[keep] % num_nodes, receivers[keep], shifts[flat[keep] // num_nodes])


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
    """The graph with edges: atoms get a fresh radius graph, fields keep the edges they have or get nearest neighbours."""
    if graph.world != "field":
        edges = radius_edges(graph.positions, graph.cell, graph.pbc, cutoff)
        return _with(graph, "radius", edges)
    if graph.edges:
        return graph
    edges = knn_edges(graph.positions, graph.cell, graph.pbc, num_neighbors)
    return replace(_with(graph, "knn", edges), spacing=mean_spacing(graph.positions, edges, graph.cell))


def _with(graph: Graph, kind: EdgeKind, edges: Edges) -> Graph:
    return replace(graph, edges={kind: edges})

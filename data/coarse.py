"""Levels of coarse nodes for any graph, found from distances alone, so that pooling commutes with rotations and reflections.

Seeds are taken greedily: the points are visited from the densest (smallest mean square distance to the nearest neighbours) to
the sparsest, a point that no seed covers becomes one, and a seed covers its nearest neighbours. Each point then belongs to the
nearest seed that covers it. Neighbours follow local density, so a graded mesh is coarsened evenly. The work is a sort and
a search for neighbours: N log N.

What is equal by symmetry (points of a lattice) is told apart by order: the result is then the same under rotation, reflection and
translation, and under permutation as far as distances tell the points apart. All decisions take distances within ``TIE`` as
equal. A part far away changes nothing where ``reach`` is finite. Where points move, assignments change at once: an energy that
depends on them is not smooth, which is no matter for fields on fixed points.

Shapes: ``N`` fine and ``K`` coarse nodes, ``E`` edges, ``G`` graphs of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .graph_batch import GraphBatch
from .knn import TIE, knn_edges
from .radius import radius_pairs

_COVER = 2.2
"""Nearest neighbours that a seed covers, for each fine node that a coarse one is to stand for. Random sequential packing of discs
covers 0.547 of the plane (Feder 1980, doi:10.1016/0022-5193(80)90358-6): a disc of the seeds' distance holds 2.2 times the
points that a seed gets. It is 1.5 on a line and 3.1 in space, where clusters get larger and smaller than asked for: by 0.8
to 1.7 for random points."""
_ROUNDING, _ALONE = 1e-10, 1e300
"""Relative difference of mean squares that rounding may cause; the mean square of a point without neighbours."""


@dataclass(frozen=True, eq=False)
class CoarseLevel:
    """One level above a finer one (the batch itself, or the level before).

    positions: ``[K, 3]`` float64, the mean of the members, weighted by their volumes. weight: ``[K]``, sum of theirs.
    graph_index: ``[K]`` int64; nodes of a graph follow each other, as in the batch.
    assignment: ``[N]`` int64, the one coarse node of each fine node. member_shift: ``[N, 3]`` lattice shifts (float) that bring
        each fine node beside its seed: its place in the cluster is ``positions_fine + member_shift @ cell``.
    member_weight: ``[N]``, sums to 1 over the members of a coarse node.
    edge_index: ``[2, E]`` int64 (senders, receivers) between coarse nodes, sorted by receiver. edge_shift: ``[E, 3]`` lattice
        shifts (float); the vector of an edge is that of a ``Graph``.
    spacing: ``[G]``, mean distance of a coarse node to its nearest, of the graph (that of the finer level, scaled by
        the number of nodes, where there is but one). cutoff: radius of the edges; infinity for nearest neighbours.
    """

    positions: Tensor
    weight: Tensor
    graph_index: Tensor
    assignment: Tensor
    member_shift: Tensor
    member_weight: Tensor
    edge_index: Tensor
    edge_shift: Tensor
    spacing: Tensor
    cutoff: float

    @property
    def num_nodes(self) -> int:
        return int(self.positions.shape[0])

    @property
    def num_edges(self) -> int:
        return int(self.edge_index.shape[1])

    def pool(self, values: Tensor) -> Tensor:
        """Weighted means ``[K, ...]`` of ``values [N, ...]`` over the members. Linear; scalars, vectors and tensors alike."""
        weight = self.member_weight.to(values).view(-1, *(1,) * (values.ndim - 1))
        out = values.new_zeros(self.num_nodes, *values.shape[1:])
        return out.index_add(0, self.assignment, values * weight)

    def spread(self, values: Tensor) -> Tensor:
        """``values [K, ...]`` of the coarse nodes at their members, ``[N, ...]``."""
        return values.index_select(0, self.assignment)

    def pool_positions(self, positions: Tensor, cell: Tensor) -> Tensor:
        """The coarse ``[K, 3]`` from the fine ``positions [N, 3]`` and ``cell [G, 3, 3]``, with their gradients."""
        of_graph = self.graph_index[self.assignment]
        moved = torch.einsum("ni,nij->nj", self.member_shift.to(positions), cell.to(positions)[of_graph])
        return self.pool(positions + moved)

    def offsets(self, positions: Tensor, coarse: Tensor, cell: Tensor) -> Tensor:
        """``[N, 3]`` vectors from each fine node to its coarse one, for messages between levels."""
        of_graph = self.graph_index[self.assignment]
        moved = torch.einsum("ni,nij->nj", self.member_shift.to(positions), cell.to(positions)[of_graph])
        return self.spread(coarse) - positions - moved

    def mapped(self, change: Callable[[Any], Any]) -> CoarseLevel:
        """With ``change`` applied to each tensor."""
        return CoarseLevel(**{n: x if n == "cutoff" else change(x) for n, x in vars(self).items()})


@dataclass(frozen=True)
class Coarsening:
    """ratio: fine nodes for each coarse one, about. levels: how many. num_neighbors: edges to so many nearest coarse nodes
    (and all that are as far as the last); None: to all within ``2 * reach``. reach: farthest that a member may be from its
    seed, at the first level, in units of the positions; doubled from level to level.

    Fields: ``Coarsening()``. Atoms: a finite reach, so that fragments far apart stay apart, and no number of neighbours.
    """

    ratio: int = 8
    levels: int = 2
    num_neighbors: int | None = 8
    reach: float = float("inf")

    def __post_init__(self) -> None:
        assert self.ratio >= 2 and self.levels >= 1, "a ratio of 2 or more, one level or more"
        assert self.num_neighbors is not None or np.isfinite(self.reach), (
            "edges within 2 * reach need a reach"
        )
        assert self.reach > 0 and (self.num_neighbors is None or self.num_neighbors >= 1)


ATOMS = Coarsening(ratio=4, levels=2, num_neighbors=None, reach=4.0)
"""For atoms, in angstrom: clusters of a few heavy atoms, joined within 8 and 16 angstrom."""


def with_coarse(batch: GraphBatch, how: Coarsening | None = None) -> GraphBatch:
    """The batch with ``batch.coarse``, finest level first. Default: ``ATOMS`` or, for fields, ``Coarsening()``."""
    how = how or (Coarsening() if batch.world == "field" else ATOMS)
    sizes = batch.nodes_per_graph()
    levels = coarse_levels(batch.positions, sizes, batch.cell, batch.pbc, how, batch.volume, batch.spacing)
    device = batch.positions.device
    return replace(batch, coarse=tuple(level.mapped(lambda x: x.to(device)) for level in levels))


def coarse_levels(
    positions: Tensor,
    sizes: Tensor,
    cell: Tensor,
    pbc: Tensor,
    how: Coarsening,
    volume: Tensor | None = None,
    spacing: Tensor | None = None,
) -> tuple[CoarseLevel, ...]:
    """Finest level first. positions ``[N, 3]`` of all graphs one after the other, sizes ``[G]``, cell ``[G, 3, 3]``, pbc
    ``[G, 3]``, volume ``[N]`` positive weights (default 1), spacing ``[G]`` (default 1). On the CPU; nothing is differentiated
    here, see :meth:`CoarseLevel.pool_positions`. What is found for a graph does not depend on the others.
    """
    points = positions.detach().cpu().to(torch.float64)
    counts = sizes.cpu()
    boxes, flags = cell.detach().cpu().to(torch.float64), pbc.cpu()
    weight = (
        torch.ones(len(points), dtype=torch.float64) if volume is None else volume.detach().cpu().double()
    )
    distance = (
        torch.ones(len(counts), dtype=torch.float64) if spacing is None else spacing.detach().cpu().double()
    )
    out = []
    for number in range(how.levels):
        level = _level(points, counts, boxes, flags, weight, distance, how, how.reach * 2**number)
        out.append(level)
        points, weight, distance = level.positions, level.weight, level.spacing
        counts = torch.bincount(level.graph_index, minlength=len(counts))
    return tuple(out)


def _level(
    points: Tensor,
    counts: Tensor,
    cell: Tensor,
    pbc: Tensor,
    weight: Tensor,
    spacing: Tensor,
    how: Coarsening,
    reach: float,
) -> CoarseLevel:
    assignment, shift = [], []
    coarse_counts: list[int] = []
    for own, box, flags in zip(points.split(counts.tolist()), cell, pbc, strict=True):
        parent, steps = _clusters(own, box, flags, round(_COVER * how.ratio), reach)
        assignment.append(parent + sum(coarse_counts))
        shift.append(steps)
        coarse_counts.append(int(parent.max()) + 1)
    joined, moved = torch.cat(assignment), torch.cat(shift).to(torch.float64)
    sizes = torch.tensor(coarse_counts)
    graph_index = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    total = torch.zeros(len(graph_index), dtype=torch.float64).index_add(0, joined, weight)
    share = weight / total[joined]
    placed = points + torch.einsum("ni,nij->nj", moved, cell[graph_index[joined]])
    positions = torch.zeros(len(graph_index), 3, dtype=torch.float64).index_add(
        0, joined, placed * share[:, None]
    )
    index, steps = _edges(positions, sizes, cell, pbc, how.num_neighbors, 2 * reach)
    return CoarseLevel(
        positions=positions,
        weight=total,
        graph_index=graph_index,
        assignment=joined,
        member_shift=moved,
        member_weight=share,
        edge_index=index,
        edge_shift=steps.to(torch.float64),
        spacing=_spacings(positions, index, steps, cell, graph_index, spacing, counts / sizes),
        cutoff=2 * reach if how.num_neighbors is None else float("inf"),
    )


# ---------------------------------------------------------------------- one graph
def _clusters(points: Tensor, cell: Tensor, pbc: Tensor, cover: int, reach: float) -> tuple[Tensor, Tensor]:
    """The cluster of each point ``[N]``, numbered by the first of its members, and the shifts ``[N, 3]`` to their seeds."""
    num_nodes = len(points)
    edges = knn_edges(points, cell, pbc, cover)
    sender, receiver = edges.index.numpy()
    shift = edges.shift.numpy()
    vector = points.numpy()[sender] + shift @ cell.numpy() - points.numpy()[receiver]
    length = np.sqrt((vector**2).sum(axis=1))
    keep = (length <= reach) & (sender != receiver)
    sender, receiver, shift, length = sender[keep], receiver[keep], shift[keep], length[keep]
    starts = np.searchsorted(receiver, np.arange(num_nodes + 1))
    seed_rank = _seeds(_visits(length, receiver, num_nodes), sender, starts)
    # an edge whose receiver is a seed brings its sender into the cluster
    brings = (seed_rank[receiver] >= 0) & (seed_rank[sender] < 0)
    member, seed, away, steps = sender[brings], receiver[brings], length[brings], shift[brings]
    nearest = np.full(num_nodes, np.inf)
    np.minimum.at(nearest, member, away)
    close = away <= nearest[member] * (1 + TIE)
    member, seed, steps = member[close], seed[close], steps[close]
    order = np.lexsort((*steps.T[::-1], seed_rank[seed], member))
    first = order[np.unique(member[order], return_index=True)[1]]
    parent, moved = np.arange(num_nodes), np.zeros((num_nodes, 3), dtype=np.int64)
    parent[member[first]] = seed[first]
    moved[member[first]] = steps[first]
    _, first_member, cluster = np.unique(parent, return_index=True, return_inverse=True)
    number = np.empty(len(first_member), dtype=np.int64)
    number[np.argsort(first_member)] = np.arange(len(first_member))
    return torch.from_numpy(number[cluster]), torch.from_numpy(moved)


def _visits(length: np.ndarray, receiver: np.ndarray, num_nodes: int) -> np.ndarray:
    """Points from the densest to the sparsest; what differs by less than rounding may, in their order."""
    count = np.bincount(receiver, minlength=num_nodes)
    # squares: on a line, the sums of distances of the two middle points of an even number are equal
    total = np.bincount(receiver, weights=length**2, minlength=num_nodes)
    mean = np.where(count > 0, total / np.maximum(count, 1), _ALONE)
    order = np.argsort(mean, kind="stable")
    ordered = mean[order]
    rank = np.empty(num_nodes, dtype=np.int64)
    rank[order] = np.cumsum(np.diff(ordered, prepend=ordered[:1]) > _ROUNDING * ordered)
    return np.lexsort((np.arange(num_nodes), rank))


def _seeds(visits: np.ndarray, sender: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """``[N]``: when a point became a seed, -1 for those that are none."""
    rank = np.full(len(visits), -1, dtype=np.int64)
    covered = bytearray(len(visits))
    neighbors, begin = sender.tolist(), starts.tolist()
    count = 0
    for point in visits.tolist():
        if covered[point]:
            continue
        rank[point] = count
        count += 1
        covered[point] = 1
        for other in neighbors[begin[point] : begin[point + 1]]:
            covered[other] = 1
    return rank


# ---------------------------------------------------------------------- edges
def _edges(
    positions: Tensor, sizes: Tensor, cell: Tensor, pbc: Tensor, num_neighbors: int | None, cutoff: float
) -> tuple[Tensor, Tensor]:
    if num_neighbors is None:
        return radius_pairs(positions, sizes, cell, pbc, cutoff)
    index, shift, first = [], [], 0
    for own, box, flags in zip(positions.split(sizes.tolist()), cell, pbc, strict=True):
        edges = knn_edges(own, box, flags, num_neighbors)
        index.append(edges.index + first)
        shift.append(edges.shift)
        first += len(own)
    return torch.cat(index, dim=1), torch.cat(shift)


def _spacings(
    positions: Tensor,
    index: Tensor,
    shift: Tensor,
    cell: Tensor,
    graph_index: Tensor,
    finer: Tensor,
    shrunk: Tensor,
) -> Tensor:
    """Mean over the nodes of each graph of the distance to the nearest."""
    sender, receiver = index
    vector = positions[sender] - positions[receiver]
    vector = vector + torch.einsum("ei,eij->ej", shift.to(positions), cell[graph_index[receiver]])
    nearest = torch.full((len(positions),), float("inf"), dtype=positions.dtype)
    nearest.scatter_reduce_(0, receiver, vector.norm(dim=1), "amin")
    known = torch.isfinite(nearest)
    total = torch.zeros_like(finer).index_add(0, graph_index[known], nearest[known])
    count = torch.bincount(graph_index[known], minlength=len(finer))
    return torch.where(count > 0, total / count.clamp_min(1), finer * shrunk ** (1 / 3))

"""Pairs of moving atoms that are kept between searches (Verlet, Phys. Rev. 159, 98 (1967)).

Pairs are searched within cutoff + skin. Until atoms may have come closer by the skin no other pair can be within the cutoff; what
is beyond it is left out at each call, or stays where it is little, since it adds exact zeros. As long as the pairs are the same
so are their tensors, and calls of kernels can be made again (``models/walk.py``). Of molecules all of whose pairs are kept no
motion needs another search.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from atomfield.data.graph import MIN_DISTANCE, GraphBatch

FEW = 200
"""Pairs beyond the cutoff that may stay in a batch: they cost less than to look for them at each step."""


class TooClose(Exception):
    """Atoms are closer than ``MIN_DISTANCE``: ``edges [K]``, numbers of pairs in the batch that was searched, the closest first;
    ``distance``: of that one in angstrom."""

    def __init__(self, edges: Tensor, distance: float):
        super().__init__(f"{distance:.3g} angstrom")
        self.edges, self.distance = edges, distance


class KeptPairs:
    """cutoff: angstrom. ``searches`` counts what :meth:`keep` was given."""

    def __init__(self, cutoff: float):
        self.cutoff, self.skin = cutoff, 0.0
        self.searches = 0
        self.complete = False
        """Whether every pair of atoms is kept, so that no motion needs a search."""
        self._batch: GraphBatch | None = None
        self._near: tuple[Tensor, GraphBatch] | None = None
        """Which pairs were closer than the cutoff at the last call, and the batch with them alone."""
        self._few_beyond = False
        """Whether at most ``FEW`` pairs were beyond the cutoff when they were last looked at from anew."""
        self._room = 0.0
        """By how much atoms may come closer than they were then before any two are too close."""

    @property
    def batch(self) -> GraphBatch:
        """What was searched."""
        assert self._batch is not None
        return self._batch

    def keep(self, found: GraphBatch, skin: float, *, same: bool) -> None:
        """``found``: with its pairs within cutoff + ``skin``. same: but for positions and cells it is the batch from before,
        whose tensors stay where it has the same pairs."""
        self.skin = skin
        self.searches += 1
        before = self._batch
        if not (
            same
            and before is not None
            and torch.equal(before.edge_index, found.edge_index)
            and torch.equal(before.edge_shift, found.edge_shift)
        ):
            self._batch, self._near = found, None
        sizes = found.nodes_per_graph()
        every = int((sizes * (sizes - 1)).sum())
        self.complete = not bool(found.pbc.any()) and found.num_edges == every

    def at(self, positions: Tensor, cell: Tensor, closer: float) -> GraphBatch:
        """The batch at ``positions [N, 3]`` and ``cell [G, 3, 3]``, float64. closer: by how much two atoms can have come closer
        since the last call where it was no less than the skin. Raises :class:`TooClose`."""
        batch = replace(self.batch, positions=positions, cell=cell)
        if self._few_beyond and closer < self._room:
            return batch
        anew = not closer < self.skin
        if anew:
            self._few_beyond, self._room = False, 0.0
        square = square_lengths(batch)
        least = float(square.min()) if len(square) else float("inf")
        if least < MIN_DISTANCE**2:
            order = square.argsort()
            raise TooClose(order[square[order] < MIN_DISTANCE**2], least**0.5)
        if anew:
            self._few_beyond, self._room = self.beyond(square) <= FEW, least**0.5 - MIN_DISTANCE
        if self._few_beyond:
            return batch
        near = square < self.cutoff**2
        if self._near is None or not torch.equal(self._near[0], near):
            picked = near.nonzero().squeeze(1)
            only = replace(
                batch,
                edge_index=batch.edge_index.index_select(1, picked),
                edge_shift=batch.edge_shift.index_select(0, picked),
                edge_is_radius=batch.edge_is_radius.index_select(0, picked),
            )
            self._near = (near, only)
        return replace(self._near[1], positions=positions, cell=cell)

    def beyond(self, square_E: Tensor) -> int:
        """How many of the squared lengths are no less than the cutoff."""
        return int((square_E >= self.cutoff**2).sum())


def square_lengths(batch: GraphBatch) -> Tensor:
    """``[E]`` angstrom^2."""
    sender, receiver = batch.edge_index
    vector = batch.positions.index_select(0, sender) - batch.positions.index_select(0, receiver)
    if batch.num_graphs == 1:
        lattice = batch.edge_shift @ batch.cell[0]
    else:
        cells = batch.cell[batch.graph_index[receiver]]
        lattice = torch.einsum("es,esd->ed", batch.edge_shift, cells)
    return (vector + lattice).square().sum(1)

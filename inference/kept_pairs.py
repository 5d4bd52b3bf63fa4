"""Pairs of moving atoms that are kept between searches (Verlet, Phys. Rev. 159, 98 (1967)).

Pairs are searched within cutoff + skin. Until atoms may have come closer by the skin no other pair can be within the cutoff; what
is beyond it is left out, or stays where it is little, since it adds exact zeros. As long as the pairs are the same so are their
tensors, and calls of kernels can be made again (``models/walk.py``); in a crystal pairs cross the cutoff at nearly every step, so
those of a thin margin stay too where atoms are slow enough. Of molecules all of whose pairs are kept no motion needs
another search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from atomfield.data.graph import MIN_DISTANCE, GraphBatch
from atomfield.models.force_pass import MOST_RECORDED

FEW = 200
"""Pairs beyond the cutoff that may stay in a batch: they cost less than to look for them at each step."""
MARGIN = 0.1
"""Angstrom beyond the cutoff within which pairs may stay in a batch until atoms may have come closer by as much: at 5 angstrom a
sixteenth more pairs in a liquid."""
WORTH = 3
"""Calls that a margin has to last: the first two prepare calls of kernels, which the others make again."""


class TooClose(Exception):
    """Atoms are closer than ``MIN_DISTANCE``: ``edges [K]``, numbers of pairs in the batch that was searched, the closest first;
    ``distance``: of that one in angstrom."""

    def __init__(self, edges: Tensor, distance: float):
        super().__init__(f"{distance:.3g} angstrom")
        self.edges, self.distance = edges, distance


@dataclass
class Picked:
    """The pairs of a batch that were closer than the cutoff, or than cutoff + ``margin``, at ``positions`` and ``cell``.

    which: ``[E]`` of the pairs that were searched. room: by how much atoms may come closer before any two are too close.
    calls: answered since.
    """

    which: Tensor
    batch: GraphBatch
    positions: Tensor
    cell: Tensor
    margin: float
    room: float
    calls: int = 0

    def approached(self, positions: Tensor, cell: Tensor) -> float:
        """By how much two atoms can have come closer since, in angstrom; infinite with another cell."""
        if not torch.equal(self.cell, cell):
            return float("inf")
        return 2 * float((positions - self.positions).square().sum(1).max()) ** 0.5 if len(positions) else 0.0


class KeptPairs:
    """cutoff: angstrom. ``searches`` counts what :meth:`keep` was given."""

    def __init__(self, cutoff: float):
        self.cutoff, self.skin = cutoff, 0.0
        self.searches = 0
        self.complete = False
        """Whether every pair of atoms is kept, so that no motion needs a search."""
        self._batch: GraphBatch | None = None
        self._near: Picked | None = None
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
        margin = 0.0
        if self._near is not None:
            self._near.calls += 1
            approached = self._near.approached(positions, cell)
            if not anew and approached < min(self._near.margin, self._near.room):
                return replace(self._near.batch, positions=positions, cell=cell)
            again = self._near.batch.num_edges <= MOST_RECORDED and not positions.is_cuda
            if again and approached * WORTH < MARGIN * self._near.calls:
                margin = MARGIN
        if anew:
            self._few_beyond, self._room = False, 0.0
        square = square_lengths(batch)
        least = float(square.min()) if len(square) else float("inf")
        if least < MIN_DISTANCE**2:
            order = square.argsort()
            raise TooClose(order[square[order] < MIN_DISTANCE**2], least**0.5)
        room = least**0.5 - MIN_DISTANCE
        if anew:
            self._few_beyond, self._room = self.beyond(square) <= FEW, room
        if self._few_beyond:
            return batch
        near = square < (self.cutoff + margin) ** 2
        if self._near is not None and torch.equal(self._near.which, near):
            only = self._near.batch
        else:
            picked = near.nonzero().squeeze(1)
            only = replace(
                batch,
                edge_index=batch.edge_index.index_select(1, picked),
                edge_shift=batch.edge_shift.index_select(0, picked),
                edge_is_radius=batch.edge_is_radius.index_select(0, picked),
            )
        self._near = Picked(near, only, positions.clone(), cell.clone(), margin, room)
        return replace(only, positions=positions, cell=cell)

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

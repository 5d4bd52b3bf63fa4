"""Chemical bonds: pairs of atoms with a type, as a file says them. Never guessed from distances.

A ``Graph`` whose file says nothing about bonds has ``bonds=None``, which is a state of its own and not "no bonds"; argon has a
``Bonds`` of none.

Shapes: ``B`` bonds, ``N`` nodes, ``E`` directed edges, ``G`` graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from .graph_batch import GraphBatch


class BondType(IntEnum):
    """What lies between two atoms. ``OTHER`` is a bond of another kind (dative, quadruple) or of unknown order; ``NONE`` and
    ``NOT_TOLD`` are never in a ``Bonds``, only in :func:`edge_bonds`."""

    NONE = 0
    SINGLE = 1
    DOUBLE = 2
    TRIPLE = 3
    AROMATIC = 4
    OTHER = 5
    NOT_TOLD = 6


NUM_EDGE_BONDS = len(BondType)
"""How many values :func:`edge_bonds` has: the size of a table of embeddings."""


@dataclass(frozen=True, eq=False)
class Bonds:
    """Each bond once, between atoms where they stand (no lattice shift); sorted by first, then second atom.

    index: ``[2, B]`` int64, ``index[0] < index[1]``. kind: ``[B]`` int64, :class:`BondType` SINGLE to OTHER.
    conjugated, in_ring: ``[B]`` bool, as RDKit perceives them.
    """

    index: Tensor
    kind: Tensor
    conjugated: Tensor
    in_ring: Tensor

    @classmethod
    def of(
        cls,
        pairs: np.ndarray | Sequence[Sequence[int]],
        kind: np.ndarray | Sequence[int],
        conjugated: np.ndarray | Sequence[bool] | None = None,
        in_ring: np.ndarray | Sequence[bool] | None = None,
    ) -> Bonds:
        """From ``pairs [B, 2]`` in any order and direction; flags default to False."""
        count = len(kind)
        ends = np.sort(np.asarray(pairs, dtype=np.int64).reshape(count, 2), axis=1)
        order = np.lexsort((ends[:, 1], ends[:, 0]))
        flags = [
            np.zeros(count, dtype=bool) if x is None else np.asarray(x, dtype=bool)
            for x in (conjugated, in_ring)
        ]
        return cls(
            torch.from_numpy(np.ascontiguousarray(ends[order].T)),
            torch.from_numpy(np.asarray(kind, dtype=np.int64)[order]),
            torch.from_numpy(flags[0][order]),
            torch.from_numpy(flags[1][order]),
        )

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are equal."""
        return isinstance(other, Bonds) and all(torch.equal(x, vars(other)[n]) for n, x in vars(self).items())

    __hash__ = None  # type: ignore[assignment]  # as for every record of tensors that compares by value

    @property
    def num_bonds(self) -> int:
        return int(self.kind.shape[0])

    def fault(self, num_nodes: int) -> str:
        """What is wrong with them in a graph of ``num_nodes``, as the text of an error; empty if nothing is."""
        index, kind = self.index.cpu().numpy(), self.kind.cpu().numpy()
        count = len(kind)
        if index.shape != (2, count) or len(self.conjugated) != count or len(self.in_ring) != count:
            return f"bonds have index {list(index.shape)} and {count} kinds, expected [2, B] and B of each"
        if not count:
            return ""
        first, second = index
        outside = (index < 0).any(axis=0) | (index >= num_nodes).any(axis=0)
        if outside.any():
            k = int(outside.argmax())
            return f"bond {k} joins atoms {first[k]} and {second[k]}, expected numbers below {num_nodes}"
        if (first == second).any():
            return f"atom {first[(first == second).argmax()]} is bound to itself"
        key = first * num_nodes + second
        if (first > second).any() or (np.diff(key) < 0).any():
            return "bonds are not in order, expected them as Bonds.of gives them"
        if (np.diff(key) == 0).any():
            k = int((np.diff(key) == 0).argmax())
            return f"the bond of atoms {first[k]} and {second[k]} is there twice"
        wrong = (kind < BondType.SINGLE) | (kind > BondType.OTHER)
        if wrong.any():
            k = int(wrong.argmax())
            return f"bond {k} is of kind {kind[k]}, expected {BondType.SINGLE:d} to {BondType.OTHER:d}"
        return ""

    def among(self, nodes: Tensor) -> Bonds:
        """Those between ``nodes [M]``, renumbered as the nodes are ordered there: for a permutation or a part of a graph."""
        top = int(self.index.max()) + 1 if self.num_bonds else 0
        place = torch.full((max(top, int(nodes.max()) + 1 if len(nodes) else 0),), -1, dtype=torch.int64)
        place[nodes] = torch.arange(len(nodes))
        index = place[self.index]
        kept = (index >= 0).all(dim=0)
        parts = (index.T[kept], self.kind[kept], self.conjugated[kept], self.in_ring[kept])
        return Bonds.of(*(x.numpy() for x in parts))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Bonds:
        """With ``change`` applied to each tensor."""
        return Bonds(*(change(x) for x in (self.index, self.kind, self.conjugated, self.in_ring)))


def no_bonds() -> Bonds:
    """None at all."""
    return Bonds.of(np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64))


def joined(parts: Sequence[Bonds], offsets: Sequence[int]) -> Bonds:
    """The bonds of several graphs, whose first nodes are ``offsets``."""
    if not parts:
        return no_bonds()
    return Bonds(
        torch.cat([b.index + offset for b, offset in zip(parts, offsets, strict=True)], dim=1),
        torch.cat([b.kind for b in parts]),
        torch.cat([b.conjugated for b in parts]),
        torch.cat([b.in_ring for b in parts]),
    )


def edge_bonds(batch: GraphBatch) -> Tensor:
    """``[E]`` int64, :class:`BondType` of each edge of a batch: NONE where its ends are not bonded (or are images of bonded atoms
    in another cell), NOT_TOLD in graphs whose bonds are not known. Both directions of a bond have its type.

    A bond that is longer than the cutoff has no edge; ``batch.bonds`` has it all the same.
    """
    sender, receiver = batch.edge_index
    told = batch.bonds_known[batch.graph_index[receiver]]
    out = torch.where(told, int(BondType.NONE), int(BondType.NOT_TOLD))
    bonds = batch.bonds
    if not bonds.num_bonds:
        return out
    keys = bonds.index[0] * batch.num_nodes + bonds.index[1]  # ascending, as bonds and graphs are in order
    wanted = torch.minimum(sender, receiver) * batch.num_nodes + torch.maximum(sender, receiver)
    place = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    found = (keys[place] == wanted) & (batch.edge_shift == 0).all(dim=1)
    return torch.where(found, bonds.kind[place], out)

"""The pairs of one structure that moves: searched within cutoff + skin and kept until they may be incomplete.

Molecular dynamics asks for the same atoms a little further on, thousands of times. Pairs are kept until an atom has moved by half
the skin or the cell has changed (Verlet, Phys. Rev. 159, 98 (1967)). At each call the pairs beyond the cutoff are left out, or
in a small structure add zeros, so that the answer is that of a fresh search. A cell that changes a little (constant pressure,
relaxation) keeps its pairs too: what counts is how far atoms have moved beside the lattice, plus how far the strain carries the
ends of a pair apart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import MIN_DISTANCE, GraphBatch, collate
from atomfield.data.neighbors import radius_edges
from atomfield.data.quantities import PER_FRAGMENT
from atomfield.models.force_pass import MOST_RECORDED

from .convert import STATED, graph_from_atoms, without_labels

WHERE = Provenance(file="<atoms>")


class PairList:
    """The batch of one structure, whose pairs are searched anew only when they may be incomplete.

    cutoff, skin: angstrom. ``searches`` counts how often pairs were searched.
    """

    def __init__(self, cutoff: float, skin: float):
        self.cutoff, self.skin = cutoff, skin
        self.searches = 0
        self._batch: GraphBatch | None = None
        self._atoms: Atoms | None = None
        self._stated: tuple[Any, ...] = ()
        self._may_collide = True
        """Whether atoms were so close at the last search that they may be too close before the next."""

    def batch(self, atoms: Atoms, level: str) -> GraphBatch:
        """Float64 batch on the CPU with the pairs closer than ``cutoff``; of a small structure with all that are kept, the same
        tensors as long as they are: pairs beyond the cutoff add exact zeros, and calls of kernels can be made again
        (``models/walk.py``)."""
        searched = self._batch is None or self._batch.levels != [level] or self._is_stale(atoms)
        if searched:
            graph = graph_from_atoms(atoms, level=level, where=WHERE)
            edges = radius_edges(graph.positions, graph.cell, graph.pbc, self.cutoff + self.skin)
            self._batch = collate([replace(without_labels(graph), edges={"radius": edges})])
            self._atoms, self._stated = atoms.copy(), stated(atoms)
            self.searches += 1
        batch = self._batch
        assert batch is not None
        positions = torch.from_numpy(np.array(atoms.positions, dtype=np.float64))
        cell = batch.cell
        if atoms.pbc.all():  # elsewhere a changed cell is a new search
            cell = torch.from_numpy(np.array(atoms.cell.array, dtype=np.float64))[None]
        batch = replace(batch, positions=positions, cell=cell)
        small = batch.num_edges <= MOST_RECORDED
        if small and not searched and not self._may_collide:
            return batch
        square = self._squares(batch)
        if searched:  # no pair comes closer by more than the skin before the next search
            self._may_collide = bool((square < (MIN_DISTANCE + self.skin) ** 2).any())
        if small:
            return batch
        near = (square < self.cutoff**2).nonzero().squeeze(1)
        return replace(
            batch,
            edge_index=batch.edge_index.index_select(1, near),
            edge_shift=batch.edge_shift.index_select(0, near),
            edge_is_radius=batch.edge_is_radius.index_select(0, near),
        )

    def _squares(self, batch: GraphBatch) -> Tensor:
        """``[E]`` squared distances; ``InputError`` where one is below ``MIN_DISTANCE``."""
        sender, receiver = batch.edge_index
        vector = batch.positions.index_select(0, sender) - batch.positions.index_select(0, receiver)
        square = (vector + batch.edge_shift @ batch.cell[0]).square().sum(1)
        if len(square) and float(square.min()) < MIN_DISTANCE**2:
            worst = int(square.argmin())
            i, j = sorted((int(sender[worst]), int(receiver[worst])))
            raise InputError(
                f"atoms {i} and {j} are {float(square[worst]) ** 0.5:.3g} angstrom apart, expected at least {MIN_DISTANCE}",
                WHERE,
            )
        return square

    def _is_stale(self, atoms: Atoms) -> bool:
        before = self._atoms
        assert before is not None
        if (
            len(before) != len(atoms)
            or (before.numbers != atoms.numbers).any()
            or (before.pbc != atoms.pbc).any()
            or self._stated != stated(atoms)
        ):
            return True
        expected, stretch = before.positions, 0.0
        if (before.cell.array != atoms.cell.array).any():
            if not atoms.pbc.all():
                return True
            # x -> x (1 + e) with the lattice: a pair beyond cutoff + skin comes closer by its length times the strain at most
            change = np.linalg.solve(before.cell.array, atoms.cell.array)
            stretch = 1 - 1 / float(np.linalg.norm(np.linalg.inv(change), 2))
            expected = expected @ change
        moved = float(np.sqrt(((atoms.positions - expected) ** 2).sum(axis=1).max()))
        left = (self.cutoff + self.skin) * (1 - max(stretch, 0.0)) - self.cutoff
        return not 2 * moved < left


def stated(atoms: Atoms) -> tuple[Any, ...]:
    """What the model reads beside the geometry."""
    arrays = (atoms.arrays.get(name) for name in PER_FRAGMENT.values())
    return (
        *(atoms.info.get(name) for name in STATED),
        *(None if values is None else values.tobytes() for values in arrays),
    )

"""The pairs of one structure that moves: searched within cutoff + skin and kept until they may be incomplete.

Molecular dynamics asks for the same atoms a little further on, thousands of times. Pairs are kept until an atom has moved by half
the skin or the cell has changed (Verlet, Phys. Rev. 159, 98 (1967)). At each call the pairs beyond the cutoff are left out, or
add exact zeros where they are few, so that the answer is that of a fresh search. A cell that changes a little (constant pressure,
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
from atomfield.data.graph import MIN_DISTANCE, Graph, GraphBatch, collate
from atomfield.data.neighbors import radius_edges
from atomfield.data.quantities import PER_FRAGMENT

from .convert import STATED, graph_from_atoms, without_labels

WHERE = Provenance(file="<atoms>")


FEW = 200
"""Pairs beyond the cutoff that may stay in a batch: they cost less than to look for them at each step."""
SMALL = 100
"""Atoms up to which a skin twice as wide is tried first: where few pairs are in it, it saves most searches, since most of what
atoms do is to swing about a place."""


class PairList:
    """The batch of one structure, whose pairs are searched anew only when they may be incomplete.

    cutoff, skin: angstrom. ``searches`` counts how often pairs were searched.
    """

    def __init__(self, cutoff: float, skin: float):
        self.cutoff, self._given_skin = cutoff, skin
        self.skin = skin
        """Of the last search."""
        self.searches = 0
        self._batch: GraphBatch | None = None
        self._atoms: Atoms | None = None
        self._stated: tuple[Any, ...] = ()
        self._near: tuple[Tensor, GraphBatch] | None = None
        """Which pairs were closer than the cutoff at the last call, and the batch with them alone."""
        self._few_beyond = self._complete = False
        """Whether at most ``FEW`` pairs were beyond the cutoff when atoms had moved; whether every pair of atoms is kept, so that
        no motion needs a search."""
        self._room = 0.0
        """By how much atoms may come closer than they were when pairs were searched before any two are too close."""

    def batch(self, atoms: Atoms, level: str) -> GraphBatch:
        """Float64 batch on the CPU with the pairs closer than ``cutoff``; where few are beyond it with all that are kept, which
        add exact zeros. As long as the pairs are the same so are their tensors, and calls of kernels can be made again
        (``models/walk.py``)."""
        another = self._batch is None or self._batch.levels != [level] or self._is_another(atoms)
        closer = float("inf") if another else self._closer(atoms)
        moved = another or not closer < self.skin
        if another or (moved and not self._complete):
            self._search(atoms, level, None if another else self._batch)
        if moved:
            self._atoms, self._room = atoms.copy(), 0.0
        batch = self._batch
        assert batch is not None
        positions = torch.from_numpy(np.array(atoms.positions, dtype=np.float64))
        cell = batch.cell
        if atoms.pbc.all():  # elsewhere a changed cell is a new search
            cell = torch.from_numpy(np.array(atoms.cell.array, dtype=np.float64))[None]
        batch = replace(batch, positions=positions, cell=cell)
        if self._few_beyond and closer < self._room:
            return batch
        square = self._squares(batch)
        if moved:
            self._room = float(square.min()) ** 0.5 - MIN_DISTANCE if len(square) else float("inf")
            self._few_beyond = self._beyond(square) <= FEW
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

    def _squares(self, batch: GraphBatch) -> Tensor:
        """``[E]`` squared distances; ``InputError`` where one is below ``MIN_DISTANCE``."""
        square = _square_lengths(batch)
        if len(square) and float(square.min()) < MIN_DISTANCE**2:
            worst = int(square.argmin())
            sender, receiver = batch.edge_index
            i, j = sorted((int(sender[worst]), int(receiver[worst])))
            raise InputError(
                f"atoms {i} and {j} are {float(square[worst]) ** 0.5:.3g} angstrom apart, expected at least {MIN_DISTANCE}",
                WHERE,
            )
        return square

    def _search(self, atoms: Atoms, level: str, before: GraphBatch | None) -> None:
        """``before``: of the same atoms elsewhere; where it has the same pairs its tensors stay."""
        graph = without_labels(graph_from_atoms(atoms, level=level, where=WHERE))
        self.skin = 2 * self._given_skin if len(atoms) <= SMALL else self._given_skin
        found = self._found(graph)
        if self.skin > self._given_skin and self._beyond(_square_lengths(found)) > FEW:
            self.skin = self._given_skin
            found = self._found(graph)
        self.searches += 1
        if before is None or not (
            torch.equal(before.edge_index, found.edge_index)
            and torch.equal(before.edge_shift, found.edge_shift)
        ):
            self._batch, self._near = found, None
        self._stated = stated(atoms)
        self._complete = not atoms.pbc.any() and found.num_edges == len(atoms) * (len(atoms) - 1)

    def _found(self, graph: Graph) -> GraphBatch:
        edges = radius_edges(graph.positions, graph.cell, graph.pbc, self.cutoff + self.skin)
        return collate([replace(graph, edges={"radius": edges})])

    def _beyond(self, square_E: Tensor) -> int:
        return int((square_E >= self.cutoff**2).sum())

    def _is_another(self, atoms: Atoms) -> bool:
        """Whether more than positions, or the lattice of a crystal, is new."""
        before = self._atoms
        assert before is not None
        return bool(
            len(before) != len(atoms)
            or (before.numbers != atoms.numbers).any()
            or (before.pbc != atoms.pbc).any()
            or self._stated != stated(atoms)
            or (not atoms.pbc.all() and (before.cell.array != atoms.cell.array).any())
        )

    def _closer(self, atoms: Atoms) -> float:
        """By how much two atoms that were ``cutoff + skin`` apart at most can have come closer, in angstrom."""
        before = self._atoms
        assert before is not None
        expected, stretch = before.positions, 0.0
        if atoms.pbc.all() and (before.cell.array != atoms.cell.array).any():
            # x -> x (1 + e) with the lattice: a pair comes closer by its length times the strain at most
            change = np.linalg.solve(before.cell.array, atoms.cell.array)
            stretch = 1 - 1 / float(np.linalg.norm(np.linalg.inv(change), 2))
            expected = expected @ change
        moved = float(np.sqrt(((atoms.positions - expected) ** 2).sum(axis=1).max(initial=0.0)))
        return 2 * moved + (self.cutoff + self.skin) * max(stretch, 0.0)


def _square_lengths(batch: GraphBatch) -> Tensor:
    """``[E]`` angstrom^2."""
    sender, receiver = batch.edge_index
    vector = batch.positions.index_select(0, sender) - batch.positions.index_select(0, receiver)
    return (vector + batch.edge_shift @ batch.cell[0]).square().sum(1)


def stated(atoms: Atoms) -> tuple[Any, ...]:
    """What the model reads beside the geometry."""
    arrays = (atoms.arrays.get(name) for name in PER_FRAGMENT.values())
    return (
        *(atoms.info.get(name) for name in STATED),
        *(None if values is None else values.tobytes() for values in arrays),
    )

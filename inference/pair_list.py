"""The pairs of one structure that moves, kept until they may be incomplete (:mod:`.kept_pairs`).

Molecular dynamics asks for the same atoms a little further on, thousands of times. The answer is that of a fresh search, bit for
bit.

A cell that changes a little (constant pressure, relaxation) keeps its pairs too: what counts is how far atoms have moved beside
the lattice, plus how far the strain carries the ends of a pair apart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ase import Atoms

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import MIN_DISTANCE, Graph, GraphBatch, collate
from atomfield.data.neighbors import radius_edges, with_radius_edges
from atomfield.data.quantities import PER_FRAGMENT

from .convert import STATED, graph_from_atoms, without_labels
from .kept_pairs import FEW, KeptPairs, TooClose, square_lengths

SMALL = 100
"""Atoms up to which a skin twice as wide is tried first: where few pairs are in it, it saves most searches, since most of what
atoms do is to swing about a place."""
MANY = 2000
"""Atoms from which a GPU looks for pairs itself: below, starting its kernels takes longer than the search on a processor."""


class PairList:
    """The batch of one structure, whose pairs are searched anew only when they may be incomplete.

    cutoff, skin: angstrom. device: where batches are; on a GPU only positions and cells go there at each call, and it looks for
    the pairs of ``MANY`` atoms and more itself. where: what errors call the structure; default: its formula.
    """

    def __init__(
        self, cutoff: float, skin: float, device: torch.device | str = "cpu", where: Provenance | None = None
    ):
        self.skin, self.kept, self.device = skin, KeptPairs(cutoff), torch.device(device)
        self.searches_there = self.device.type != "cpu"
        """Whether it looks for the pairs of ``MANY`` atoms itself."""
        self._where = where
        self._atoms: Atoms | None = None
        self._stated: tuple[Any, ...] = ()

    def place(self, atoms: Atoms) -> Provenance:
        """What errors call ``atoms``."""
        return self._where or Provenance(file=f"<atoms {atoms.get_chemical_formula()}>")

    @property
    def searches(self) -> int:
        """How often pairs were searched."""
        return self.kept.searches

    def batch(self, atoms: Atoms, level: str) -> GraphBatch:
        """Float64 batch with the pairs closer than the cutoff, see :class:`.kept_pairs.KeptPairs`."""
        another = self._is_another(atoms) or self.kept.batch.levels != [level]
        closer = float("inf") if another else self._closer(atoms)
        moved = not closer < self.kept.skin
        if another or (moved and not self.kept.complete):
            self._search(atoms, level, same=not another)
        if moved:
            self._atoms = atoms.copy()
        positions = torch.from_numpy(np.array(atoms.positions, dtype=np.float64)).to(self.device)
        cell = self.kept.batch.cell
        if atoms.pbc.all():  # elsewhere a changed cell is a new search
            cell = torch.from_numpy(np.array(atoms.cell.array, dtype=np.float64))[None].to(self.device)
        try:
            return self.kept.at(positions, cell, closer)
        except TooClose as error:
            i, j = sorted(self.kept.batch.edge_index[:, error.edges[0]].tolist())
            raise InputError(
                f"atoms {i} and {j} are {error.distance:.3g} angstrom apart, expected at least {MIN_DISTANCE}",
                self.place(atoms),
            ) from None

    def _search(self, atoms: Atoms, level: str, *, same: bool) -> None:
        graph = without_labels(graph_from_atoms(atoms, level=level, where=self.place(atoms)))
        skin = 2 * self.skin if len(atoms) <= SMALL else self.skin
        found = self._found(graph, skin)
        if skin > self.skin and self.kept.beyond(square_lengths(found)) > FEW:
            skin = self.skin
            found = self._found(graph, skin)
        self.kept.keep(found, skin, same=same)
        self._stated = stated(atoms)

    def _found(self, graph: Graph, skin: float) -> GraphBatch:
        reach = self.kept.cutoff + skin
        if self.searches_there and graph.num_nodes >= MANY:
            return with_radius_edges(collate([graph]).to(self.device), reach)
        edges = radius_edges(graph.positions, graph.cell, graph.pbc, reach)
        batch = collate([replace(graph, edges={"radius": edges})])
        return batch if self.device.type == "cpu" else batch.to(self.device)

    def _is_another(self, atoms: Atoms) -> bool:
        """Whether more than positions, or the lattice of a crystal, is new."""
        before = self._atoms
        return before is None or bool(
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
        return 2 * moved + (self.kept.cutoff + self.kept.skin) * max(stretch, 0.0)


def stated(atoms: Atoms) -> tuple[Any, ...]:
    """What the model reads beside the geometry."""
    arrays = (atoms.arrays.get(name) for name in PER_FRAGMENT.values())
    return (
        *(atoms.info.get(name) for name in STATED),
        *(None if values is None else values.tobytes() for values in arrays),
    )

"""Overlap of a test set with the training set: the same structure, or the same molecule, on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph

from .findings import Finding
from .fingerprint import close_pairs, fingerprint, same_structure
from .scales import covalent_radii

Kind = Literal["structure", "molecule"]
SURFACE = {"energy", "forces", "stress"}
"""Targets of a potential energy surface: train and test share molecules by design, only structures leak."""


@dataclass(frozen=True)
class Overlap:
    """What two parts share. structures, molecules: test record -> training record (the first that is the same). by: which of
    them is a leak for the targets. where: names of both parts."""

    structures: dict[int, int]
    molecules: dict[int, int]
    by: Kind
    num_test: int
    num_train: int
    where: str
    named: tuple[str, ...] = ()

    @property
    def leaked(self) -> dict[int, int]:
        """Test records that must not count, with the training record that gives them away."""
        return self.structures if self.by == "structure" else {**self.molecules, **self.structures}

    @property
    def clean(self) -> list[int]:
        """Test records that are not in the training set."""
        return [i for i in range(self.num_test) if i not in self.leaked]

    def sentence(self) -> str:
        """What was found, in one line."""
        what = "structure" if self.by == "structure" else "structure or molecule"
        return (
            f"{len(self.leaked)} of {self.num_test} test records have the {what} of a training record "
            f"({len(self.leaked) / max(1, self.num_test):.1%})"
        )

    def findings(self) -> list[Finding]:
        found = []
        if self.leaked:
            advice = "metrics are given with and without them; --on-leak raise refuses"
            found.append(
                Finding(
                    "overlap", "suspect", self.where, self.sentence(), advice, self.named, len(self.leaked)
                )
            )
        elif self.molecules:
            message = (
                f"{len(self.molecules)} of {self.num_test} test records are other geometries of molecules in the training set, "
                "as usual for a potential energy surface"
            )
            found.append(Finding("overlap", "note", self.where, message, "", (), len(self.molecules)))
        return found

    def refuse(self, on_leak: str) -> None:
        """Raise ``InputError`` where the test set IS the training set, or has any leak with ``on_leak="raise"``."""
        if self.leaked and len(self.structures) == self.num_test and self.num_test >= 0.9 * self.num_train:
            raise InputError(
                f"these are the training records: {self.sentence()}; give other records",
                self.where,
            )
        if self.leaked and on_leak == "raise":
            raise InputError(f"{self.sentence()}; the first: {self.named[0]}", self.where)


def leak_of(graphs: Sequence[Graph], targets: Sequence[str] = ()) -> Kind:
    """What two records of ``graphs`` share where one gives the other's ``targets`` away (none: all labels that they have)."""
    is_surface = bool(SURFACE & set(targets)) or (
        not targets and any("forces" in g.quantities for g in graphs)
    )
    return "structure" if is_surface or any(g.world != "molecule" for g in graphs) else "molecule"


def overlap(
    train: Sequence[Graph], test: Sequence[Graph], targets: Sequence[str] = (), where: str = "train and test"
) -> Overlap:
    """Compare every test record with every training record (by fingerprints, then atom by atom).

    targets: without forces, energy or stress among them (and for atoms) a molecule on both sides counts as a leak too.
    """
    prints = [fingerprint(g, level=False) for g in train] + [fingerprint(g, level=False) for g in test]
    count = len(train)
    structures: dict[int, int] = {}
    for i, j in close_pairs_across(prints, count):
        if j not in structures and same_structure(train[i], test[j]):
            structures[j] = i
    by_group: dict[str, int] = {}
    by_bonds: dict[str, int] = {}
    for i, g in enumerate(train):
        name = molecule_name(g)
        if name:
            by_group.setdefault(name, i)
        if g.world == "molecule":
            by_bonds.setdefault(bonds_key(g), i)
    molecules: dict[int, int] = {}
    for j, g in enumerate(test):
        name = molecule_name(g)
        if name:
            if name in by_group:
                molecules[j] = by_group[name]
        elif g.world == "molecule" and (key := bonds_key(g)) in by_bonds:
            molecules[j] = by_bonds[key]
    by = leak_of(test, targets)
    leaked = structures if by == "structure" else {**molecules, **structures}
    named = tuple(f"{test[j].provenance} is {train[i].provenance}" for j, i in sorted(leaked.items()))
    return Overlap(structures, molecules, by, len(test), count, where, named)


def close_pairs_across(prints: Sequence, count: int) -> list[tuple[int, int]]:
    """``(train, test)`` candidates: those of ``close_pairs`` with one record on each side."""
    pairs = close_pairs(prints)
    return [(i, j - count) for i, j in pairs if i < count <= j]


def molecule_name(graph: Graph) -> str:
    """The group of a molecule where it says more than its formula (a canonical SMILES), else nothing."""
    if graph.world != "molecule" or not graph.group:
        return ""
    from ase.data import chemical_symbols
    from ase.formula import Formula

    kinds, counts = np.unique(graph.species.numpy(), return_counts=True)
    formula = Formula.from_dict({chemical_symbols[z]: int(n) for z, n in zip(kinds, counts, strict=True)})
    return "" if graph.group == str(formula.convert("hill")) else graph.group


def bonds_key(graph: Graph) -> str:
    """Which atom is bonded to which, as a text that the order of atoms does not change: :func:`key_of_bonds` of
    :func:`bonded_pairs`."""
    return key_of_bonds(graph.species.numpy(), bonded_pairs(graph))


def bonded_pairs(graph: Graph) -> np.ndarray:
    """``[2, B]`` atoms closer than 1.25 times the sum of their covalent radii, each pair in both directions."""
    from atomfield.data.neighbors import radius_edges

    radii = covalent_radii()[graph.species.numpy()]
    edges = radius_edges(graph.positions, graph.cell, graph.pbc, float(2.5 * radii.max()))
    sender, receiver = edges.index.numpy()
    distance = np.linalg.norm(graph.positions.numpy()[sender] - graph.positions.numpy()[receiver], axis=1)
    return np.stack([sender, receiver])[:, distance < 1.25 * (radii[sender] + radii[receiver])]


def key_of_bonds(species: np.ndarray, pairs: np.ndarray, rounds: int = 4) -> str:
    """A text for a bond graph (Weisfeiler-Lehman labels): no bond orders, no stereochemistry. species ``[N]``; pairs ``[2, B]``
    in both directions."""
    import hashlib

    labels = [str(z) for z in species.tolist()]
    for _ in range(rounds):
        around: list[list[str]] = [[] for _ in labels]
        for a, b in zip(*pairs.tolist(), strict=True):
            around[b].append(labels[a])
        labels = [
            hashlib.blake2b((own + "(" + ",".join(sorted(others))).encode(), digest_size=8).hexdigest()
            for own, others in zip(labels, around, strict=True)
        ]
    return hashlib.blake2b(",".join(sorted(labels)).encode(), digest_size=16).hexdigest()

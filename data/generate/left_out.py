"""Molecules that a generator must not make because a source has them: by InChIKey without stereochemistry and by the bond
graph.

Of a SMILES table only the column of SMILES is read, nothing is embedded. The first block of an InChIKey says formula, skeleton
and movable hydrogens, not protonation: tautomers, stereoisomers, acids and their anions are one. The bond graph
(:mod:`..excluding`) is known of any record with positions. A record stands for itself as a whole and for each of its separate
molecules of two or more heavy atoms (the ligand of a salt, both molecules of a dimer), so that a counter-ion does not rule out
chloride. A single atom is no molecule and never left out. Water and its like (ammonia, hydroxide, ammonium: one heavy atom that
is no carbon) are left out where they would be alone, and allowed beside others: lists of drugs have them, and clusters need
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..checks.overlap import bonded_pairs, key_of_bonds
from ..errors import InputError
from ..excluding import bonds_key_of_molecule, smiles_of_table
from ..graph import Graph
from ..readers.options import ReadOptions
from ..source import open_source, store_folder
from .species import Species


@dataclass
class LeftOut:
    """names: InChIKey block or bond graph -> the first source that has it. records: how many each source has, and how many of
    them could not be read. counts: species of ours that each source has ruled out."""

    names: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[str, int]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    _known: dict[str, str | None] = field(default_factory=dict, repr=False)

    def has(self, species: Species, *, beside: bool = False) -> bool:
        """Whether a source has the molecule; then it is counted. beside: as a part of a cluster, where water and its like
        (one heavy atom that is no carbon) are allowed."""
        if not self.names or (beside and _like_water(species.smiles)):
            return False
        if species.smiles not in self._known:
            names = names_of_smiles(species.smiles) or []
            self._known[species.smiles] = next((self.names[n] for n in names if n in self.names), None)
            if (source := self._known[species.smiles]) is not None:
                self.counts[source] += 1
        return self._known[species.smiles] is not None

    def kept(self, listed: Iterable[Species], *, beside: bool = False) -> list[Species]:
        """Those that no source has."""
        return [s for s in listed if not self.has(s, beside=beside)]


def _like_water(smiles: str) -> bool:
    from rdkit import Chem

    heavy = [a.GetAtomicNum() for a in Chem.MolFromSmiles(smiles).GetAtoms() if a.GetAtomicNum() > 1]
    return len(heavy) == 1 and heavy[0] != 6


def left_out(sources: Sequence[str], smiles: Sequence[str], most_atoms: int) -> LeftOut:
    """What ``sources`` and a list of ``smiles`` (as the source ``task``) rule out.

    Molecules of more than ``most_atoms`` with their hydrogens are passed over: nothing that large is made. Raises ``InputError``
    for a source that is not there or of which no record can be read.
    """
    out = LeftOut()
    for source, names in (
        ("task", (names_of_smiles(text, most_atoms) for text in smiles)),
        *((s, _names(s, most_atoms)) for s in sources),
    ):
        seen = Counter({"records": 0, "not read": 0})
        for found in names:
            seen["records"] += 1
            seen["not read"] += found is None
            for name in found or ():
                out.names.setdefault(name, source)
        if seen["records"] == seen["not read"] and source != "task":
            raise InputError("no record could be read as a molecule", source)
        out.records[source] = dict(seen)
    return out


def _names(source: str, most_atoms: int) -> Iterator[list[str] | None]:
    """The names of each record, None for one that cannot be read."""
    smiles = smiles_of_table(Path(source))
    if smiles is not None:
        yield from (names_of_smiles(text, most_atoms) for text in smiles)
        return
    known: dict[str, list[str]] = {}
    for graph in open_source(source, ReadOptions(on_bad="skip"), []):
        if graph.world != "molecule" or graph.num_nodes > 2 * most_atoms:
            yield []
        else:
            found = names_of_graph(graph)
            if graph.group and store_folder(source) is not None:
                if graph.group not in known:
                    known[graph.group] = names_of_smiles(graph.group) or []
                found += known[graph.group]
            yield found


def names_of_graph(graph: Graph) -> list[str]:
    """The bond graph of a record and of each of its separate molecules of two or more heavy atoms."""
    return _names_of_bonds(graph.species.numpy(), bonded_pairs(graph))


def names_of_smiles(smiles: str, most_atoms: int | None = None) -> list[str] | None:
    """Names of a molecule, or None if RDKit refuses it or it has wildcards; empty for one that is too large."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import inchi

    with rdBase.BlockLogs():
        whole = Chem.MolFromSmiles(smiles)
        if whole is None or not whole.GetNumAtoms() or any(a.GetAtomicNum() == 0 for a in whole.GetAtoms()):
            return None
        parts = Chem.GetMolFrags(whole, asMols=True) if "." in smiles else (whole,)
        names: list[str] = []
        for molecule in (whole, *parts) if len(parts) > 1 else parts:
            alone = molecule is whole
            heavy = sum(a.GetAtomicNum() > 1 for a in molecule.GetAtoms())
            if heavy > (most_atoms or np.inf):
                continue
            full = Chem.AddHs(molecule)
            if (
                full.GetNumAtoms() < 2
                or (not alone and heavy < 2)
                or full.GetNumAtoms() > (most_atoms or np.inf)
            ):
                continue
            if key := inchi.MolToInchiKey(molecule):
                names.append("inchikey " + key.split("-")[0])
            names.append("bonds " + bonds_key_of_molecule(full))
    return names


def _names_of_bonds(species: np.ndarray, pairs: np.ndarray) -> list[str]:
    """species ``[N]``; pairs ``[2, B]`` in both directions."""
    label = np.arange(len(species))
    for _ in label:  # the smallest number spreads through each molecule
        new = label.copy()
        np.minimum.at(new, pairs[1], label[pairs[0]])
        if (new == label).all():
            break
        label = new
    molecules = np.unique(label)
    names = [] if len(species) == 1 else ["bonds " + key_of_bonds(species, pairs)]
    if len(molecules) > 1:
        for one in molecules:
            rows = np.flatnonzero(label == one)
            if (species[rows] > 1).sum() >= 2:
                place = np.full(len(species), -1)
                place[rows] = np.arange(len(rows))
                inside = place[pairs[0]] >= 0
                names.append("bonds " + key_of_bonds(species[rows], place[pairs[:, inside]]))
    return names

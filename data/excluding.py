"""Records that must not enter a store because another set has them: test sets stay out of training data whatever their file.

A molecule is known by which atom is bonded to which (bonds by distance, without orders or stereochemistry), so conformers,
frames of a simulation, stereoisomers and other levels of theory of it are all left out. A crystal is known by its reduced
composition, so polymorphs and distorted frames are left out too. Fields have no such name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .checks.overlap import bonds_key, key_of_bonds
from .errors import InputError
from .graph import Graph
from .readers.options import ReadOptions

if TYPE_CHECKING:
    from rdkit import Chem


def identity(graph: Graph) -> str:
    """What a record is, by the rules above; raises ``InputError`` for a field."""
    match graph.world:
        case "molecule":
            return f"molecule {bonds_key(graph)}"
        case "crystal":
            return composition(graph.species.numpy())
        case _:
            raise InputError(
                "fields have no identity by which they could be left out; leave out --without",
                graph.provenance,
            )


def composition(numbers: np.ndarray) -> str:
    """What a crystal of these atomic numbers ``[N]`` is: its reduced composition."""
    kinds, counts = np.unique(numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return "crystal " + " ".join(f"{z}:{n}" for z, n in zip(kinds, counts, strict=True))


def identities_of(sources: Sequence[str]) -> dict[str, str]:
    """Identity of every record of ``sources`` -> the first source that has it. Records that cannot be read have none.

    Of a table of SMILES only the column of SMILES is read: the bonds are there, and nothing is embedded.
    """
    from .source import open_source

    found: dict[str, str] = {}
    for source in sources:
        smiles = smiles_of_table(Path(source))
        if smiles is not None:
            for text in smiles:
                for name in _identities_of_smiles(text):
                    found.setdefault(name, source)
            continue
        graphs: Iterable[Graph] = open_source(source, ReadOptions(on_bad="skip"), [])
        for graph in graphs:
            found.setdefault(identity(graph), source)
    return found


def smiles_of_table(path: Path) -> list[str] | None:
    """The SMILES of a table that has a column of them, else None."""
    from .readers.table import read_rows, read_smi, structure_column
    from .readers.text import plain_suffix

    suffix = plain_suffix(path)
    if not path.is_file() or suffix not in (".csv", ".tsv", ".smi", ".smiles"):
        return None
    if suffix in (".smi", ".smiles"):
        return [line.cells["smiles"] for line in read_smi(path)]
    lines, header = read_rows(path)
    column, kind = structure_column(header, ReadOptions(), path)
    return [line.cells[column] for line in lines] if kind == "smiles" else None


def _identities_of_smiles(smiles: str) -> list[str]:
    """Of the whole and, where it has separate parts, of each of two or more heavy atoms; none where RDKit refuses it."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        whole = Chem.MolFromSmiles(smiles)
        if whole is None or not whole.GetNumAtoms():
            return []
        parts = Chem.GetMolFrags(whole, asMols=True)
        kept = [p for p in parts if p.GetNumHeavyAtoms() > 1] if len(parts) > 1 else []
        names = []
        for molecule in (whole, *kept):
            names.append(f"molecule {bonds_key_of_molecule(Chem.AddHs(molecule))}")
    return names


def bonds_key_of_molecule(molecule: Chem.Mol) -> str:
    """``bonds_key`` of a molecule of RDKit that has its hydrogens: no geometry is needed."""
    ends = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()]
    pairs = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    species = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    return key_of_bonds(species, np.concatenate([pairs, pairs[::-1]], axis=1))


class Excluded:
    """Tells which records to leave out and counts them by the source that has them."""

    def __init__(self, identities: dict[str, str]):
        self.identities = identities
        self.counts: Counter[str] = Counter()

    def has(self, graph: Graph) -> bool:
        """Whether the record is to be left out; then it is counted."""
        if not self.identities:
            return False
        source = self.identities.get(identity(graph))
        if source is None:
            return False
        self.counts[source] += 1
        return True

"""Bonds of molecules that RDKit has parsed, or that residues of proteins and nucleic acids are known to have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.bonds import Bonds, BondType

if TYPE_CHECKING:
    from rdkit.Chem import Mol

_KINDS = {
    "SINGLE": BondType.SINGLE,
    "DOUBLE": BondType.DOUBLE,
    "TRIPLE": BondType.TRIPLE,
    "AROMATIC": BondType.AROMATIC,
}


def bonds_of(molecule: Mol) -> Bonds:
    """The bonds of a sanitized molecule, numbered as RDKit does. Dative, zero-order and other bonds are OTHER."""
    rows = [
        (
            bond.GetBeginAtomIdx(),
            bond.GetEndAtomIdx(),
            int(_KINDS.get(bond.GetBondType().name, BondType.OTHER)),
            bond.GetIsConjugated(),
            bond.IsInRing(),
        )
        for bond in molecule.GetBonds()
    ]
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 5)
    return Bonds.of(table[:, :2], table[:, 2], table[:, 3], table[:, 4])


def perceived(numbers: np.ndarray, orders: Mapping[tuple[int, int], int]) -> Bonds:
    """Bonds from a list of them: aromaticity, conjugation and rings as RDKit sees them.

    numbers ``[N]``: atomic numbers. orders: pair of atoms -> 1, 2, 3, or 0 for a bond whose order is not known.
    """
    from rdkit import Chem, rdBase

    names = (Chem.BondType.UNSPECIFIED, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
    molecule = Chem.RWMol()
    for number in numbers.tolist():
        molecule.AddAtom(
            Chem.Atom(number)
        )  # hydrogens that the file lacks are implicit, as aromaticity needs
    for (i, j), order in orders.items():
        molecule.AddBond(i, j, names[order])
    with rdBase.BlockLogs():
        molecule.UpdatePropertyCache(strict=False)
        Chem.FastFindRings(molecule)
        Chem.SetAromaticity(molecule)
        Chem.SetConjugation(molecule)
    return bonds_of(molecule)

"""Descriptors of a molecule's chemical graph, as cheminformatics counts them: sizes, rings, donors and acceptors, polar surface,
partition coefficient by contributions of atoms, connectivity and shape.

They are RDKit's, computed from elements and bonds alone (no coordinates), so they do not change with the conformer and follow no
motion. The molecule is made again from what a :class:`Bonds` says; formal charges follow from valences, as a Lewis structure has
them, and where an aromatic nitrogen leaves two ways, the first that RDKit accepts counts.

Sources: RDKit's ``rdMolDescriptors`` (Crippen's contributions: Wildman, Crippen, J. Chem. Inf. Comput. Sci. 39, 868 (1999); polar
surface: Ertl et al., J. Med. Chem. 43, 3714 (2000); chi and kappa: Hall, Kier, Rev. Comput. Chem. 2, 367 (1991); MQN: Nguyen
et al., ChemMedChem 4, 1803 (2009); surface areas by property: Labute, J. Mol. Graph. Model. 18, 464 (2000)).

Legend: ``N`` nodes, ``B`` bonds, ``G`` graphs, ``D`` descriptors.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .bonds import BondType
from .readers.rdkit_log import silent_rdkit

if TYPE_CHECKING:
    from rdkit.Chem import Mol, RWMol

    from .graph_batch import GraphBatch

PROPERTIES = (
    "exactmw", "amw", "lipinskiHBA", "lipinskiHBD", "NumRotatableBonds", "NumHBD", "NumHBA", "NumHeavyAtoms", "NumAtoms",
    "NumHeteroatoms", "NumAmideBonds", "FractionCSP3", "NumRings", "NumAromaticRings", "NumAliphaticRings", "NumSaturatedRings",
    "NumHeterocycles", "NumAromaticHeterocycles", "NumSaturatedHeterocycles", "NumAliphaticHeterocycles", "NumSpiroAtoms",
    "NumBridgeheadAtoms", "labuteASA", "tpsa", "CrippenClogP", "CrippenMR", "chi0v", "chi1v", "chi2v", "chi3v", "chi4v", "chi0n",
    "chi1n", "chi2n", "chi3n", "chi4n", "hallKierAlpha", "kappa1", "kappa2", "kappa3", "Phi",
)  # fmt: skip
NUM_DESCRIPTORS = len(PROPERTIES) + 42 + 12 + 10 + 14 + 1
"""Those, MQN, surface areas by contributions to log P, to refractivity and by partial charge, and whether all could be read."""
_LARGEST = 1e6
_ORDER = {
    int(BondType.SINGLE): 1.0, int(BondType.DOUBLE): 2.0, int(BondType.TRIPLE): 3.0, int(BondType.AROMATIC): 1.5
}  # fmt: skip
_MOST_TRIED = 2
"""Aromatic nitrogens that are charged at once."""


def descriptors(batch: GraphBatch) -> Tensor:
    """``[G, D]`` float64 with the digits of float32, on the device of ``batch``. NaN in the rows of graphs whose bonds are not
    known; zeros, the last one too, where RDKit cannot read what the bonds say."""
    counts = batch.nodes_per_graph().tolist()
    known = batch.bonds_known.tolist()
    species = batch.species.cpu().numpy()
    index, kind = batch.bonds.index.cpu().numpy(), batch.bonds.kind.cpu().numpy()
    starts = np.concatenate([[0], np.cumsum(counts)])
    first = np.searchsorted(index[0], starts)  # bonds are sorted by their first atom
    rows = []
    for g, there in enumerate(known):
        if not there:
            rows.append(np.full(NUM_DESCRIPTORS, np.nan))
            continue
        own = slice(first[g], first[g + 1])
        rows.append(
            _described(
                species[starts[g] : starts[g + 1]].astype(np.int64).tobytes(),
                np.ascontiguousarray(index[:, own] - starts[g]).tobytes(),
                kind[own].tobytes(),
            )
        )
    found = torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, NUM_DESCRIPTORS, dtype=torch.float64)
    return found.to(batch.positions.device)


@lru_cache(maxsize=20_000)
def _described(species: bytes, pairs: bytes, kinds: bytes) -> np.ndarray:
    """``[D]`` of one molecule; training asks for the same ones again and again."""
    from rdkit.Chem import rdMolDescriptors as known

    kind = np.frombuffer(kinds, dtype=np.int64)
    numbers, index = (
        np.frombuffer(species, dtype=np.int64),
        np.frombuffer(pairs, dtype=np.int64).reshape(2, -1),
    )
    with silent_rdkit():
        molecule = molecule_of(numbers, index, kind)
        if molecule is None:
            return np.zeros(NUM_DESCRIPTORS)
        parts = [
            list(known.Properties(list(PROPERTIES)).ComputeProperties(molecule)), known.MQNs_(molecule),
            known.SlogP_VSA_(molecule), known.SMR_VSA_(molecule), known.PEOE_VSA_(molecule), [1.0],
        ]  # fmt: skip
    values = np.array([float(value) for part in parts for value in part])
    values = np.clip(np.nan_to_num(values, posinf=_LARGEST, neginf=-_LARGEST), -_LARGEST, _LARGEST)
    return values.astype(np.float32).astype(np.float64)


def molecule_of(numbers: np.ndarray, index: np.ndarray, kind: np.ndarray) -> Mol | None:
    """RDKit's molecule, hydrogens taken into their atoms, from atomic numbers ``[N]`` and bonds ``[2, B]`` of kinds ``[B]``
    (:class:`BondType`); None where RDKit accepts none (bonds of another kind, valences that no element has)."""
    from rdkit import Chem

    if not set(kind.tolist()) <= set(_ORDER):
        return None
    draft, order, aromatic = _draft(numbers, index, kind)
    for k, atom in enumerate(draft.GetAtoms()):
        if not aromatic[k]:
            atom.SetFormalCharge(_charge(int(numbers[k]), order[k]))
        elif int(numbers[k]) in (8, 16) and atom.GetDegree() == 3:
            atom.SetFormalCharge(1)
    open_ = [k for k in np.flatnonzero(aromatic).tolist() if _may_be_charged(draft, k)]
    for count in range(min(len(open_), _MOST_TRIED) + 1):
        for charged in combinations(open_, count):
            tried = Chem.RWMol(draft)
            for k in charged:
                tried.GetAtomWithIdx(k).SetFormalCharge(1)
            try:
                Chem.SanitizeMol(tried)
                return Chem.RemoveHs(tried)
            except (Chem.MolSanitizeException, ValueError):
                continue
    return None


def _draft(numbers: np.ndarray, index: np.ndarray, kind: np.ndarray) -> tuple[RWMol, np.ndarray, np.ndarray]:
    """Atoms and bonds, and of each atom ``[N]`` the sum of its bond orders and whether it is aromatic."""
    from rdkit import Chem

    names = (None, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC)
    draft = Chem.RWMol()
    for number in numbers.tolist():
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        draft.AddAtom(atom)
    order, aromatic = np.zeros(len(numbers)), np.zeros(len(numbers), dtype=bool)
    for i, j, one in zip(*index.tolist(), kind.tolist(), strict=True):
        draft.AddBond(i, j, names[one])
        order[[i, j]] += _ORDER[one]
        if one == BondType.AROMATIC:
            aromatic[[i, j]] = True
            draft.GetBondBetweenAtoms(i, j).SetIsAromatic(True)
            for k in (i, j):
                draft.GetAtomWithIdx(k).SetIsAromatic(True)
    return draft, order, aromatic


def _may_be_charged(draft: RWMol, atom: int) -> bool:
    """A nitrogen with three neighbours in an aromatic ring: neutral as in pyrrole, or positive as in pyridinium."""
    found = draft.GetAtomWithIdx(atom)
    return found.GetAtomicNum() == 7 and found.GetDegree() == 3


def _charge(number: int, order: float) -> int:
    """The formal charge that an atom of this element with bonds of ``order`` in all has; 0 where it is usual, or not known."""
    match number, order:
        case ((1 | 3 | 11 | 19 | 37 | 55), 0):
            return 1
        case ((4 | 12 | 20 | 30 | 38 | 56), 0):
            return 2
        case (5, 4) | (6, 3) | ((9 | 17 | 35 | 53), 0):
            return -1
        case ((7 | 15), 4):
            return 1
        case 7, (1 | 2):
            return int(order) - 3
        case ((8 | 16), (1 | 3)):
            return int(order) - 2
        case _:
            return 0

"""Bonds of residues, against RDKit's own molecules of sequences."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch
from ase.data import atomic_numbers
from rdkit import Chem
from rdkit.Chem import AllChem

from atomfield.data.bonds import BondType
from atomfield.data.readers import read
from atomfield.data.readers.molecule_bonds import bonds_of, perceived
from atomfield.data.readers.residue_bonds import KNOWN

Named = dict[frozenset[str], int]
_RESONANCE = [
    frozenset(ends.split())
    for ends in ("CZ NH1", "CZ NH2", "P OP1", "P OP2", "C O", "C OXT", "CG OD1", "CG OD2", "CD OE1", "CD OE2")
]
"""Which of two equal bonds is the double one is a matter of drawing."""


@pytest.mark.parametrize("letter", list("ARNDCQEGHLKMFPSTWYV"))  # in I, RDKit calls CD1 what is bound to CG2
def test_amino_acids(letter: str) -> None:
    residue, expected = _of_rdkit(Chem.MolFromSequence(letter), 1)
    assert _of_table(residue, expected) == expected


@pytest.mark.parametrize(("letter", "flavor"), [*((x, 2) for x in "ACGU"), *((x, 6) for x in "ACGT")])
def test_nucleotides(letter: str, flavor: int) -> None:
    """RDKit's first residue has no phosphate: the second of two is compared, whose P is bound."""
    residue, expected = _of_rdkit(Chem.MolFromSequence(letter * 2, flavor=flavor), 2)
    assert _of_table(residue, expected) == expected


def _of_rdkit(molecule: Chem.Mol, number: int) -> tuple[str, Named]:
    out, residue = {}, ""
    infos = [a.GetPDBResidueInfo() for a in molecule.GetAtoms()]
    bonds = bonds_of(molecule)
    for (i, j), kind in zip(bonds.index.T.tolist(), bonds.kind.tolist(), strict=True):
        if infos[i].GetResidueNumber() == infos[j].GetResidueNumber() == number:
            residue = infos[i].GetResidueName().strip()
            ends = frozenset(infos[k].GetName().strip() for k in (i, j))
            out[ends] = 0 if ends in _RESONANCE else kind
    return residue, out


def _of_table(residue: str, expected: Named) -> Named:
    """The table's bonds between the atoms of ``expected``."""
    names = sorted({name for ends in expected for name in ends})
    orders = {
        (min(i, j), max(i, j)): order
        for ends, order in KNOWN[residue].items()
        if ends <= set(names)
        for i, j in [[names.index(name) for name in ends]]
    }
    bonds = perceived(np.array([atomic_numbers[name[0]] for name in names]), orders)
    return {
        ends: 0 if ends in _RESONANCE else kind
        for (i, j), kind in zip(bonds.index.T.tolist(), bonds.kind.tolist(), strict=True)
        for ends in [frozenset((names[i], names[j]))]
    }


def test_isoleucine() -> None:
    assert KNOWN["ILE"][frozenset(("CG1", "CD1"))] == 1
    assert frozenset(("CG2", "CD1")) not in KNOWN["ILE"]


@pytest.fixture(scope="module")
def peptide() -> Chem.Mol:
    """Phe-His-Gly with its hydrogens."""
    full = Chem.AddHs(Chem.MolFromSequence("FHG"), addCoords=False, addResidueInfo=True)
    assert AllChem.EmbedMolecule(full, randomSeed=3) == 0
    AllChem.MMFFOptimizeMolecule(full)
    return full


def test_a_peptide_has_the_bonds_that_rdkit_gave_it(peptide: Chem.Mol, tmp_path: Path) -> None:
    path = tmp_path / "a.pdb"
    lines = Chem.MolToPDBBlock(peptide).splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("CONECT")))
    (graph,) = read(path)
    order = _order(graph.positions, peptide)
    expected = bonds_of(peptide).among(order)
    assert graph.bonds is not None
    assert torch.equal(graph.bonds.index, expected.index)
    assert torch.equal(graph.bonds.in_ring, expected.in_ring)
    assert torch.equal(graph.bonds.kind == BondType.AROMATIC, expected.kind == BondType.AROMATIC)
    assert torch.equal(graph.bonds.kind, expected.kind)


def _order(positions: torch.Tensor, molecule: Chem.Mol) -> torch.Tensor:
    there = torch.from_numpy(molecule.GetConformer().GetPositions())
    return torch.cdist(positions, there).argmin(dim=1)


HET = (
    "HETATM    1  C1  LIG A   1       0.000   0.000   0.000  1.00  0.00           C\n"
    "HETATM    2  O1  LIG A   1       1.200   0.000   0.000  1.00  0.00           O\n"
    "HETATM    3 NA    NA A   2       6.000   0.000   0.000  1.00  0.00          NA\n"
)


def test_a_ligand_that_nobody_describes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.pdb").write_text(HET + "END\n")
    (tmp_path / "b.pdb").write_text(HET + "CONECT    1    2\nCONECT    2    1    3\nEND\n")
    (untold,), (told,) = read(tmp_path / "a.pdb"), read(tmp_path / "b.pdb")
    assert untold.bonds is None
    assert told.bonds is not None  # sodium's contact is no bond
    assert (told.bonds.index.tolist(), told.bonds.kind.tolist()) == ([[0], [1]], [BondType.OTHER])


def test_an_mmcif_describes_its_own_ligand(tmp_path: Path) -> None:
    document = gemmi.read_pdb_string(HET).make_mmcif_document()
    loop = document[0].init_loop("_chem_comp_bond.", ["comp_id", "atom_id_1", "atom_id_2", "value_order"])
    loop.add_row(["LIG", "C1", "O1", "DOUB"])
    (tmp_path / "a.cif").write_text(document.as_string())
    (graph,) = read(tmp_path / "a.cif")
    assert graph.bonds is not None
    assert graph.bonds.kind.tolist() == [BondType.DOUBLE]


def test_a_disulfide(tmp_path: Path) -> None:
    def residue(serial: int, number: int, x: float) -> str:
        rows = (("N", x, 2.4, "N"), ("CA", x, 1.0, "C"), ("SG", x, 0.0, "S"), ("CB", x + 0.4, 0.6, "C"))
        return "".join(
            f"ATOM  {serial + i:5d}  {name:<3s} CYS A{number:4d}    {a:8.3f}{b:8.3f}{0:8.3f}  1.00  0.00           {kind}\n"
            for i, (name, a, b, kind) in enumerate(rows)
        )

    bridge = "SSBOND   1 CYS A    1    CYS A    9                          1555   1555  2.03\n"
    (tmp_path / "a.pdb").write_text(bridge + residue(1, 1, 0.0) + residue(5, 9, 2.03) + "END\n")
    (graph,) = read(tmp_path / "a.pdb")
    assert graph.bonds is not None
    pairs = graph.bonds.index.T.tolist()
    assert [2, 6] in pairs
    assert len(pairs) == 7

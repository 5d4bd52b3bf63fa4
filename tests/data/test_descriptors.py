"""Descriptors from elements and bonds are RDKit's of the molecule that the bonds were taken from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from atomfield.data.bonds import Bonds, BondType
from atomfield.data.descriptors import NUM_DESCRIPTORS, PROPERTIES, descriptors, molecule_of
from atomfield.data.graph import Graph, collate
from atomfield.data.readers.molecule_bonds import bonds_of

MOLECULES = (
    "CCO", "c1ccccc1", "C", "O", "CC(=O)Nc1ccc(O)cc1", "O=[N+]([O-])c1ccccc1", "C[n+]1ccccc1", "c1cc[nH]c1", "BrC1=CSC=N1",
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "[O-][n+]1ccccc1", "C[N+](C)(C)CC(=O)[O-]", "CS(=O)(=O)c1ccccc1", "OP(=O)(O)O", "C#N",
    "FC(F)(F)Cl", "[Na+].[Cl-]", "CC[NH3+].[Cl-]", "F[B-](F)(F)F", "c1ccc2[nH]ccc2c1", "C[Si](C)(C)C", "CC(C)(C)[S-]",
    "[C-]#[O+]", "N#[N+][N-]C",
)  # fmt: skip


def graph(smiles: str, seed: int = 0) -> Graph:
    """With positions at random, which descriptors must not see."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    numbers = torch.tensor([a.GetAtomicNum() for a in molecule.GetAtoms()])
    positions = 10 * torch.rand(
        len(numbers), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return Graph(positions, numbers, "molecule", bonds=bonds_of(molecule))


def test_they_are_those_of_the_molecule():
    found = descriptors(collate([graph(s) for s in MOLECULES])).numpy()
    assert found.shape == (len(MOLECULES), NUM_DESCRIPTORS)
    for row, smiles in zip(found, MOLECULES, strict=True):
        molecule = Chem.MolFromSmiles(smiles)
        expected = [
            *rdMolDescriptors.Properties(list(PROPERTIES)).ComputeProperties(molecule), *rdMolDescriptors.MQNs_(molecule),
            *rdMolDescriptors.SlogP_VSA_(molecule), *rdMolDescriptors.SMR_VSA_(molecule),
            *rdMolDescriptors.PEOE_VSA_(molecule), 1.0,
        ]  # fmt: skip
        np.testing.assert_allclose(
            row, np.nan_to_num(np.float32(expected)), rtol=1e-5, atol=1e-5, err_msg=smiles
        )


def test_they_depend_on_nothing_but_the_chemical_graph():
    one = graph("CC(=O)Nc1ccc(O)cc1")
    order = torch.randperm(one.num_nodes, generator=torch.Generator().manual_seed(1))
    place = torch.argsort(order)
    bonds = one.bonds
    turned = Bonds.of(
        place[bonds.index].T.numpy(), bonds.kind.numpy(), bonds.conjugated.numpy(), bonds.in_ring.numpy()
    )
    other = Graph(one.positions[order] + 7, one.species[order], "molecule", bonds=turned)
    rows = descriptors(collate([one, other, graph("CC(=O)Nc1ccc(O)cc1", 5)]))
    assert torch.allclose(rows[0], rows[1], rtol=1e-6, atol=1e-6) and torch.equal(rows[0], rows[2])


def test_what_is_not_known_is_no_number_and_what_cannot_be_read_is_said():
    bare = replace(graph("CCO"), bonds=None)
    strange = Graph(
        torch.rand(2, 3, dtype=torch.float64), torch.tensor([7, 7]), "molecule",
        bonds=Bonds.of([(0, 1)], [int(BondType.OTHER)]),
    )  # fmt: skip
    rows = descriptors(collate([bare, strange, graph("CCO")]))
    assert rows[0].isnan().all() and not rows[1].any() and rows[2, -1] == 1
    five = Bonds.of([(0, k) for k in range(1, 6)], [1] * 5)
    assert molecule_of(np.array([6, 1, 1, 1, 1, 1]), five.index.numpy(), five.kind.numpy()) is None


@pytest.mark.parametrize("smiles", ["C[n+]1ccccc1", "O=[N+]([O-])c1ccccc1", "CC[NH3+].[Cl-]", "[C-]#[O+]"])
def test_charges_follow_from_valences(smiles):
    one = graph(smiles)
    found = molecule_of(one.species.numpy(), one.bonds.index.numpy(), one.bonds.kind.numpy())
    assert Chem.MolToSmiles(found) == Chem.MolToSmiles(Chem.MolFromSmiles(smiles))

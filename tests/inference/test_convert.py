from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from atomfield.data.errors import InputError
from atomfield.inference.convert import graph_from_atoms, to_graphs
from atomfield.models.network import AtomFieldNet
from tests.physics.subjects import water


def test_atoms_keep_geometry_charge_and_spin(net: AtomFieldNet, molecule: Atoms, solid: Atoms) -> None:
    molecule.info.update(charge=-1, spin=2)
    first, second = to_graphs([molecule, solid], net.config)
    assert first.world == "molecule"
    assert first.conditions == {"charge": -1.0, "spin": 2.0}
    assert second.world == "crystal"
    assert "charge" not in second.conditions
    assert torch.equal(second.cell, torch.from_numpy(solid.cell.array))


def test_labels_are_taken_only_where_current(molecule: Atoms) -> None:
    forces = np.ones((5, 3))
    molecule.calc = SinglePointCalculator(molecule, energy=-3.0, forces=forces)
    graph = graph_from_atoms(molecule)
    assert float(graph.quantities["energy"]) == -3.0
    assert torch.equal(graph.quantities["forces"], torch.from_numpy(forces))
    molecule.positions[0, 0] += 0.1
    assert not graph_from_atoms(molecule).quantities


def test_smiles_pymatgen_and_graphs(net: AtomFieldNet) -> None:
    pymatgen = pytest.importorskip("pymatgen.core")
    salt = pymatgen.Structure(pymatgen.Lattice.cubic(4.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    radical = pymatgen.Molecule(["O", "H"], [[0, 0, 0], [0, 0, 0.97]])
    given = water()
    smiles, crystal, hydroxyl, same = to_graphs(["[NH4+]", salt, radical, given], net.config)
    assert smiles.species.tolist() == [7, 1, 1, 1, 1]
    assert smiles.conditions == {"charge": 1.0, "spin": 0.0}
    assert crystal.world == "crystal"
    assert crystal.conditions == {}
    assert hydroxyl.conditions == {"charge": 0.0, "spin": 1.0}
    assert same is given


def test_the_seed_fixes_the_conformer(net: AtomFieldNet) -> None:
    first, again, other = (to_graphs(["CCO"], net.config, seed=s)[0].positions for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_mistakes_name_the_item(net: AtomFieldNet, molecule: Atoms) -> None:
    with pytest.raises(InputError, match=r"record 1.*got float, expected a SMILES string, ASE Atoms"):
        to_graphs([molecule, 3.0], net.config)
    with pytest.raises(InputError, match=r"record 1.*does not parse"):
        to_graphs(["O", "C(C"], net.config)
    with pytest.raises(InputError, match=r"record 0.*no atoms"):
        to_graphs([Atoms()], net.config)
    with pytest.raises(InputError, match="got one Atoms, expected a list"):
        to_graphs(molecule, net.config)
    with pytest.raises(InputError, match="got one str, expected a list"):
        to_graphs("CCO", net.config)
    molecule.positions[2, 1] = float("nan")
    with pytest.raises(InputError, match=r"record 0.*position of node 2"):
        to_graphs([molecule], net.config)


def test_disordered_sites_are_refused(net: AtomFieldNet) -> None:
    pymatgen = pytest.importorskip("pymatgen.core")
    alloy = pymatgen.Structure(pymatgen.Lattice.cubic(3.6), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    with pytest.raises(InputError, match=r"record 0.*site 0 holds .*expected one element"):
        to_graphs([alloy], net.config)


@pytest.mark.parametrize("value", [-1, np.int64(-1), np.array(-1.0), np.array([-1.0]), [-1]])
def test_a_charge_in_an_array_is_a_charge(molecule: Atoms, value: object) -> None:
    """Left out it would be unknown, which is another state."""
    molecule.info["charge"] = value
    assert graph_from_atoms(molecule).conditions["charge"] == -1.0


def test_what_is_no_charge_or_spin_is_refused(molecule: Atoms) -> None:
    for name, value, message in (
        ("charge", [1, 2], r"'charge'.* has shape \[2\], expected one number"),
        ("spin", -1, r"'spin'.* is -1, expected at least 0"),
        ("multiplicity", 0, r"'multiplicity'.* is 0, expected at least 1"),
    ):
        atoms = molecule.copy()
        atoms.info[name] = value
        with pytest.raises(InputError, match=message):
            graph_from_atoms(atoms)
    molecule.info.update(charge=None, spin=float("nan"))
    assert not graph_from_atoms(molecule).conditions

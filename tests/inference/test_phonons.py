"""Phonons of a chain of springs, whose dispersion is known, and what is said of a structure that is no minimum."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT

from atomfield.data.errors import InputError
from atomfield.models.network import AtomFieldNet
from tests.inference.potentials import Chain

pytest.importorskip("phonopy")

from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.phonons import chosen_supercell, figure, phonons

TO_THZ = np.sqrt(units._e / units._amu) * 1e10 / (2 * np.pi) * 1e-12
"""sqrt(eV / (angstrom^2 amu)) as a frequency in THz."""


@pytest.mark.parametrize("masses", [(28.0,), (12.0, 40.0)])
def test_a_chain_of_springs(masses: tuple[float, ...], tmp_path: Path) -> None:
    """One kind of atom: w = 2 sqrt(k/m) |sin(qa/2)|. Two: k (1/m + 1/M) -+ k sqrt((1/m + 1/M)^2 - 4 sin^2(qa/2) / (m M))."""
    stiffness, length, n = 3.0, 2.5, len(masses)
    atoms = Atoms(
        "Si" if n == 1 else "CAr", [[k * length, 0, 0] for k in range(n)], cell=[n * length, 5, 5], pbc=True
    )
    atoms.set_masses(masses)
    atoms.calc = Chain(stiffness, length)
    found = phonons(atoms, supercell=(8, 1, 1), points=21)
    phase = (
        2 * np.pi * found.q[:, 0]
    )  # across the row nothing holds the atoms: the other modes are of frequency 0
    m, big = masses[0], masses[-1]
    if n == 1:
        squares = [4 * stiffness / m * np.sin(phase / 2) ** 2]
    else:
        total = 1 / m + 1 / big
        root = np.sqrt(total**2 - 4 * np.sin(phase / 2) ** 2 / (m * big))
        squares = [stiffness * np.maximum(total + sign * root, 0) for sign in (-1, 1)]
    moved = np.sqrt(np.stack(squares, axis=1)) * TO_THZ
    expected = np.sort(np.concatenate([np.zeros((len(phase), 2 * n)), moved], axis=1), axis=1)
    np.testing.assert_allclose(np.abs(found.frequencies), expected, atol=2e-3)
    assert found.metrics()["highest_frequency_THz"] == pytest.approx(moved.max(), rel=1e-5)
    files = found.save(tmp_path)
    rows = list(csv.reader(files[1].read_text().splitlines()))
    assert len(rows) == len(found.q) + 1
    assert all(f.stat().st_size > 100 for f in files)


def test_copper() -> None:
    """Heat capacity of 3 k_B per atom when hot, zero-point energy, no imaginary mode, acoustic modes at Gamma of 0."""
    atoms = bulk("Cu", a=3.59)
    atoms.calc = EMT()
    found = phonons(atoms, supercell=(3, 3, 3), points=6, mesh=15)
    assert not found.imaginary
    assert not found.remarks
    assert found.heat_capacity[-1] / units.kB == pytest.approx(3.0, rel=0.01)
    gamma = np.isclose(found.q, 0).all(axis=1)
    assert np.abs(found.frequencies[gamma]).max() < 1e-3
    area = float(np.sum(0.5 * (found.dos[1:] + found.dos[:-1]) * np.diff(found.dos_frequency)))
    assert area == pytest.approx(3.0, rel=0.02)  # three modes per atom
    assert found.ticks[0][1] == "G"
    assert len(figure(found).axes) == 2
    assert found.phonopy.force_constants.shape == (1, 27, 3, 3)  # of one primitive cell: files stay small


def test_imaginary_modes_are_said() -> None:
    """Body-centred copper falls apart towards the close-packed structures."""
    atoms = bulk("Cu", "bcc", a=2.87)
    atoms.calc = EMT()
    found = phonons(atoms, supercell=(3, 3, 3), points=6, mesh=10)
    assert found.imaginary
    assert "imaginary modes" in found.remarks[-1]
    assert found.metrics()["imaginary_modes"] == 1
    assert figure(found) is not None


def test_supercells() -> None:
    assert chosen_supercell(bulk("Cu", cubic=True, a=3.6)) == (3, 3, 3)
    assert chosen_supercell(Atoms("H", cell=[2, 2, 30], pbc=True)) == (5, 5, 1)
    assert np.prod(chosen_supercell(bulk("Cu", cubic=True, a=3.6), most=100)) * 4 <= 100


def test_mistakes() -> None:
    atoms = bulk("Cu", a=3.59)
    atoms.calc = EMT()
    with pytest.raises(InputError, match="supercell is"):
        phonons(atoms, supercell=(0, 1, 1))
    with pytest.raises(InputError, match=r"path has 'Q'"):
        phonons(atoms, supercell=(1, 1, 1), path="GQ")
    atoms.pbc = False
    with pytest.raises(InputError, match="periodic in three"):
        phonons(atoms)


def test_a_left_handed_cell() -> None:
    """The same crystal with two rows of its cell exchanged, as some files have it."""
    found = []
    for rows in ([0, 1, 2], [1, 0, 2]):
        atoms = bulk("Cu", a=3.59)
        atoms.set_cell(atoms.cell.array[rows])
        atoms.calc = EMT()
        found.append(phonons(atoms, supercell=(2, 2, 2), points=3, mesh=8))
    np.testing.assert_allclose(found[1].frequencies, found[0].frequencies, atol=1e-4)


def test_charges_of_fragments_are_repeated_and_those_of_a_cell_refused(
    net: AtomFieldNet, solid: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supercell is the crystal that was relaxed: asked as it is, every image of an atom has the forces of that atom."""
    random = np.random.default_rng(0)
    solid.set_array("fragment_charge", random.choice([-1.0, 0.0, 1.0], len(solid)))
    solid.calc = AtomFieldCalculator(net)
    wanted = solid.get_forces()
    asked: list[Atoms] = []
    monkeypatch.setattr(solid.calc, "calculate", watched(solid.calc, asked))
    phonons(solid, supercell=(2, 1, 1), points=2, mesh=1)
    rest = asked[0]  # that of the unit cell is known
    assert len(rest) == 2 * len(solid)
    np.testing.assert_allclose(
        np.sort(AtomFieldCalculator(net).get_forces(rest)[:, 0])[::2], np.sort(wanted[:, 0]), atol=1e-9
    )
    solid.info["charge"] = 1
    with pytest.raises(InputError, match=r"the cell states charge 1, .* say where it sits"):
        phonons(solid, supercell=(2, 1, 1))
    solid.info["charge"] = 0
    solid.info["multiplicity"] = 3
    with pytest.raises(InputError, match="the cell states multiplicity 3"):
        phonons(solid, supercell=(2, 1, 1))


def watched(calculator: AtomFieldCalculator, asked: list[Atoms]):
    """Its ``calculate``, which notes the structures."""
    calculate = calculator.calculate

    def noting(atoms, properties, system_changes):
        asked.append(atoms.copy())
        calculate(atoms, properties, system_changes)

    return noting


def test_atoms_that_are_too_far_apart_to_vibrate() -> None:
    atoms = bulk("Cu", a=40.0)
    atoms.calc = EMT()
    with pytest.raises(InputError, match="no displacement gives a force"):
        phonons(atoms, supercell=(1, 1, 1))

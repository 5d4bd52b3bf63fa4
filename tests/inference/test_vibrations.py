"""Vibrations of springs whose frequency and intensity are known, and beside ASE's own."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.vibrations import Infrared, Vibrations

from atomfield.data.errors import InputError
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.relax import relax
from atomfield.inference.vibrations import TO_KM_PER_MOL, figure, modes_of, spectrum, vibrations
from atomfield.models.network import AtomFieldNet
from tests.inference.potentials import Diatomic
from tests.small import small_network


def test_a_diatomic(tmp_path: Path) -> None:
    """w = sqrt(k / mu), and a dipole q r changes by q per displacement of the bond: I = q^2 / mu."""
    stiffness, charge = 30.0, 0.4
    atoms = Atoms("HCl", [[0, 0, 0], [0.3, 0.5, 1.1]])
    atoms.calc = Diatomic(stiffness, atoms.get_distance(0, 1), charge)
    found = vibrations(atoms, distance=0.001)
    m1, m2 = atoms.get_masses()
    mu = m1 * m2 / (m1 + m2)
    exact = np.sqrt(stiffness / mu) * units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
    assert found.frequencies == pytest.approx([exact], rel=1e-5)
    assert found.intensities == pytest.approx([charge**2 / mu / units.Debye**2 * TO_KM_PER_MOL], rel=1e-5)
    assert found.zero_point_energy == pytest.approx(exact * units.invcm / 2, rel=1e-5)
    assert found.modes.shape == (1, 2, 3)
    np.testing.assert_allclose(found.modes[0][0] * m1, -found.modes[0][1] * m2, atol=1e-6)
    files = found.save(tmp_path)
    assert files[0].read_text().splitlines()[0] == "mode,frequency_per_cm,energy_meV,intensity_km_per_mol"
    assert ase.io.read(files[1], ":")[0].info["frequency_per_cm"] == pytest.approx(exact, rel=1e-5)
    other = Infrared(atoms, name=str(tmp_path / "ir"), delta=0.001)
    other.run()
    other.read()
    assert found.intensities[0] == pytest.approx(other.intensities[-1] * TO_KM_PER_MOL, rel=1e-3)
    grid = np.linspace(0, 4000, 20001)
    assert spectrum(found, grid).sum() * 0.2 == pytest.approx(found.intensities[0], rel=0.01)
    assert figure(found).axes


def test_beside_ase(tmp_path: Path) -> None:
    atoms = molecule("H2O")
    atoms.calc = EMT()
    relax(atoms, fmax=1e-4)
    other = Vibrations(atoms, name=str(tmp_path / "vib"))
    other.run()
    found = vibrations(atoms)
    np.testing.assert_allclose(found.frequencies, other.get_frequencies().real[-3:], rtol=1e-4)
    assert found.intensities is None
    assert found.num_imaginary == 0
    assert "intensity" not in found.save(tmp_path)[0].read_text()


def test_our_potential_beside_its_hessian(net: AtomFieldNet, molecule: Atoms) -> None:
    """An untrained potential has no minimum here:  imaginary modes are said."""
    molecule.calc = AtomFieldCalculator(net)
    found = vibrations(molecule, distance=0.002)
    hessian = molecule.calc.hessian(molecule)
    np.testing.assert_allclose(found.hessian, hessian, atol=1e-4 * np.abs(hessian).max())
    assert found.intensities is not None
    assert found.intensities.min() >= 0
    assert "imaginary" in " ".join(found.remarks)
    assert figure(found).axes


def test_mistakes(net: AtomFieldNet, solid: Atoms) -> None:
    solid.calc = AtomFieldCalculator(net)
    with pytest.raises(InputError, match=r"not periodic.*found pbc"):
        vibrations(solid)
    one = molecule("H2O")
    one.calc = EMT()
    with pytest.raises(InputError, match="distance is 0"):
        vibrations(one, distance=0)
    with pytest.raises(InputError, match="single atom, which has no vibrations"):
        vibrations(Atoms("H", calculator=EMT()))
    one.positions[0] += 0.1
    assert "relax it first" in vibrations(one).remarks[0]


def test_a_network_without_vectors_has_no_intensities() -> None:
    atoms = molecule("CO")
    atoms.calc = AtomFieldCalculator(small_network(lmax=0, channels_unnatural=0).double(), allow_unseen=True)
    found = vibrations(atoms)
    assert found.intensities is None
    assert len(found.frequencies) == 1


def test_a_straight_molecule_that_is_bent_by_noise_keeps_its_bends() -> None:
    """A relaxation ends within a thousandth of an angstrom of the line; the turn about the axis, of norm 1, took a bend away."""
    stretch, bend = 90.0, 3.6
    moves = [np.zeros((3, 3)) for _ in range(4)]
    moves[0][0, 2], moves[0][1, 2] = -1, 1
    moves[1][1, 2], moves[1][2, 2] = -1, 1
    for axis in (0, 1):
        moves[2 + axis][:, axis] = 1, -2, 1
    rows = [m.ravel() for m in moves]
    hessian = sum(k * np.outer(r, r) for k, r in zip((stretch, stretch, bend, bend), rows, strict=True))
    for off in (0.0, 1e-6, 2e-4, 3e-3):
        atoms = Atoms("OCO", [[0, 0, -1.16], [off, 0, 0], [0, 0, 1.16]])
        found = modes_of(atoms, np.asarray(hessian), None)
        assert len(found.frequencies) == 4
        assert found.frequencies[0] == pytest.approx(found.frequencies[1], rel=1e-3)
        m = atoms.get_masses()
        exact = np.sqrt(bend * (1 / m[0] + 4 / m[1] + 1 / m[2]))  # of the coordinate x1 - 2 x2 + x3
        assert found.frequencies[0] == pytest.approx(exact * rate() / units.invcm, rel=1e-3)
    assert len(modes_of(molecule("H2O"), np.eye(9), None).frequencies) == 3


def rate() -> float:
    return float(units._hbar * 1e10 / np.sqrt(units._e * units._amu))

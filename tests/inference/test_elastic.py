"""Equation of state and elastic constants against lattice sums of Lennard-Jones argon."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.cell import Cell

from atomfield.data.errors import InputError
from atomfield.inference.elastic import constants_of, elastic_constants, young_modulus
from atomfield.inference.elastic import figure as elastic_figure
from atomfield.inference.equation_of_state import equation_of_state, fitted
from atomfield.inference.equation_of_state import figure as eos_figure
from tests.inference.potentials import A6, A12, EPSILON, SIGMA, argon


def shells(cutoff: float, lattice: float) -> np.ndarray:
    """``[P, 3]`` vectors to all neighbours of an atom of the face-centred cubic crystal."""
    index = np.stack(np.meshgrid(*[np.arange(-8, 9)] * 3, indexing="ij"), -1).reshape(-1, 3)
    index = index[(index.sum(axis=1) % 2 == 0) & index.any(axis=1)]
    vectors = index * lattice / 2
    return vectors[np.linalg.norm(vectors, axis=1) < cutoff]


def lattice_sums(cutoff: float, lattice: float) -> tuple[np.ndarray, np.ndarray]:
    """Stress ``[3, 3]`` and Born's elastic constants ``[3, 3, 3, 3]`` (eV/angstrom^3) of a pair potential."""
    r = shells(cutoff, lattice)
    d = np.linalg.norm(r, axis=1)
    s6, volume = (SIGMA / d) ** 6, lattice**3 / 4
    first = 4 * EPSILON * (-12 * s6**2 + 6 * s6) / d
    second = 4 * EPSILON * (156 * s6**2 - 42 * s6) / d**2
    stress = np.einsum("p,pi,pj->ij", first / d, r, r) / (2 * volume)
    born = np.einsum("p,pi,pj,pk,pl->ijkl", (second - first / d) / d**2, r, r, r, r) / (2 * volume)
    return stress, born


def relaxed_lattice(cutoff: float) -> float:
    low, high = 5.0, 5.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if lattice_sums(cutoff, middle)[0][0, 0] < 0 else (low, middle)
    return (low + high) / 2


CUTOFF = 5.27 * 0.5 * (np.sqrt(2.5) + np.sqrt(3.0))
"""Midway between the fifth and the sixth shell, so that no strain here carries one across."""


def test_elastic_constants_of_argon() -> None:
    lattice = relaxed_lattice(CUTOFF)
    atoms = bulk("Ar", "fcc", a=lattice)
    atoms.calc = argon(CUTOFF)
    assert np.abs(atoms.get_stress()).max() < 1e-8
    found = elastic_constants(atoms, strain=0.004)
    born = lattice_sums(CUTOFF, lattice)[1] / units.GPa
    exact = {(0, 0): born[0, 0, 0, 0], (0, 1): born[0, 0, 1, 1], (3, 3): born[1, 2, 1, 2]}
    for (i, j), value in exact.items():
        assert found.matrix[i, j] == pytest.approx(value, rel=1e-6)
        assert found.measured[i, j] == pytest.approx(value, rel=1e-6)
    assert found.matrix[0, 1] == pytest.approx(
        found.matrix[3, 3], rel=1e-6
    )  # Cauchy's relation of pair potentials
    assert found.stable
    assert not found.remarks
    assert found.bulk == pytest.approx((exact[0, 0] + 2 * exact[0, 1]) / 3, rel=1e-6)
    assert found.bulk_bounds[0] == pytest.approx(found.bulk_bounds[1])  # equal in a cubic crystal
    assert found.shear_bounds[0] < found.shear < found.shear_bounds[1]
    along = young_modulus(found.matrix, np.array([[1.0, 0, 0], [1, 1, 1] / np.sqrt(3)]))
    c11, c12, _c44 = exact[0, 0], exact[0, 1], exact[3, 3]
    assert along[0] == pytest.approx((c11 - c12) * (c11 + 2 * c12) / (c11 + c12), rel=1e-6)
    assert along[1] > along[0]
    assert len(elastic_figure(found).axes) == 2


def test_constants_of_a_turned_crystal_are_told_in_its_own_axes() -> None:
    """A primitive cell from a CIF has its first vector along x, and so has its C11."""
    lattice = relaxed_lattice(CUTOFF)
    atoms = bulk("Ar", "fcc", a=lattice)
    atoms.set_cell(Cell.fromcellpar(atoms.cell.cellpar()), scale_atoms=True)
    atoms.calc = argon(CUTOFF)
    found = elastic_constants(atoms, strain=0.004)
    born = lattice_sums(CUTOFF, lattice)[1] / units.GPa
    numbers = found.metrics()
    assert numbers["C11_GPa"] != pytest.approx(born[0, 0, 0, 0], rel=0.05)
    for name, value in (("C11", born[0, 0, 0, 0]), ("C12", born[0, 0, 1, 1]), ("C44", born[1, 2, 1, 2])):
        assert numbers[f"{name}_standard_axes_GPa"] == pytest.approx(value, rel=1e-5)
    assert "in the axes of the structure" in found.remarks[0]


def test_internal_coordinates_relax() -> None:
    """hcp cobalt of EMT has an atom that is not at a centre of symmetry: clamped constants differ from relaxed ones, and
    C66 = (C11 - C12) / 2 holds by symmetry."""
    atoms = bulk("Cu", "hcp", a=2.55, c=4.16)
    atoms.calc = EMT()
    from atomfield.inference.relax import relax

    relax(atoms, cell="full", fmax=1e-4)
    found = elastic_constants(atoms, fmax=1e-4)
    c = found.matrix
    assert c[5, 5] == pytest.approx((c[0, 0] - c[0, 1]) / 2, rel=1e-6)
    assert c[0, 0] == pytest.approx(c[1, 1])
    assert found.scatter < 1.0
    clamped = elastic_constants(atoms, fmax=1e3)
    assert clamped.matrix[5, 5] > c[5, 5] + 1.0


def test_what_is_unstable_is_said() -> None:
    matrix = np.diag([100.0, 100, 100, -5, -5, -5])
    found = constants_of(matrix, bulk("Ar", "fcc", a=5.3, cubic=True))
    assert not found.stable
    assert "unstable" in found.remarks[0]
    assert elastic_figure(found) is not None


def test_equation_of_state_of_argon() -> None:
    """V0, B0 = (4 eps / sigma^3) A12 (A6 / A12)^(5/2) and B0' = (12 + 6) / 3 + 2 of the infinite lattice sums; what
    a cutoff takes
    away goes as its inverse cube, so two cutoffs say what none gives."""
    nearest = (2 * A12 / A6) ** (1 / 6) * SIGMA
    exact = 4 * EPSILON / SIGMA**3 * A12 * (A6 / A12) ** 2.5 / units.GPa
    volumes, moduli = [], []
    for cutoff in (22.0, 30.0):
        atoms = bulk("Ar", "fcc", a=nearest * np.sqrt(2) * 1.002)
        atoms.calc = argon(cutoff)
        found = equation_of_state(atoms, points=7, strain=0.05)
        volumes.append(found.volume)
        moduli.append(found.bulk_modulus)
        assert found.derivative == pytest.approx(8.0, rel=0.01)
        assert not found.remarks
    share = (30 / 22) ** 3 - 1
    assert volumes[1] + (volumes[1] - volumes[0]) / share == pytest.approx(nearest**3 / np.sqrt(2), rel=5e-5)
    assert moduli[1] == pytest.approx(exact, rel=2e-3)
    slope = -np.gradient(found.energies, found.volumes, edge_order=2) / units.GPa
    np.testing.assert_allclose(found.pressures, slope, atol=0.02)
    assert len(eos_figure(found).axes) == 2


def test_the_fit_finds_its_own_constants() -> None:
    v0, b0, b1, e0 = 40.0, 0.5, 4.7, -7.0
    volumes = np.linspace(36, 44, 9)
    y = (v0 / volumes) ** (2 / 3)
    energies = e0 + 9 * v0 * b0 / 16 * ((y - 1) ** 3 * b1 + (y - 1) ** 2 * (6 - 4 * y))
    found = fitted(volumes, energies, np.zeros(9), 2)
    assert found.volume == pytest.approx(v0, rel=1e-9)
    assert found.bulk_modulus * units.GPa == pytest.approx(b0, rel=1e-8)
    assert found.derivative == pytest.approx(b1, rel=1e-6)
    assert found.energy == pytest.approx(e0, rel=1e-12)
    assert found.rms < 1e-6
    shifted = fitted(volumes[5:], energies[5:], np.zeros(4), 2)
    assert "outside" in shifted.remarks[0]
    with pytest.raises(InputError, match="no minimum"):
        fitted(volumes, -energies, np.zeros(9), 2)
    with pytest.raises(InputError, match="too far apart"):
        fitted(volumes, -7.0 + 1e-12 * energies, np.zeros(9), 2)  # rounding has minima too


def test_mistakes() -> None:
    atoms = bulk("Cu")
    with pytest.raises(InputError, match="no calculator"):
        elastic_constants(atoms)
    atoms.calc = EMT()
    for call, message in (
        (lambda: elastic_constants(atoms, strain=0.5), "strain is 0.5"),
        (lambda: equation_of_state(atoms, points=4), "at least 5"),
        (lambda: equation_of_state(atoms, strain=1.0), "strain is 1.0"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    atoms.pbc = [True, True, False]
    with pytest.raises(InputError, match="periodic in three"):
        elastic_constants(atoms)

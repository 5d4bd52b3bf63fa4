"""Second differences of energies against the ordinary ways, for copper by EMT and rock salt by a pair potential."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

pytest.importorskip("phonopy")

from atomfield.data.generate.potentials import as_calculator, potential
from atomfield.inference.elastic import elastic_constants
from atomfield.inference.phonons import phonons
from benchmarks import crystal_cases, second_differences

A = 3.5897
"""angstrom, of copper at rest in EMT."""


def test_elastic_constants_of_copper() -> None:
    atoms = bulk("Cu", cubic=True, a=A)
    atoms.calc = EMT()
    found = second_differences.elastic_constants(atoms)
    matrix = elastic_constants(atoms).matrix
    assert found["C11"] == pytest.approx(matrix[0, 0], abs=0.2)
    assert found["C12"] == pytest.approx(matrix[0, 1], abs=0.2)
    assert found["C44"] == pytest.approx(matrix[3, 3], abs=0.2)


def test_a_pair_potential_obeys_the_cauchy_relation() -> None:
    """C12 = C44 where all forces are central, each ion is a centre of inversion and the lattice is at rest."""
    atoms = bulk("NaCl", "rocksalt", a=5.59198, cubic=True)
    atoms.calc = as_calculator(potential("joung-cheatham-2008"))
    found = second_differences.elastic_constants(atoms)
    assert found["C12"] == pytest.approx(found["C44"], abs=0.02)


def test_frozen_phonons_of_copper_and_an_alloy() -> None:
    """Where two atoms are in the primitive cell, and where one is."""
    for atoms in (bulk("Cu", cubic=True, a=A), bulk("CuAu", "rocksalt", a=5.4, cubic=True)):
        atoms.calc = EMT()
        engine = phonons(atoms, supercell=(2, 2, 2), points=2, mesh=5.0, distance=0.003).phonopy
        for q in crystal_cases.POINTS.values():
            expected = engine.run_qpoints([q]).frequencies[0]
            found = second_differences.frozen_phonons(engine, q, atoms.calc, (2, 2, 2))
            assert np.allclose(found, expected, atol=0.02), (atoms, q)


def test_a_wave_that_does_not_fit_is_refused() -> None:
    atoms = bulk("Cu", cubic=True, a=A)
    atoms.calc = EMT()
    engine = phonons(atoms, supercell=(2, 2, 2), points=2, mesh=5.0).phonopy
    with pytest.raises(ValueError, match="does not fit"):
        second_differences.frozen_phonons(engine, (0.25, 0.0, 0.25), atoms.calc, (1, 1, 1))

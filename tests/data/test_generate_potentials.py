"""Interatomic potentials that label crystals: derivatives, batches, and the comparison with published crystals."""

from __future__ import annotations

import numpy as np
import pytest

from atomfield.data.generate.lattices import build
from atomfield.data.generate.oxides import MATERIALS, charge, materials
from atomfield.data.generate.oxides import build as build_oxide
from atomfield.data.generate.potential_checks import TABLE, Published, check, page
from atomfield.data.generate.potentials import label_all, potential


def rattled(level: str):
    """A small distorted crystal of every level."""
    from ase.build import bulk

    match level:
        case "eam-zhou-2004":
            atoms = build("L1_2", ("Pt", "Co"), {"Pt": 15.0, "Co": 11.1})
        case "pedone-2006":
            atoms = build_oxide("perovskite", ("Sr", "Ti"))
        case "joung-cheatham-2008":
            atoms = bulk("NaCl", "rocksalt", a=5.8) * (2, 1, 1)
            atoms.set_chemical_symbols(["Na", "Cl", "Rb", "I"])
        case "sw-zhou-2013":
            atoms = bulk("ZnS", "zincblende", a=5.9) * (2, 1, 1)
            atoms.set_chemical_symbols(["Zn", "S", "Hg", "Te"])
        case _:
            atoms = bulk("Ar", "fcc", a=5.4) * (2, 1, 1)
            atoms.set_chemical_symbols(["Ar", "Xe"])
    atoms.positions += np.random.default_rng(0).normal(scale=0.1, size=atoms.positions.shape)
    return atoms


LEVELS = ("eam-zhou-2004", "pedone-2006", "joung-cheatham-2008", "sw-zhou-2013", "lj-bernardes-1958")


@pytest.mark.parametrize("level", LEVELS)
def test_forces_and_stress_are_derivatives_of_the_energy(level):
    chosen, atoms, h = potential(level), rattled(level), 1e-4
    found = label_all(chosen, [atoms])[0]
    moved, strained = [], []
    for sign in (1, -1):
        moved.append(atoms.copy())
        moved[-1].positions[0, 1] += sign * h
        strained.append(atoms.copy())
        shear = np.eye(3) + sign * h / 2 * (
            np.eye(3)[[0]].T @ np.eye(3)[[1]] + np.eye(3)[[1]].T @ np.eye(3)[[0]]
        )
        strained[-1].set_cell(atoms.cell.array @ shear, scale_atoms=True)
    up, down, more, less = (x.energy for x in label_all(chosen, moved + strained))
    assert -(up - down) / (2 * h) == pytest.approx(found.forces[0, 1], abs=2e-6)
    assert (more - less) / (2 * h) / atoms.get_volume() == pytest.approx(found.stress[0, 1], abs=2e-6)
    assert abs(found.forces.sum(axis=0)).max() < 1e-10


@pytest.mark.parametrize("level", LEVELS)
def test_labels_do_not_depend_on_the_batch_or_the_cell_that_is_chosen(level):
    chosen, atoms = potential(level), rattled(level)
    alone = label_all(chosen, [atoms])[0]
    together = label_all(chosen, [rattled(level) * (1, 2, 1), atoms])
    assert together[1].energy == pytest.approx(alone.energy, abs=1e-9)
    assert together[0].energy == pytest.approx(2 * alone.energy, abs=1e-6)  # Ewald sums: 1e-8 relative
    np.testing.assert_allclose(together[0].forces[: len(atoms)], alone.forces, atol=1e-5)
    np.testing.assert_allclose(together[0].stress, alone.stress, atol=1e-6)


def test_madelungs_energy_of_rock_salt():
    """Of unit charges alone, -1.747565 k q^2 / r: the halides' Coulomb energy is that of the whole crystal."""
    from ase.build import bulk

    atoms = bulk("NaCl", "rocksalt", a=5.64)
    chosen = potential("joung-cheatham-2008")
    energy = label_all(chosen, [atoms])[0].energy
    assert -1.747565 * 14.39965 / 2.82 < energy < -1.747565 * 14.39965 / 2.82 * 0.85


QUICK = [
    r
    for r in TABLE
    if r.level in ("eam-zhou-2004", "sw-zhou-2013") or r.formula in ("NaCl", "CsI", "Mg", "Li", "Ti", "Kr")
]


@pytest.mark.parametrize("row", QUICK, ids=lambda r: f"{r.formula}-{r.prototype}-{r.level}")
def test_published_crystals_are_met(row):
    found = check(row)
    assert found["passed"], found


def test_what_does_not_agree_fails():
    by_name = {(r.level, r.formula, r.prototype): r for r in TABLE}
    assert not check(by_name["lj-bernardes-1958", "Ne", "fcc"])[
        "passed"
    ]  # zero-point motion, which the fit has not
    assert not check(by_name["pedone-2006", "Na", "antifluorite"])["passed"]
    wrong = Published("eam-zhou-2004", "Cu", "fcc", (3.8,), 3.49)
    found = check(wrong)
    assert not found["passed"]
    assert page([found]).splitlines()[-1].endswith("| Cu, fcc | 3.615 / 3.8 | 3.540 / 3.490 |  | left out |")


def test_what_failed_is_in_no_material():
    cations = {e for choices in MATERIALS.values() for c in choices for e in c}
    assert not cations & {"Na", "K"}
    assert ("rutile", ("Si",)) not in set(materials())


def test_oxides_are_neutral_and_their_atoms_apart():
    from atomfield.data.generate.lattices import closest

    for name, elements in materials():
        atoms = build_oxide(name, elements)
        assert charge(atoms.get_chemical_symbols()) == pytest.approx(0, abs=1e-9), (name, elements)
        assert closest(atoms) > 1.5

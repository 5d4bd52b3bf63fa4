"""The crystal part of the starter corpus in miniature."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atomfield.data.generate import crystals as made
from atomfield.data.generate.insulators import Material, heights, insulators, supercell
from atomfield.data.generate.lattices import GRID, PROTOTYPES, build, closest, coarse, deform, reduced_formula
from tests.extras import needs_tblite


@pytest.mark.parametrize("prototype", PROTOTYPES)
def test_prototypes_are_crystals_of_sensible_distances(prototype: str) -> None:
    letters = len(set(PROTOTYPES[prototype][0]))
    atoms = build(prototype, ("Cu", "Au", "Pt")[:letters])
    assert len(atoms) == len(PROTOTYPES[prototype][0])
    assert closest(atoms) > 2.2  # copper: 2.55 angstrom in fcc


def test_reduced_formula() -> None:
    assert reduced_formula(["Ni", "Al", "Ni", "Ni"]) == "AlNi3"
    assert reduced_formula(["Cu"] * 4) == "Cu"
    assert reduced_formula(["Pt", "Cu", "Cu", "Pt"]) == "CuPt"


def test_deform_snaps_to_a_grid_that_float32_holds() -> None:
    atoms = build("D0_3", ("Al", "Cu"))
    deform(atoms, np.random.default_rng(0), (0.9, 1.1), 0.03, (0.1, 0.1))
    for values in (atoms.positions, atoms.cell.array):
        assert np.array_equal(np.round(values * GRID), values * GRID)
        assert np.array_equal(values.astype(np.float32).astype(np.float64), values)


def test_coarse_keeps_sixteen_bits() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    assert np.abs(coarse(values) / values - 1).max() <= 2.0**-16
    assert coarse(np.zeros(2)).tolist() == [0.0, 0.0]


def test_metals_carry_consistent_labels() -> None:
    graphs, report = made.metals(scale=0.01, progress=False)
    assert report["levels"] == {"emt": len(graphs)}
    again = made.metals(scale=0.01, progress=False)[0]
    assert all(torch.equal(a.positions, b.positions) for a, b in zip(graphs, again, strict=True))
    for g in graphs:
        assert (g.world, g.level, g.pbc.tolist()) == ("crystal", "emt", [True] * 3)
        assert g.quantities["energy"].dtype == torch.float64
        assert g.quantities["forces"].dtype == g.quantities["stress"].dtype == torch.float32
        assert float(g.quantities["forces"].sum(dim=0).abs().max()) < 1e-3


def test_stress_is_the_strain_derivative() -> None:
    from ase.calculators.emt import EMT

    atoms = build("L1_2", ("Al", "Cu"))
    deform(atoms, np.random.default_rng(1), (1.05, 1.05), 0.03, (0.1, 0.1))
    atoms.calc = EMT()
    energies = []
    for step in (1e-4, -1e-4):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ np.diag([1 + step, 1, 1]), scale_atoms=True)
        strained.calc = EMT()
        energies.append(strained.get_potential_energy())
    expected = (energies[0] - energies[1]) / 2e-4 / atoms.get_volume()
    assert atoms.get_stress(voigt=False)[0, 0] == pytest.approx(expected, abs=1e-6)


def test_task_holds_out_its_compositions() -> None:
    task, report = made.task_crystals(scale=0.05, progress=False)
    graphs, _ = made.metals(scale=0.01, progress=False)
    assert len(task) == report["graphs"] == 14
    assert not {g.group.split("-")[0] for g in task} & {g.group.split("-")[0] for g in graphs}
    assert {frozenset(g.species.tolist()) for g in task}.isdisjoint(
        frozenset(g.species.tolist()) for g in graphs
    )
    for g in task:
        assert 2 <= g.num_nodes <= 8
        assert 20 < float(g.quantities["bulk_modulus"]) < 400
        assert g.definition("bulk_modulus").unit == "GPa"


def test_bulk_modulus_is_the_energys_curvature() -> None:
    from ase.calculators.emt import EMT

    atoms = build("fcc", ("Cu",))
    assert made.relax_volume(atoms)
    assert abs(made.pressure(atoms, 1.0)) < 1e-5
    volume, step, energies = atoms.get_volume(), 0.004, []
    for factor in (1 - step, 1.0, 1 + step):
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell.array * factor ** (1 / 3), scale_atoms=True)
        scaled.calc = EMT()
        energies.append(scaled.get_potential_energy())
    curvature = (energies[0] - 2 * energies[1] + energies[2]) / step**2 / volume * made.GPA
    assert made.bulk_modulus(atoms) == pytest.approx(curvature, rel=0.01)


def test_supercells_of_insulators() -> None:
    nacl = supercell(Material("NaCl", "rocksalt", 5.64, repeat=(3, 3, 3), primitive=True))
    assert len(nacl) == 54
    assert closest(nacl) == pytest.approx(2.82)
    assert heights(nacl.cell.array).min() == pytest.approx(3 * 5.64 / 3**0.5)
    rutile = supercell(Material("MgF2", "rutile", 4.62, 3.05, repeat=(1, 1, 1)))
    assert rutile.get_chemical_formula() == "F4Mg2"
    assert closest(rutile) > 1.9
    assert (
        supercell(Material("KMgF3", "perovskite", 3.99, repeat=(1, 1, 1))).get_chemical_symbols().count("F")
        == 3
    )


@needs_tblite
def test_insulators_are_kept_only_behind_the_doubling_test(monkeypatch: pytest.MonkeyPatch) -> None:
    from atomfield.data.generate import insulators as module

    small = Material("NaCl", "rocksalt", 5.64, repeat=(1, 1, 1))
    monkeypatch.setattr(module, "MATERIALS", (small,))
    graphs, report = insulators(scale=0.1, progress=False)
    test = report["doubling_tests"][0]
    assert graphs == []
    assert (test["passed"], test["atoms"]) == (False, 8)
    monkeypatch.setattr(module, "MAX_ENERGY_CHANGE", 10.0)
    monkeypatch.setattr(module, "MAX_FORCE_CHANGE", 100.0)
    graphs, report = insulators(scale=0.1, progress=False)
    assert len(graphs) == report["levels"]["gfn1-xtb-pbc"] == 2
    assert all(g.group == "NaCl-rocksalt" and g.level == "gfn1-xtb-pbc" for g in graphs)

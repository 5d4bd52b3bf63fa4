"""NaCl with strained cells: records that a seed gives, and a level that is asked through files, here a pair potential."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk

from atomfield.data.generate.insulators import Material, heights
from atomfield.data.generate.potentials import as_calculator, label_all, potential
from atomfield.data.generate.xtb import Label, NotConverged
from atomfield.inference.elastic import strained
from tests.extras import needs_tblite

if TYPE_CHECKING:
    from ase import Atoms

A = 5.59198
"""angstrom: NaCl at rest in the pair potential."""
asked: list[int] = []


@pytest.fixture(scope="module")
def level() -> ModuleType:
    pytest.importorskip("phonopy")
    return importlib.import_module("crystal_level")


def pairs(atoms: Atoms) -> Label:
    """The pair potential in the place of tblite; how many atoms it was asked for goes to ``asked``."""
    asked.append(len(atoms))
    found = label_all(potential("joung-cheatham-2008"), [atoms])[0]
    none = np.zeros(len(atoms))
    return Label(found.energy, found.forces, np.zeros(3), none, found.stress, 5.0)


def never(atoms: Atoms) -> Label:
    raise NotConverged("the gap is 0.10 eV, expected more than 1.0 eV")


def test_frames_are_the_same_again_and_have_all_strains(level: ModuleType) -> None:
    ideal = level.supercell(level.MATERIAL).cell.array
    strains = []
    for part, count in level.PARTS.items():
        for number in range(count):
            atoms = level.frame_of(level.Frame(part, number))
            assert len(atoms) == 64 and heights(atoms.cell.array).min() >= level.LEAST_HEIGHT
            strains.append(np.linalg.solve(ideal, atoms.cell.array) - np.eye(3))
    again, first = (level.frame_of(level.Frame("train", 0)) for _ in range(2))
    assert np.array_equal(again.positions, first.positions) and np.array_equal(again.cell, first.cell)
    all_strains = np.array(strains)
    assert len(np.unique(all_strains.reshape(-1, 9), axis=0)) == sum(level.PARTS.values())
    lengths = np.trace(all_strains, axis1=1, axis2=2) / 3
    assert -0.031 < lengths.min() < -0.02 and 0.02 < lengths.max() < 0.031
    shears = all_strains[:, [0, 0, 1], [1, 2, 2]]
    assert 0.008 < shears.std() < 0.014 and 0.02 < np.abs(shears).max() < 0.05


def test_a_record_has_the_labels_of_its_frame(level: ModuleType) -> None:
    frame = level.Frame("test", 4)
    (graph,) = level.record(frame, pairs).graphs
    atoms = level.frame_of(frame)
    expected = pairs(atoms)
    assert graph.level == "gfn1-xtb-pbc"
    assert np.array_equal(graph.positions.numpy(), atoms.positions)
    assert float(graph.quantities["energy"]) == expected.energy
    assert np.allclose(graph.quantities["forces"].numpy(), expected.forces, rtol=1e-4, atol=1e-6)
    assert np.allclose(graph.quantities["stress"].numpy(), expected.stress, rtol=1e-5, atol=1e-8)
    other = level.record(level.Frame("test", 5), pairs).graphs[0]
    assert other.group != graph.group  # else validation records could not be held out by groups


def test_what_does_not_converge_is_counted_and_left_out(level: ModuleType) -> None:
    made = level.record(level.Frame("train", 0), never)
    assert made.graphs == [] and made.counts == {"dropped": {"not converged or a small gap": 1}}


def test_small_cells_are_asked_as_large_ones_and_once(level: ModuleType, tmp_path: Path) -> None:
    atoms = strained(bulk("NaCl", "rocksalt", a=A, cubic=True), 3, 0.02)
    atoms.positions[1, 0] += 0.1
    plain = atoms.copy()
    plain.calc = as_calculator(potential("joung-cheatham-2008"))
    asked.clear()
    for ask in (pairs, never):  # the second finds the answer of the first
        atoms.calc = level.Level(tmp_path / "points", ask)
        assert atoms.get_potential_energy() == pytest.approx(plain.get_potential_energy(), abs=1e-6)
        assert np.allclose(atoms.get_forces(), plain.get_forces(), atol=1e-6)
        assert np.allclose(atoms.get_stress(), plain.get_stress(), atol=1e-8)
    assert asked == [64]
    atoms.positions[1, 0] += 1e-4
    with pytest.raises(NotConverged, match="gap"):
        atoms.get_potential_energy()


def test_the_level_by_energies_and_by_stress(
    level: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Central forces at rest: C12 = C44; both bulk moduli are one; optical modes at Γ are threefold."""
    monkeypatch.setattr(level, "MATERIAL", Material("NaCl", "rocksalt", 5.6))
    calculator = level.Level(tmp_path / "points", pairs)
    found = level.level_values(calculator, tmp_path / "phonopy.yaml")
    assert found["a"] == pytest.approx(A, abs=1e-3)
    assert found["bulk_eos"] == pytest.approx(found["bulk_elastic"], rel=0.01)
    assert found["C12"] == pytest.approx(found["C44"], abs=0.1)
    for name in ("C11", "C12", "C44"):
        assert found["by_stress"][name] == pytest.approx(found[name], abs=0.05)
    assert found["by_stress"]["largest_force"] < 1e-6
    gamma = np.array(found["frequencies"]["Γ"])
    assert np.abs(gamma[:3]).max() < 0.01 and np.ptp(gamma[3:]) < 1e-4 and gamma[3] > 5
    assert (tmp_path / "phonopy.yaml").exists()
    monkeypatch.setattr(level, "LARGER", (2, 2, 3))
    small, large = level.larger_cell(calculator, found["a"]).values()
    for name in ("C11", "C12", "C44"):  # a sum over pairs knows no cell
        assert large[name] == pytest.approx(small[name], abs=0.05)
    assert large["pressure"] == pytest.approx(small["pressure"], abs=1e-3)
    unit = bulk("NaCl", "rocksalt", a=found["a"], cubic=True)
    unit.calc = calculator
    for slope in level.shear_by_shear(unit, (0.01, 0.02)).values():
        assert slope == pytest.approx(found["C44"], abs=0.1)


@needs_tblite
def test_gfn1_is_smooth_under_strain_and_its_stress_the_slope(level: ModuleType) -> None:
    """Were an image chosen by which is nearest, the energy had a cusp at no shear, where two are as near."""
    unit = bulk("NaCl", "rocksalt", a=5.47, cubic=True)
    small, large = (level.gfn1(strained(unit, 3, shear)).stress[1, 2] for shear in (0.0005, 0.002))
    assert large == pytest.approx(4 * small, rel=0.01)
    size, step = -0.01, 0.002
    low, middle, high = (level.gfn1(strained(unit, 0, s)) for s in (size - step, size, size + step))
    slope = (high.energy - low.energy) / (2 * step) / unit.get_volume()
    assert middle.stress[0, 0] == pytest.approx(slope, abs=1e-5)


@needs_tblite
def test_a_gap_too_small_for_one_wave_vector_is_no_label(
    level: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = bulk("NaCl", "rocksalt", a=5.47)
    monkeypatch.setattr(level, "MIN_GAP", level.gfn1(unit).gap + 0.01)
    with pytest.raises(NotConverged, match="gap"):
        level.gfn1(unit)

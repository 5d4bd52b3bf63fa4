"""The one evaluator of the accuracy table, and the parts that every package trains on."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def potentials(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import potentials

    return potentials


def labelled(energies: list[float], *, calculator: bool) -> list[Atoms]:
    """Molecules of two atoms in a box, with labels as a calculator's results or under REF_ keys."""
    out = []
    for energy in energies:
        atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.7 + 0.01 * energy]], cell=[50, 50, 50])
        forces = np.full((2, 3), energy / 10)
        if calculator:
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        else:
            atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy, forces
        out.append(atoms)
    return out


def test_errors_of_known_predictions(potentials, tmp_path):
    ase.io.write(tmp_path / "test.xyz", labelled([1.0, 3.0], calculator=False), format="extxyz")
    forces = np.concatenate([np.full((2, 3), 0.1), np.full((2, 3), 0.3)])
    forces[0, 0] += 0.012
    np.savez(tmp_path / "p.npz", energy=np.array([1.002, 2.996]), forces=forces)
    found = potentials.errors(tmp_path / "test.xyz", tmp_path / "p.npz")
    assert found["energy_mae_meV_per_atom"] == pytest.approx(1.5)
    assert found["energy_rmse_meV_per_atom"] == pytest.approx(np.sqrt(2.5))
    assert found["forces_mae_meV_per_A"] == pytest.approx(1.0)
    assert found["forces_rmse_meV_per_A"] == pytest.approx(12 / np.sqrt(12))


def test_parts_are_disjoint_complete_and_drawn_by_the_seed(potentials, tmp_path):
    folder = tmp_path / "3bpa_train"
    folder.mkdir()
    energies = [float(i) for i in range(20)]
    ase.io.write(folder / "train_300K.xyz", labelled(energies, calculator=True), format="extxyz")
    ase.io.write(folder / "train_mixedT.xyz", labelled([3.0, 77.0, 78.0], calculator=True), format="extxyz")
    parts = {}
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        files = potentials.prepare("3bpa", tmp_path, tmp_path / str(seed), seed)
        parts[seed] = {k: [x.info["REF_energy"] for x in potentials.read(v)] for k, v in files.items()}
        assert sorted(parts[seed]["train"] + parts[seed]["valid"]) == energies
        assert len(parts[seed]["valid"]) == 2
        assert parts[seed]["test"] == [77.0, 78.0]  # a frame that is also trained on is left out
        assert not any(x.pbc.any() or x.cell.any() for x in potentials.read(files["train"]))
    assert parts[0]["valid"] != parts[1]["valid"]

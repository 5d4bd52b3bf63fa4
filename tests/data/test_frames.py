"""Arrays of many structures: MD17, ANI, SPICE and QM7 layouts, DeePMD systems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from atomfield.data.errors import InputError
from atomfield.data.readers import BadRecord, ReadOptions, read
from atomfield.data.units import factor

KCAL = factor("energy", "kcal/mol")
HARTREE = factor("energy", "hartree")
BOHR = factor("positions", "bohr")
WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])


@pytest.fixture
def md17() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    positions = WATER + rng.normal(size=(5, 3, 3)) * 0.01
    return {"R": positions, "z": np.array([8, 1, 1], dtype=np.uint8), "E": rng.normal(size=(5, 1)),
            "F": rng.normal(size=(5, 3, 3)), "name": np.bytes_(b"water"), "theory": np.str_("none")}  # fmt: skip


def test_md17(md17: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.savez(tmp_path / "a.npz", **md17)
    graphs = list(read(tmp_path / "a.npz"))
    assert [g.provenance.record for g in graphs] == [0, 1, 2, 3, 4]
    assert graphs[2].quantities["energy"].item() == pytest.approx(md17["E"][2, 0] * KCAL)
    np.testing.assert_allclose(graphs[2].quantities["forces"], md17["F"][2] * KCAL)
    np.testing.assert_array_equal(graphs[2].positions, md17["R"][2])
    assert graphs[2].species.tolist() == [8, 1, 1]
    assert caplog.text.count("kcal/mol") == 2  # energy and forces, in one line, once
    (other,) = {
        g.quantities["energy"].item() / e
        for g, e in zip(
            read(tmp_path / "a.npz", ReadOptions(units={"energy": "eV"})), md17["E"][:, 0], strict=True
        )
    }
    assert other == 1.0


def test_units_in_the_file_and_revised_md17(md17: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **md17, e_unit=np.str_("eV"), r_unit=np.str_("Ang"))
    assert next(iter(read(tmp_path / "a.npz"))).quantities["energy"].item() == pytest.approx(md17["E"][0, 0])
    revised = {
        "coords": md17["R"],
        "nuclear_charges": md17["z"],
        "energies": md17["E"][:, 0],
        "forces": md17["F"],
    }
    np.savez(tmp_path / "r.npz", **revised)
    graph = list(read(tmp_path / "r.npz"))[4]
    assert graph.quantities["energy"].item() == pytest.approx(md17["E"][4, 0] * KCAL)
    np.testing.assert_allclose(graph.quantities["forces"], md17["F"][4] * KCAL)


def test_padded_and_end_to_end(tmp_path: Path) -> None:
    """The same three molecules as padded rows and end to end."""
    positions = np.zeros((2, 3, 3))
    positions[0], positions[1, :2] = WATER, WATER[:2]
    numbers = np.array([[8, 1, 1], [8, 1, 0]])
    forces = np.arange(18.0).reshape(2, 3, 3)
    np.savez(tmp_path / "a.npz", positions=positions, numbers=numbers, forces=forces, energy=[1.0, 2.0])
    flat = [np.concatenate([a[0], a[1, :2]]) for a in (positions, forces, numbers)]
    np.savez(
        tmp_path / "b.npz",
        positions=flat[0],
        forces=flat[1],
        numbers=flat[2],
        ptr=[0, 3, 5],
        energy=[1.0, 2.0],
    )
    for name in ("a.npz", "b.npz"):
        one, two = read(tmp_path / name)
        assert one.num_nodes == 3
        assert two.num_nodes == 2
        np.testing.assert_array_equal(two.quantities["forces"], forces[1, :2])
        assert two.quantities["energy"].item() == 2.0


def test_single_structure_and_crystals(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", positions=WATER, numbers=[8, 1, 1], energy=-1.0, forces=WATER * 2)
    (graph,) = read(tmp_path / "a.npz")
    assert graph.world == "molecule"
    assert graph.quantities["energy"].item() == -1.0
    np.testing.assert_array_equal(graph.quantities["forces"], WATER * 2)
    many = np.stack([WATER] * 4)
    np.savez(tmp_path / "b.npz", positions=many, numbers=[8, 1, 1], cell=np.eye(3) * 5, energy=np.arange(4.0))
    assert all(
        g.world == "crystal" and float(g.cell.det()) == pytest.approx(125) for g in read(tmp_path / "b.npz")
    )
    np.savez(tmp_path / "c.npz", xyz=many, elements=["O", "H", "H"], cell=np.eye(3) * 5, pbc=[False] * 3)
    graphs = list(read(tmp_path / "c.npz", ReadOptions(map={"positions": "xyz"})))
    assert [g.world for g in graphs] == ["molecule"] * 4


def test_ani1(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, n in (("gdb11_s01-0", 3), ("gdb11_s01-1", 2)):
            group = file.create_group(f"gdb11_s01/{name}")
            group["coordinates"] = np.stack([WATER + i for i in range(n)]).astype(np.float32)
            group["coordinatesHE"] = np.zeros((7, 3, 3), dtype=np.float32)
            group["energies"] = -76.0 - np.arange(n)
            group["species"] = np.array([b"O", b"H", b"H"])
            group["smiles"] = np.array([b"[", b"H", b"]"])
    graphs = list(read(tmp_path / "a.h5"))
    assert [g.provenance.record for g in graphs] == [0, 1, 2, 3, 4]
    assert graphs[4].quantities["energy"].item() == pytest.approx(-77 * HARTREE)


def test_ani1x(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("H2O1")
        group["coordinates"] = np.stack([WATER, WATER])
        group["atomic_numbers"] = np.array([8, 1, 1], dtype=np.uint8)
        group["wb97x_dz.energy"] = [-76.0, -76.5]
        group["wb97x_dz.forces"] = np.stack([WATER, np.full((3, 3), np.nan)])
        group["ccsd(t)_cbs.energy"] = [np.nan, -76.7]
    with pytest.raises(
        InputError, match=r"a.h5: energies of 2 levels.*--map energy=wb97x_dz.energy,forces=wb97x_dz"
    ):
        list(read(tmp_path / "a.h5"))
    one, two = read(tmp_path / "a.h5", ReadOptions(map={"energy": "wb97x_dz.energy"}))
    np.testing.assert_allclose(one.quantities["forces"], WATER * HARTREE)
    assert "forces" not in two.quantities  # NaN throughout: not known
    bad: list[BadRecord] = []
    options = ReadOptions(map={"energy": "ccsd(t)_cbs.energy"}, targets=("energy",), on_bad="skip")
    (only,) = read(tmp_path / "a.h5", options, bad)
    assert only.quantities["energy"].item() == pytest.approx(-76.7 * HARTREE)
    assert "forces" not in only.quantities
    assert "[H2O1, frame 0]" in bad[0].message


def test_spice(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        group = file.create_group("water")
        group["atomic_numbers"] = np.array([8, 1, 1], dtype=np.int16)
        group["conformations"] = np.stack([WATER, WATER]) / BOHR
        group["conformations"].attrs["units"] = "bohr"
        group["dft_total_energy"] = [-76.0, -76.5]
        group["dft_total_energy"].attrs["units"] = "hartree"
        group["dft_total_gradient"] = gradient = rng.normal(size=(2, 3, 3))
        group["dft_total_gradient"].attrs["units"] = "hartree/bohr"
        group["smiles"] = np.array([b"[O:1]([H:2])[H:3]"])
        group["subset"] = np.array([b"SPICE Test"])
    one, _ = read(tmp_path / "a.hdf5")
    np.testing.assert_allclose(one.positions, WATER, atol=1e-12)
    np.testing.assert_allclose(one.quantities["forces"], -gradient[0] * HARTREE / BOHR)
    assert one.quantities["energy"].item() == pytest.approx(-76 * HARTREE)


def test_declared_units(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["positions"], file["numbers"] = np.stack([WATER] * 2), [8, 1, 1]
        file["energy"] = [1.0, 2.0]
        file["energy"].attrs["unit"] = "kJ/mol"
    assert next(iter(read(tmp_path / "a.h5"))).quantities["energy"].item() == pytest.approx(
        factor("energy", "kJ/mol")
    )
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["energy"].attrs["unit"] = "furlong"
    with pytest.raises(InputError, match=r"a.h5: 'energy' is declared in 'furlong'.*--units energy=UNIT"):
        list(read(tmp_path / "a.h5"))
    options = ReadOptions(units={"energy": "meV"})
    assert next(iter(read(tmp_path / "a.h5", options))).quantities["energy"].item() == pytest.approx(1e-3)


def test_qm7(tmp_path: Path) -> None:
    from scipy.io import savemat

    positions = np.zeros((2, 4, 3))
    positions[0, :3], positions[1, :2] = WATER / BOHR, WATER[:2] / BOHR
    numbers = np.array([[8, 1, 1, 0], [8, 1, 0, 0]], dtype=float)
    savemat(tmp_path / "qm7.mat", {"R": positions, "Z": numbers, "T": [[-100.0, -50.0]], "X": np.zeros((2, 4, 4)),
                                   "P": np.zeros((5, 1))})  # fmt: skip
    one, two = read(tmp_path / "qm7.mat", ReadOptions(targets=("heat_of_atomization",)))
    np.testing.assert_allclose(one.positions, WATER, atol=1e-12)
    assert two.num_nodes == 2
    assert two.quantities["heat_of_atomization"].item() == -50.0


def _system(folder: Path, **arrays: Any) -> Path:
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("0\n1\n1\n")
    (folder / "type_map.raw").write_text("O\nH\n")
    for name, array in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", array)
    return folder


def test_deepmd(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    virial = rng.normal(size=(2, 3, 3))
    virial = virial + virial.transpose(0, 2, 1)
    arrays = {"coord": np.stack([WATER, WATER]).reshape(2, 9), "box": np.tile(np.eye(3).reshape(9) * 5, (2, 1)),
              "energy": np.array([1.0, 2.0]), "force": rng.normal(size=(2, 9)), "virial": virial.reshape(2, 9)}  # fmt: skip
    _system(tmp_path / "all" / "a", **arrays)
    _system(tmp_path / "all" / "b", **arrays)
    graphs = list(read(tmp_path / "all"))
    assert len(graphs) == 4
    assert len(list(read(tmp_path / "all" / "a"))) == 2
    assert graphs[1].species.tolist() == [8, 1, 1]
    np.testing.assert_allclose(graphs[1].quantities["stress"], -virial[1] / 125)
    np.testing.assert_allclose(graphs[1].quantities["forces"], arrays["force"][1].reshape(3, 3))
    (tmp_path / "all" / "b" / "nopbc").touch()
    with pytest.raises(InputError, match="no periodic cell with a volume"):
        list(read(tmp_path / "all" / "b"))
    del arrays["virial"]
    (tmp_path / "all" / "b" / "set.000" / "virial.npy").unlink()
    assert next(iter(read(tmp_path / "all" / "b"))).world == "molecule"


def test_deepmd_mixed(tmp_path: Path) -> None:
    coord = np.stack([WATER, WATER]).reshape(2, 9)
    _system(tmp_path / "m", coord=coord, real_atom_types=np.array([[0, 1, 1], [0, 1, -1]]), force=coord * 2)
    one, two = read(tmp_path / "m")
    assert one.species.tolist() == [8, 1, 1]
    assert two.species.tolist() == [8, 1]
    np.testing.assert_allclose(two.quantities["forces"], WATER[:2] * 2)


def test_two_keys_for_one_quantity(md17: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **md17, energy=md17["E"] * 2)
    with pytest.raises(
        InputError, match=r"a.npz: 'E' and 'energy' may both be energy; say which: --map energy=E"
    ):
        list(read(tmp_path / "a.npz"))
    graph = next(
        iter(read(tmp_path / "a.npz", ReadOptions(map={"energy": "energy"}, units={"energy": "eV"})))
    )
    assert graph.quantities["energy"].item() == md17["E"][0, 0] * 2


def test_units_that_nobody_declared_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.savez(tmp_path / "a.npz", positions=np.stack([WATER] * 2), numbers=[8, 1, 1], energy=[1.0, 2.0])
    assert next(iter(read(tmp_path / "a.npz"))).quantities["energy"].item() == 1.0
    assert "units are not declared: energy as eV; say others with --units" in caplog.text

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.inference.predict import Prediction, described, predict_graphs
from atomfield.inference.write import write_predictions
from atomfield.models.network import AtomFieldNet
from tests.physics.subjects import cavity, crystal, flow, water

from .test_predict import trajectory


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def structures(net: AtomFieldNet) -> tuple[list[Graph], list[Prediction]]:
    """A labelled molecule and a crystal without labels."""
    labels = {"energy": torch.tensor(-2.5), "forces": torch.full((3, 3), 0.25)}
    graphs = [replace(water(), quantities=labels, group="O", provenance=Provenance("w.xyz", 4)), crystal()]
    return [described(g, net.config) for g in graphs], predict_graphs(net, graphs)


@pytest.mark.parametrize("suffix", [".extxyz", ".xyz"])
def test_extxyz(structures: tuple[list[Graph], list[Prediction]], tmp_path: Path, suffix: str) -> None:
    graphs, predictions = structures
    path = write_predictions(graphs, predictions, tmp_path / "new" / f"out{suffix}")
    first, second = ase.io.read(path, ":", format="extxyz")
    assert first.get_potential_energy() == pytest.approx(float(predictions[0]["energy"]), rel=1e-7)
    np.testing.assert_allclose(first.get_forces(), predictions[0]["forces"], atol=1e-7)
    np.testing.assert_allclose(first.get_charges(), predictions[0]["charges"], atol=1e-7)
    np.testing.assert_allclose(second.get_stress(voigt=False), predictions[1]["stress"], atol=1e-7)
    assert first.info["REF_energy"] == -2.5
    assert (first.arrays["REF_forces"] == 0.25).all()
    assert first.info["gap"] == pytest.approx(float(predictions[0]["gap"]), rel=1e-7)
    assert first.info["charge"] == 0
    assert "REF_energy" not in second.info


def test_extxyz_is_read_back(structures: tuple[list[Graph], list[Prediction]], tmp_path: Path) -> None:
    from atomfield.data.readers import ReadOptions, read

    path = write_predictions(*structures, tmp_path / "out.extxyz")
    with pytest.raises(
        InputError, match="--map energy=REF_energy,forces=REF_forces or --map energy=energy,forces=forces"
    ):
        list(read(path))
    again = list(read(path, ReadOptions(map={"energy": "energy", "forces": "forces"})))
    np.testing.assert_allclose(again[1].quantities["stress"].numpy(), structures[1][1]["stress"], atol=1e-7)
    labels = list(
        read(path, ReadOptions(map={"energy": "REF_energy", "forces": "REF_forces"}, on_bad="skip"), bad=[])
    )
    assert float(labels[0].quantities["energy"]) == -2.5


def test_csv(structures: tuple[list[Graph], list[Prediction]], tmp_path: Path) -> None:
    graphs, predictions = structures
    rows = rows_of(write_predictions(graphs, predictions, tmp_path / "out.csv"))
    assert [r["formula"] for r in rows] == ["H2O", "HAlMgO2"]
    assert (rows[0]["file"], rows[0]["record"], rows[0]["group"], rows[0]["num_atoms"]) == (
        "w.xyz",
        "4",
        "O",
        "3",
    )
    assert float(rows[0]["energy"]) == float(predictions[0]["energy"])
    assert float(rows[0]["REF_energy"]) == -2.5
    assert rows[1]["REF_energy"] == ""
    assert float(rows[1]["stress_yz"]) == predictions[1]["stress"][1, 2]
    assert float(rows[0]["dipole_z"]) == predictions[0]["dipole"][2]
    assert "forces" not in rows[0]


def test_parquet(structures: tuple[list[Graph], list[Prediction]], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    graphs, predictions = structures
    rows = parquet.read_table(write_predictions(graphs, predictions, tmp_path / "out.parquet")).to_pylist()
    np.testing.assert_array_equal(np.reshape(rows[1]["forces"], (-1, 3)), predictions[1]["forces"])
    assert rows[0]["species"] == [8, 1, 1]
    assert rows[1]["REF_forces"] is None
    assert rows[1]["gap"] == predictions[1]["gap"]


def test_npz(structures: tuple[list[Graph], list[Prediction]], tmp_path: Path) -> None:
    graphs, predictions = structures
    with np.load(write_predictions(graphs, predictions, tmp_path / "out.npz"), allow_pickle=False) as file:
        assert file["num_nodes"].tolist() == [3, 5]
        np.testing.assert_array_equal(file["forces"][3:], predictions[1]["forces"])
        assert file["REF_forces"].shape == (8, 3)
        assert np.isnan(file["REF_forces"][3:]).all()
        assert np.isnan(file["stress"][0]).all()


def test_netcdf_of_structures(structures: tuple[list[Graph], list[Prediction]], tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    graphs, predictions = structures
    with xarray.open_dataset(
        write_predictions(graphs, predictions, tmp_path / "out.nc"), engine="netcdf4"
    ) as file:
        assert file.forces.attrs["units"] == "eV/angstrom"
        assert file.forces.dims == ("atom", "component")
        np.testing.assert_array_equal(file.energy.values, [p["energy"] for p in predictions])


def test_netcdf_of_fields(net: AtomFieldNet, tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    graphs = [trajectory(), cavity()]
    predictions = predict_graphs(net, graphs)
    path = write_predictions(graphs[:1], predictions[:1], tmp_path / "one.nc")
    with xarray.open_dataset(path, engine="netcdf4") as file:
        assert file.velocity.dims == ("time", "x", "y", "component")
        assert file.time.values.tolist() == [0.01, 0.03]
        np.testing.assert_allclose(file.x.values, [0, 0.25, 0.5, 0.75])
        found = file.pressure.sel(time=0.03).values.reshape(-1)
        np.testing.assert_array_equal(found, predictions[0]["pressure"][1])
        np.testing.assert_array_equal(
            file.REF_pressure.values[1].reshape(-1), graphs[0].quantities["pressure"][2]
        )
        assert file.attrs["viscosity"] == 1e-3
    path = write_predictions(graphs, predictions, tmp_path / "two.nc")
    with xarray.open_dataset(path, group="record_1", engine="netcdf4") as file:
        assert file.temperature.dims == ("time", "node")


def test_tables_of_fields(net: AtomFieldNet, tmp_path: Path) -> None:
    graphs = [trajectory(), flow()]
    predictions = predict_graphs(net, graphs)
    rows = rows_of(write_predictions(graphs, predictions, tmp_path / "out.csv"))
    assert len(rows) == 2 * 20 + 20
    assert float(rows[25]["velocity_y"]) == predictions[0]["velocity"][1, 5, 1]
    assert float(rows[25]["REF_pressure"]) == float(graphs[0].quantities["pressure"][2, 5])
    with np.load(write_predictions(graphs, predictions, tmp_path / "out.npz")) as file:
        np.testing.assert_array_equal(file["0/velocity"], predictions[0]["velocity"])
        np.testing.assert_array_equal(file["0/REF_pressure"], graphs[0].quantities["pressure"][1:])


def test_mistakes(net: AtomFieldNet, tmp_path: Path) -> None:
    graphs = [water(), flow()]
    predictions = predict_graphs(net, graphs)
    with pytest.raises(InputError, match=r"cannot write \.pdb, expected one of \.extxyz"):
        write_predictions(graphs, predictions, tmp_path / "out.pdb")
    with pytest.raises(InputError, match="atoms and fields"):
        write_predictions(graphs, predictions, tmp_path / "out.csv")
    with pytest.raises(InputError, match="extxyz file holds atoms"):
        write_predictions(graphs[1:], predictions[1:], tmp_path / "out.xyz")
    with pytest.raises(InputError, match="no predictions"):
        write_predictions([], [], tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())


def test_ids_of_records_stand_in_tables(
    structures: tuple[list[Graph], list[Prediction]], tmp_path: Path
) -> None:
    graphs, predictions = structures
    named = [replace(graphs[0], id="mol-7"), graphs[1]]
    rows = rows_of(write_predictions(named, predictions, tmp_path / "out.csv"))
    assert [r["id"] for r in rows] == ["mol-7", ""]
    assert "id" not in rows_of(write_predictions(graphs, predictions, tmp_path / "none.csv"))[0]


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".nc"])
def test_a_trajectory_of_one_time_is_a_snapshot(net: AtomFieldNet, tmp_path: Path, suffix: str) -> None:
    if suffix == ".nc":
        pytest.importorskip("xarray")
        pytest.importorskip("netCDF4")
    snapshot = flow()
    one = replace(
        snapshot, quantities={n: v[None] for n, v in snapshot.quantities.items()}, times=torch.tensor([2.0])
    )
    paths = []
    for name, graph in (("one", one), ("snapshot", snapshot)):
        predictions = predict_graphs(net, [graph])
        assert predictions[0]["velocity"].shape == (20, 3)
        paths.append(write_predictions([graph], predictions, tmp_path / f"{name}{suffix}"))
    if suffix == ".csv":
        assert paths[0].read_text() == paths[1].read_text()
        assert len(rows_of(paths[0])) == 20
    if suffix == ".npz":
        with np.load(paths[0]) as found, np.load(paths[1]) as expected:
            for name in expected:
                np.testing.assert_array_equal(found[name], expected[name])

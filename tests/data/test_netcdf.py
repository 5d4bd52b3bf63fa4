"""NetCDF and Zarr with CF conventions: layouts of space, packed and missing values, ensembles."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atomfield.data.errors import InputError
from atomfield.data.prepare import prepare
from atomfield.data.readers import ReadOptions, read

xarray = pytest.importorskip("xarray")
pytest.importorskip("netCDF4")

RNG = np.random.default_rng(0)
VALUES = RNG.normal(280, 5, size=(3, 4, 6)).astype(np.float32)
COORDINATES = {"time": [0.0, 6, 12], "lat": np.arange(4) * 10.0, "lon": np.arange(6) * 20.0}


def dataset(values: np.ndarray = VALUES, **variables: Any) -> Any:
    tas = xarray.DataArray(
        values, dims=("time", "lat", "lon"), coords=COORDINATES, attrs={"standard_name": "air_temperature", "units": "K"}
    )  # fmt: skip
    tas["time"].attrs["units"] = "hours since 2000-01-01"
    return xarray.Dataset({"tas": tas, **variables})


def save(data: Any, path: Path, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's, about consolidated metadata
        data.to_zarr(path) if ".zarr" in path.suffixes else data.to_netcdf(path, **options)
    return path


@pytest.mark.parametrize("name", ["t.nc", "t.zarr"])
def test_grid_and_units(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    if "zarr" in name:
        pytest.importorskip("zarr")
    caplog.set_level(logging.INFO, "atomfield")
    (graph,) = read(save(dataset(), tmp_path / name))
    np.testing.assert_array_equal(graph.quantities["temperature"].reshape(3, 6, 4), VALUES.transpose(0, 2, 1))
    assert graph.times.tolist() == [0, 6, 12]
    assert graph.group == "t"
    assert "tas as temperature in K, time in hours since 2000-01-01; kept as they are" in caplog.text


def test_zarr_zipped_and_in_a_folder(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    save(dataset(), tmp_path / "a.zarr")
    assert len(list(read(tmp_path))) == 1
    import shutil

    shutil.make_archive(str(tmp_path / "b.zarr"), "zip", tmp_path / "a.zarr")
    (graph,) = read(tmp_path / "b.zarr.zip")
    assert graph.num_times == 3
    assert prepare([str(tmp_path / "a.zarr")], tmp_path / "stores" / "file").new_records == 1
    assert prepare([str(tmp_path)], tmp_path / "stores" / "folder").new_records == 2
    assert zarr.__version__


def test_what_many_members_lack_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = np.stack([VALUES] * 3)
    values[:, 1, 2, 3] = np.nan
    data = xarray.Dataset({"temperature": (("member", "time", "lat", "lon"), values)}, coords=COORDINATES)
    assert len(list(read(save(data, tmp_path / "t.nc")))) == 3
    assert caplog.text.count("1 of 24 points have missing values") == 1


def test_packed_and_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = VALUES.copy()
    values[1, 2, 3] = np.nan
    encoding = {"tas": {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -9999}}
    (graph,) = read(save(dataset(values), tmp_path / "t.nc", encoding=encoding))
    assert graph.num_nodes == 23
    assert "1 of 24 points have missing values and are left out" in caplog.text
    assert float((graph.quantities["temperature"][0, 0] - float(VALUES[0, 0, 0])).abs()) <= 0.0051
    assert float(graph.volume.sum()) < 60.0 * 100.0
    with pytest.raises(InputError, match=r"t.nc \(record 0\): 100% of the points have missing values"):
        list(read(save(dataset(values * np.nan), tmp_path / "t.nc")))


def test_ensemble_and_vectors(tmp_path: Path) -> None:
    data = xarray.Dataset(
        {
            "u": (("member", "time", "y", "x"), RNG.normal(size=(2, 3, 4, 5)), {"standard_name": "x_wind"}),
            "v": (("member", "time", "y", "x"), RNG.normal(size=(2, 3, 4, 5)), {"standard_name": "y_wind"}),
            "velocity2": (("member", "time", "x", "y", "component"), RNG.normal(size=(2, 3, 5, 4, 2))),
        },
        coords={"x": np.arange(5.0), "y": np.arange(4.0)[::-1], "time": [0.0, 1, 3]},
        attrs={"viscosity": 0.1},
    )
    save(data, tmp_path / "e.nc")
    one, two = read(tmp_path / "e.nc")
    assert (one.group, two.group) == ("e/0", "e/1")
    assert two.conditions == {"viscosity": 0.1}
    velocity = two.quantities["velocity"].reshape(3, 5, 4, 3)
    np.testing.assert_array_equal(velocity[..., 0], data["u"][1].values.transpose(0, 2, 1)[:, :, ::-1])
    _, three = read(tmp_path / "e.nc", ReadOptions(map={"velocity": "velocity2", "viscosity": "0.2"}))
    assert three.conditions == {"viscosity": 0.2}
    np.testing.assert_array_equal(
        three.quantities["velocity"].reshape(3, 5, 4, 3)[..., :2], data["velocity2"][1].values[:, :, ::-1]
    )


def test_curvilinear(tmp_path: Path) -> None:
    """A polar grid: the area of a quarter of a ring."""
    r, angle = np.meshgrid(np.linspace(1, 2, 21), np.linspace(0, np.pi / 2, 31), indexing="ij")
    coordinates = {"xc": (("j", "i"), r * np.cos(angle)), "yc": (("j", "i"), r * np.sin(angle))}
    values = RNG.normal(size=(2, 21, 31))
    data = xarray.Dataset(
        {"temperature": (("time", "j", "i"), values)}, coords={**coordinates, "time": [0.0, 1.0]}
    )
    (graph,) = read(save(data, tmp_path / "c.nc"))
    assert list(graph.edges) == ["mesh"]
    assert graph.grid_shape is None
    np.testing.assert_array_equal(graph.quantities["temperature"], values.reshape(2, -1))
    assert float(graph.volume.sum()) == pytest.approx(3 * np.pi / 4, rel=1e-3)
    np.savez(
        tmp_path / "c.npz",
        x=coordinates["xc"][1],
        y=coordinates["yc"][1],
        time=[0.0, 1.0],
        temperature=values,
    )
    (same,) = read(tmp_path / "c.npz")
    assert same.positions.equal(graph.positions)
    assert same.quantities["temperature"].equal(graph.quantities["temperature"])


def test_stations(tmp_path: Path) -> None:
    coordinates = {"lon": ("station", RNG.random(9)), "lat": ("station", RNG.random(9)), "time": [0.0, 1.0]}
    data = xarray.Dataset({"temperature": (("time", "station"), RNG.normal(size=(2, 9)))}, coords=coordinates)
    (graph,) = read(save(data, tmp_path / "s.nc"))
    assert list(graph.edges) == ["knn"]
    np.testing.assert_array_equal(graph.positions[:, 0], coordinates["lon"][1])


def test_ambiguous_and_not_understood(tmp_path: Path) -> None:
    double = {"tas2": dataset()["tas"].rename("tas2")}
    path = save(dataset(**double), tmp_path / "d.nc")
    with pytest.raises(
        InputError, match="d.nc: variables tas and tas2 are both air_temperature; name one with --map"
    ):
        list(read(path))
    assert len(list(read(path, ReadOptions(map={"temperature": "tas2"})))) == 1
    data = xarray.Dataset({"temperature": (("a", "b"), np.ones((3, 4)))})
    path = save(data, tmp_path / "n.nc")
    with pytest.raises(
        InputError, match="dimensions a, b of temperature .'a', 'b'. are not understood; name them"
    ):
        list(read(path))
    (graph,) = read(path, ReadOptions(map={"x": "a", "y": "b"}))
    assert graph.grid_shape == (3, 4)

"""Fields on grids and meshes from npz, HDF5, NetCDF and VTU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges
from atomfield.data.readers import ReadOptions, read

T, NX, NY = 4, 6, 5


def grid_arrays(**changes: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "x": np.arange(NX) * 0.5,
        "y": np.arange(NY) * 0.5,
        "time": np.arange(T) * 0.1,
        "periodic": np.array([True, False]),
        "velocity": rng.normal(size=(T, NX, NY, 2)).astype(np.float32),
        "vorticity": rng.normal(size=(T, NX, NY)),
        "pressure": rng.normal(size=(T, NX, NY)),
        "viscosity": np.array(0.01),
    }
    return {k: v for k, v in {**arrays, **changes}.items() if v is not None}


def graphs_of(path: Path, options: ReadOptions | None = None, **changes: Any) -> list[Graph]:
    np.savez(path, **grid_arrays(**changes))
    return list(read(path, options))


def test_grid(tmp_path: Path) -> None:
    (graph,) = graphs_of(tmp_path / "flow.npz")
    arrays = grid_arrays()
    assert graph.world == "field"
    assert graph.grid_shape == (NX, NY)
    assert graph.pbc.tolist() == [True, False, False]
    assert graph.cell.diagonal().tolist() == [3.0, 1.0, 1.0]
    assert graph.edges["grid"].num_edges == grid_edges((NX, NY), (True, False)).num_edges
    assert graph.spacing == 0.5
    assert float(graph.volume.sum()) == pytest.approx(3.0 * 2.0)
    assert graph.conditions == {"viscosity": 0.01}
    velocity = graph.quantities["velocity"]
    assert velocity.dtype == torch.float32
    assert velocity.shape == (T, NX * NY, 3)
    np.testing.assert_array_equal(velocity[2, 7, :2], arrays["velocity"][2, 1, 2])
    assert not velocity[..., 2].any()
    vorticity = graph.quantities["vorticity"]
    np.testing.assert_array_equal(vorticity[1, :, 2].reshape(NX, NY), arrays["vorticity"][1])
    assert not vorticity[..., :2].any()
    np.testing.assert_array_equal(graph.positions[7], [0.5, 1.0, 0.0])
    assert graph.pair(1).conditions["dt"] == pytest.approx(0.1)


def test_several_trajectories(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    velocity = rng.normal(size=(3, T, NX, NY, 2))
    graphs = graphs_of(
        tmp_path / "flow.npz",
        velocity=velocity,
        vorticity=None,
        pressure=None,
        viscosity=np.array([0.1, 0.2, 0.3]),
    )
    assert [g.conditions["viscosity"] for g in graphs] == [0.1, 0.2, 0.3]
    assert [g.group for g in graphs] == ["flow/0", "flow/1", "flow/2"]
    np.testing.assert_array_equal(graphs[2].quantities["velocity"][3, 1, :2], velocity[2, 3, 0, 1])


def test_names_components_and_axes_by_map(tmp_path: Path) -> None:
    arrays = grid_arrays()
    changes = {"velocity": None, "u": arrays["velocity"][..., 0], "v": arrays["velocity"][..., 1], "time": None,
               "seconds": arrays["time"], "vorticity": None}  # fmt: skip
    options = ReadOptions(map={"velocity": "u+v", "time": "seconds"}, targets=("velocity",))
    (graph,) = graphs_of(tmp_path / "flow.npz", options, **changes)
    np.testing.assert_array_equal(
        graph.quantities["velocity"][..., :2].reshape(T, NX, NY, 2), arrays["velocity"]
    )


def test_vectors_of_the_whole_record_as_numbers(tmp_path: Path) -> None:
    options = ReadOptions(map={"gravity": "0.5+-9.8", "inflow": "1+0"})
    (graph,) = graphs_of(tmp_path / "flow.npz", options)
    assert graph.quantities["gravity"].tolist() == [0.5, -9.8, 0.0]
    assert graph.quantities["inflow"].tolist() == [1.0, 0.0, 0.0]
    np.savez(tmp_path / "line.npz", x=np.arange(8.0), time=np.arange(3.0), solution=np.ones((3, 8)))
    (line,) = read(tmp_path / "line.npz", ReadOptions(map={"gravity": "1", "periodic": "1"}))
    assert line.quantities["gravity"].tolist() == [1.0, 0.0, 0.0] and line.pbc.tolist()[0]
    with pytest.raises(InputError, match="'1' has shape .*, expected .* for gravity"):
        graphs_of(tmp_path / "flow.npz", ReadOptions(map={"gravity": "1"}))
    with pytest.raises(
        InputError, match="'1\\+down' .for gravity. is neither an array of the file nor a number"
    ):
        graphs_of(tmp_path / "flow.npz", ReadOptions(map={"gravity": "1+down"}))


def test_line_and_static_problems(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "burgers.npz",
        x=np.arange(8.0),
        time=np.arange(3.0),
        velocity=np.ones((3, 8)),
        periodic=True,
    )
    (line,) = read(tmp_path / "burgers.npz")
    assert line.quantities["velocity"].shape == (3, 8, 3)
    assert line.quantities["velocity"][..., 0].all()
    assert line.pbc.tolist() == [True, False, False]
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "darcy.npz",
        spacing=[0.1, 0.1],
        solution=rng.random((4, 5)),
        permeability=rng.random((4, 5)),
    )
    (darcy,) = read(tmp_path / "darcy.npz")
    assert darcy.times is None
    assert darcy.grid_shape == (4, 5)


def test_snapshots_without_time_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    graphs = graphs_of(tmp_path / "flow.npz", time=None)
    assert len(graphs) == T
    assert "first axis is read as 4 separate snapshots" in caplog.text


def test_hdf5_attributes_and_groups(tmp_path: Path) -> None:
    arrays = grid_arrays()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, value in arrays.items():
            if name != "viscosity":
                file[f"fields/{name}"] = value
        file.attrs["viscosity"] = 0.02
        file.attrs["title"] = "text is passed over"
    (graph,) = read(tmp_path / "a.h5")
    assert graph.conditions == {"viscosity": 0.02}
    assert graph.quantities["velocity"].shape == (T, NX * NY, 3)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for k in range(2):
            for name, value in arrays.items():
                file[f"run{k}/{name}"] = value
    assert len(list(read(tmp_path / "b.h5"))) == 2


def mesh_arrays(**changes: Any) -> dict[str, Any]:
    points = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [2, 0], [2, 1]], dtype=float)
    arrays: dict[str, Any] = {
        "points": points,
        "cells": np.array([[0, 1, 2, 3], [1, 4, 5, 2]]),
        "times": np.arange(3.0),
        "velocity": np.ones((3, 6, 2)),
        "node_type": np.array([2, 1, 1, 3, 4, 1]),
        "normal": np.zeros((6, 2)),
    }
    return {k: v for k, v in {**arrays, **changes}.items() if v is not None}


def test_mesh(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **mesh_arrays())
    (graph,) = read(tmp_path / "m.npz")
    assert graph.edges["mesh"].num_edges == 2 * (6 + 6 - 1)
    assert graph.spacing == 1.0
    assert float(graph.volume.sum()) == pytest.approx(2.0)
    assert graph.node_type.tolist() == [2, 1, 1, 3, 4, 1]
    assert graph.quantities["normal"].shape == (6, 3)
    np.savez(tmp_path / "p.npz", **mesh_arrays(cells=None))
    (points,) = read(tmp_path / "p.npz")
    assert list(points.edges) == ["knn"]


def test_vtu_series(tmp_path: Path) -> None:
    meshio = pytest.importorskip("meshio")
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=float)
    for step in (2, 10):
        fields = {"velocity": np.full((4, 3), float(step)), "p": np.arange(4.0)}
        mesh = meshio.Mesh(points, [("triangle", np.array([[0, 1, 2], [0, 2, 3]]))], point_data=fields)
        mesh.write(tmp_path / f"f_{step}.vtu")
    (graph,) = read(tmp_path, ReadOptions(map={"pressure": "p"}))
    assert graph.times.tolist() == [2.0, 10.0]
    assert graph.quantities["velocity"][:, 0, 0].tolist() == [2.0, 10.0]
    assert graph.quantities["pressure"].shape == (2, 4)
    assert graph.edges["mesh"].num_edges == 10
    (single,) = read(tmp_path / "f_2.vtu")
    assert single.times is None
    (tmp_path / "f_2.vtu").write_text("<VTK")
    with pytest.raises(InputError, match=r"f_2.vtu: is not a mesh that meshio reads"):
        list(read(tmp_path / "f_2.vtu"))


def test_netcdf(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    values = np.random.default_rng(0).normal(size=(3, 4, 12)).astype(np.float32)

    def save(data: np.ndarray) -> None:
        variable = xarray.DataArray(
            data, dims=("time", "latitude", "longitude"), attrs={"standard_name": "air_temperature", "units": "K"},
            coords={"time": [0.0, 1.0, 2.0], "latitude": [30.0, 20.0, 10.0, 0.0], "longitude": np.arange(12) * 30.0},
        )  # fmt: skip
        variable["longitude"].attrs["units"] = "degrees_east"
        xarray.Dataset({"tas": variable}).to_netcdf(tmp_path / "t.nc")

    save(values)
    (graph,) = read(tmp_path / "t.nc", ReadOptions(targets=("temperature",)))
    assert graph.grid_shape == (12, 4)
    assert graph.pbc.tolist() == [True, False, False]
    np.testing.assert_array_equal(graph.quantities["temperature"][1].reshape(12, 4), values[1].T[:, ::-1])
    assert "is taken as coordinate x of a plane" in caplog.text
    values[1, 0, :3] = np.nan
    save(values)
    (masked,) = read(tmp_path / "t.nc")
    assert masked.num_nodes == 45
    assert list(masked.edges) == ["knn"]
    with pytest.raises(InputError, match=r"target 'pressure' is not in the file; variables: tas\["):
        list(read(tmp_path / "t.nc", ReadOptions(targets=("pressure",))))
    (tmp_path / "bad.nc").write_bytes(b"garbage" * 20)
    with pytest.raises(InputError, match="is not a NetCDF file"):
        list(read(tmp_path / "bad.nc"))


NAN = np.full((T, NX, NY), np.nan)
BAD_GRID: dict[str, tuple[dict[str, Any], str]] = {
    "transposed": ({"pressure": np.ones((T, NY, NX))}, "'pressure' has shape [4, 5, 6], expected [4, 6, 5] or [4, 6, 5, 1] for "
                   "pressure (trajectories may come first); the axes of space are in the order x, y"),
    "no times": ({"time": None, "velocity": None, "vorticity": None, "pressure": np.ones((2, T, NX, NY))}, "if the second axis "
                 "is time, give the step: --map dt=0.1, or the array of its values: --map time=KEY"),
    "components": ({"velocity": np.ones((T, NX, NY, 4))}, "has shape [4, 6, 5, 4], expected [4, 6, 5, 3] or [4, 6, 5, 2]"),
    "NaN": ({"pressure": NAN}, "flow.npz (record 0): 'pressure' is not finite at time 0, node 0 (120 such numbers)"),
    "falling axis": ({"x": np.arange(NX)[::-1]}, "'x' does not increase"),
    "no axes": ({"x": None, "y": None}, "there are neither coordinates x, y, z nor spacing nor points"),
    "only y": ({"x": None}, "axes are y, expected x, or x and y"),
    "times": ({"time": np.zeros(T)}, "'time' does not increase"),
    "periodic": ({"periodic": np.array([1, 0, 1])}, "'periodic' is [1, 0, 1], expected 2 flags"),
    "viscosity": ({"viscosity": np.ones(3)}, "'viscosity' has 3 numbers, expected 1 or 1"),
    "objects": ({"pressure": np.array([{}, 1], dtype=object)}, "array 'pressure' holds Python objects"),
    "text": ({"pressure": np.full((T, NX, NY), "a")}, "'pressure' holds <U1, expected numbers"),
    "nothing": ({"velocity": None, "vorticity": None, "pressure": None}, "no array has the name of a field quantity; arrays: x"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_GRID)
def test_bad_grid(tmp_path: Path, name: str) -> None:
    changes, expected = BAD_GRID[name]
    with pytest.raises(InputError) as caught:
        graphs_of(tmp_path / "flow.npz", **changes)
    assert expected in str(caught.value)
    assert "flow.npz" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"points": np.ones((6, 4))}, "points have shape [6, 4], expected [N, 2] or [N, 3]"),
        ({"points": np.full((6, 2), np.nan)}, "point 0 is [nan, nan], expected finite numbers"),
        ({"cells": np.array([[0, 1, 9]])}, "cells name nodes 0 to 9, expected 0 to 5"),
        ({"cells": np.array([[0, 1, 2]])}, "node 3 is in no cell (3 such nodes)"),
        ({"velocity": np.ones((3, 5, 2))}, "'velocity' has shape [3, 5, 2], expected [3, 6, 3] or [3, 6, 2]"),
        ({"node_type": np.full(6, 9)}, "node_type has 6 entries of [9], expected 6 of [1, 2, 3, 4]"),
        ({"volume": np.zeros(6)}, "volume has shape [6], expected [6] of positive numbers"),
    ],
)
def test_bad_mesh(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    np.savez(tmp_path / "m.npz", **mesh_arrays(**changes))
    with pytest.raises(InputError) as caught:
        list(read(tmp_path / "m.npz"))
    assert expected in str(caught.value)


def test_targets_of_fields(tmp_path: Path) -> None:
    path = tmp_path / "flow.npz"
    with pytest.raises(
        InputError, match=r"flow.npz: target 'temperature' is not in the file; keys found: x, y, time"
    ):
        graphs_of(path, ReadOptions(targets=("temperature",)))
    with pytest.raises(InputError, match=r"array 'uv' \(for velocity\) is not in the file"):
        graphs_of(path, ReadOptions(map={"velocity": "uv"}))
    with pytest.raises(InputError, match=r"target 'spam' of a field is not in the vocabulary"):
        graphs_of(path, ReadOptions(targets=("spam",)), spam=np.ones((T, NX, NY)))

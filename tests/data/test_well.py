"""The Well's layout reads back exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.readers import ReadOptions, read
from atomfield.data.store import Store, write_store

from .samples.well import B, H, T, W, well_arrays, write_well

A = {name: value.astype(np.float32) for name, value in well_arrays().items()}


def test_everything_reads_back(tmp_path: Path) -> None:
    graphs = list(read(write_well(tmp_path / "w.hdf5")))
    assert len(graphs) == B
    for k, graph in enumerate(graphs):
        q = graph.quantities
        shape = (T, W, H)
        np.testing.assert_array_equal(graph.times, A["time"].astype(np.float64))
        np.testing.assert_array_equal(q["density"].reshape(shape), A["density"][k])
        np.testing.assert_array_equal(q["mask_field"].reshape(W, H), A["mask_field"])
        np.testing.assert_array_equal(
            q["profile"].reshape(shape), np.broadcast_to(A["profile"][k][:, None], shape)
        )
        np.testing.assert_array_equal(q["velocity"][..., :2].reshape(*shape, 2), A["velocity"][k])
        assert not q["velocity"][..., 2].any()
        for name in ("strain", "gradient"):
            expected = A[name][k] if name == "strain" else A[name]
            np.testing.assert_array_equal(q[name][..., :2, :2].reshape(*shape, 2, 2), expected)
            assert not q[name][..., 2].any()
            assert not q[name][..., 2, :].any()
        assert graph.properties["strain"].irreps == "0e+2e"
        assert graph.properties["gradient"].irreps == "0e+1e+2e"
        assert graph.conditions == {"viscosity": float(A["viscosity"][k])}
        assert float(q["Mach"]) == np.float32(0.7)
        np.testing.assert_array_equal(q["forcing"], A["forcing"].astype(np.float64))
        positions = graph.positions.reshape(W, H, 3)
        np.testing.assert_array_equal(positions[:, 0, 0], A["x"].astype(np.float64))
        np.testing.assert_array_equal(positions[0, :, 1], A["y"].astype(np.float64))
        assert (graph.level, graph.dataset, graph.group) == ("made", "made", f"w/{k}")
        assert graph.provenance.record == k


def test_boundary_conditions(tmp_path: Path) -> None:
    graph = next(read(write_well(tmp_path / "w.hdf5")))
    assert graph.pbc.tolist() == [True, False, False]
    assert float(graph.cell[0, 0]) == 1.0
    kinds = graph.node_type.reshape(W, H)
    assert (kinds[:, [0, -1]] == 2).all()  # the open patch at a corner of the wall is wall
    assert kinds[2, 1] == 4
    assert (kinds == 1).sum() == W * H - 2 * W - 1
    values = graph.quantities["y_wall"].reshape(W, H)
    assert (values[:, 0] == 1).all()
    assert (values[:, -1] == 2).all()
    assert not values[:, 1:-1].any()
    assert graph.grid_shape is None  # y is not evenly spaced
    assert list(graph.edges) == ["mesh"]
    assert float(graph.volume.sum()) == pytest.approx(1.0)


def test_through_the_store_and_in_steps(tmp_path: Path) -> None:
    graphs = list(read(write_well(tmp_path / "w.hdf5")))
    write_store(iter(graphs), tmp_path / "store")
    stored = Store(tmp_path / "store")[1]
    for name, value in graphs[1].quantities.items():
        assert torch.equal(stored.quantities[name], value), name
    pair = stored.pair(1)
    assert pair.conditions["dt"] == 1.0
    assert float(pair.quantities["forcing"]) == A["forcing"][1]
    assert float(pair.next_quantities["forcing"]) == A["forcing"][2]
    assert pair.quantities["Mach"] == stored.quantities["Mach"]


def test_map_and_times_of_each_trajectory(tmp_path: Path) -> None:
    path = write_well(tmp_path / "w.hdf5")
    with h5py.File(path, "a") as file:
        del file["dimensions/time"]
        file["dimensions/time"] = np.array([[0.0, 1, 2], [0, 2, 4]])
        file["dimensions/time"].attrs["sample_varying"] = True
    options = ReadOptions(
        map={"concentration": "profile", "diffusivity": "Mach"}, targets=("concentration",), level="mine"
    )
    one, two = read(path, options)
    assert one.times.tolist() == [0, 1, 2]
    assert two.times.tolist() == [0, 2, 4]
    assert "concentration" in two.quantities
    assert two.conditions["diffusivity"] == np.float32(0.7)
    assert two.level == "mine"
    with pytest.raises(
        InputError, match="'nope' .for velocity. is not in the file; fields: t0_fields/density"
    ):
        list(read(path, ReadOptions(map={"velocity": "nope"})))
    with pytest.raises(InputError, match="target 'temperature' is not in the file"):
        list(read(path, ReadOptions(targets=("temperature",))))


def test_sphere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Solid-body rotation about z: v_phi = sin(theta) is the Cartesian field (-y, x, 0)."""
    theta, phi = np.linspace(0.3, 2.8, 6), np.arange(8) * np.pi / 4
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.attrs.update({"n_spatial_dims": 2, "n_trajectories": 1, "grid_type": "equiangular"})
        d = file.create_group("dimensions")
        d.attrs["spatial_dims"] = ["theta", "phi"]
        for name, values in (("time", np.arange(2.0)), ("theta", theta), ("phi", phi)):
            d[name] = values
            d[name].attrs.update({"sample_varying": False, "time_varying": False})
        g = file.create_group("t1_fields")
        g["velocity"] = np.zeros((1, 2, 6, 8, 2))
        g["velocity"][..., 1] = np.sin(theta)[:, None]
        g["velocity"].attrs.update(
            {"sample_varying": True, "time_varying": True, "dim_varying": [True, True]}
        )
    (graph,) = read(tmp_path / "s.h5")
    x = graph.positions
    expected = torch.stack([-x[:, 1], x[:, 0], torch.zeros(48)], 1)
    torch.testing.assert_close(graph.quantities["velocity"][1].double(), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(x.norm(dim=1), torch.ones(48, dtype=torch.float64))
    assert float(graph.volume.sum()) == pytest.approx(2 * np.pi * (np.cos(0.3) - np.cos(2.8)), rel=0.03)
    sender, receiver = graph.edges["mesh"].index
    assert (
        float((x[sender] - x[receiver]).norm(dim=1).max()) < 1.0
    )  # the last meridian is joined to the first
    assert "turned into Cartesian" in caplog.text


BAD = {
    "no time axis": (lambda f: f.pop("dimensions/time"), "dimensions/time is not there"),
    "falling axis": (lambda f: _set(f, "dimensions/x", [3, 2, 1, 0]), "'dimensions/x' does not increase"),
    "no flag": (lambda f: f["t0_fields/density"].attrs.pop("time_varying"), "/t0_fields/density has no attribute time_varying"),
    "shape": (lambda f: f["t0_fields/density"].attrs.update(time_varying=False),
              "t0_fields/density has shape [2, 3, 4, 5], expected [2, 4, 5]"),
    "NaN": (lambda f: _set(f, "t0_fields/density", np.nan, (1, 2, 0, 0)),
            "w.h5 (record 1): t0_fields/density is not finite at time 2"),
    "listed": (lambda f: f["t1_fields"].attrs.update(field_names=["v"]), "t1_fields/v is in field_names, but not there"),
    "kind": (lambda f: f["boundary_conditions/y_wall"].attrs.update(bc_type="sticky"),
             "boundary_conditions/y_wall has bc_type 'sticky'"),
    "mask": (lambda f: f.pop("boundary_conditions/y_wall/mask"), "boundary_conditions/y_wall has no mask"),
    "skew": (lambda f: f["t2_fields/gradient"].attrs.update(symmetric=True), "t2_fields/gradient is declared symmetric"),
    "scalar": (lambda f: _set(f, "scalars/viscosity", np.nan, 1), "scalars/viscosity is [nan], expected 1 finite numbers"),
    "count": (lambda f: f.attrs.update(n_trajectories=0), "n_trajectories is 0"),
    "grid": (lambda f: f.attrs.update(grid_type="hexagonal"), "grid_type is 'hexagonal'"),
}  # fmt: skip


def _set(file: h5py.File, name: str, value: Any, place: Any = ...) -> None:
    file[name][place] = value


@pytest.mark.parametrize("name", BAD)
def test_bad_files(tmp_path: Path, name: str) -> None:
    change, expected = BAD[name]
    path = write_well(tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(InputError) as caught:
        list(read(path))
    assert expected in str(caught.value)
    assert "w.h5" in str(caught.value)

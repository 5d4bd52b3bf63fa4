"""PDEBench's layouts read back exactly."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from atomfield.data.errors import InputError
from atomfield.data.readers import ReadOptions, read

from .samples import pdebench
from .samples.pdebench import K, T, X, Y, Z


def test_scalar_equation(tmp_path: Path) -> None:
    arrays = pdebench.write_scalar(tmp_path / "1D_Burgers_Sols_Nu0.01.hdf5")
    graphs = list(read(tmp_path / "1D_Burgers_Sols_Nu0.01.hdf5", ReadOptions(map={"viscosity": "Nu"})))
    assert len(graphs) == K
    for k, graph in enumerate(graphs):
        np.testing.assert_array_equal(graph.quantities["solution"], arrays["tensor"][k])
        np.testing.assert_array_equal(graph.times, arrays["t-coordinate"][:T])
        np.testing.assert_array_equal(graph.positions[:, 0], arrays["x-coordinate"].astype(np.float64))
        assert graph.conditions == {"viscosity": 0.01}
        assert graph.pbc.tolist() == [True, False, False]
        assert float(graph.cell[0, 0]) == pytest.approx(1.0)
        assert graph.group == f"1D_Burgers_Sols_Nu0.01/{k}"
    (own, *_) = read(tmp_path / "1D_Burgers_Sols_Nu0.01.hdf5", ReadOptions(map={"periodic": "0"}))
    assert float(own.quantities["Nu"]) == 0.01
    assert not own.pbc.any()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_compressible_flow(tmp_path: Path, dims: int, caplog: pytest.LogCaptureFixture) -> None:
    arrays = pdebench.write_flow(tmp_path / "f_Train.hdf5", dims)
    graphs = list(read(tmp_path / "f_Train.hdf5"))
    assert len(graphs) == K
    shape = (T, *(X, Y, Z)[:dims])
    for k, graph in enumerate(graphs):
        for name in ("density", "pressure"):
            np.testing.assert_array_equal(graph.quantities[name].reshape(shape), arrays[name][k])
        velocity = graph.quantities["velocity"].reshape(*shape, 3)
        for d in range(3):
            expected = arrays["V" + "xyz"[d]][k] if d < dims else np.zeros(shape)
            np.testing.assert_array_equal(velocity[..., d], expected)
        np.testing.assert_array_equal(graph.times, arrays["t-coordinate"][:T].astype(np.float64))
        assert float(graph.quantities["eta"]) == 0.1
        assert graph.grid_shape == shape[1:]
    assert "does not say whether it is periodic" in caplog.text
    (tmp_path / "f_Train.hdf5").rename(tmp_path / "f_periodic_Train.hdf5")
    assert next(read(tmp_path / "f_periodic_Train.hdf5")).pbc.tolist() == [d < dims for d in range(3)]


def test_darcy(tmp_path: Path) -> None:
    arrays = pdebench.write_darcy(tmp_path / "2D_DarcyFlow_beta1.0_Train.hdf5")
    graphs = list(read(tmp_path / "2D_DarcyFlow_beta1.0_Train.hdf5", ReadOptions(targets=("solution",))))
    for k, graph in enumerate(graphs):
        assert graph.times is None
        np.testing.assert_array_equal(graph.quantities["solution"].reshape(X, Y), arrays["tensor"][k, 0])
        np.testing.assert_array_equal(graph.quantities["permeability"].reshape(X, Y), arrays["nu"][k])
        assert float(graph.quantities["beta"]) == 1.0
    assert len(graphs) == K


def test_group_per_seed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = pdebench.write_seeded(tmp_path / "2D_diff-react_NA_NA.h5", 2)
    graphs = list(read(tmp_path / "2D_diff-react_NA_NA.h5"))
    assert "kept as data0, data1" in caplog.text
    for k, graph in enumerate(graphs):
        for c in range(2):
            np.testing.assert_array_equal(graph.quantities[f"data{c}"].reshape(T, X, Y), data[k, ..., c])
        assert graph.provenance.record == k
    options = ReadOptions(map={"concentration": "data0", "solution": "data1"})
    (_, mapped, _) = read(tmp_path / "2D_diff-react_NA_NA.h5", options)
    np.testing.assert_array_equal(mapped.quantities["solution"].reshape(T, X, Y), data[1, ..., 1])
    assert set(mapped.quantities) == {"concentration", "solution"}
    data = pdebench.write_seeded(tmp_path / "1D_diff-sorp_NA_NA.h5", 1, dims=1)
    (_, _, last) = read(tmp_path / "1D_diff-sorp_NA_NA.h5")
    np.testing.assert_array_equal(last.quantities["solution"], data[2, ..., 0])
    np.testing.assert_array_equal(last.times, np.arange(T) * 0.05)


def test_incompressible_flow(tmp_path: Path) -> None:
    arrays = pdebench.write_incompressible(tmp_path / "ns_incom_inhom_2d_512-0.h5")
    for k, graph in enumerate(read(tmp_path / "ns_incom_inhom_2d_512-0.h5")):
        np.testing.assert_array_equal(
            graph.quantities["velocity"][..., :2].reshape(T, X, Y, 2), arrays["velocity"][k]
        )
        np.testing.assert_array_equal(
            graph.quantities["concentration"].reshape(T, X, Y), arrays["particles"][k, ..., 0]
        )
        np.testing.assert_array_equal(graph.quantities["force"][:, :2].reshape(X, Y, 2), arrays["force"][k])
        assert graph.times.tolist() == [0, 0.5, 1, 1.5]


def test_seeds_that_differ_are_refused(tmp_path: Path) -> None:
    pdebench.write_seeded(tmp_path / "s.h5", 1)
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file["0001/grid/x"][0] = 9
    with pytest.raises(InputError, match=r"s.h5 \(record 1\): 0001/grid/x differs from that of 0000"):
        list(read(tmp_path / "s.h5"))
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file.pop("0001/grid")
    with pytest.raises(InputError, match="group 0001 has no data or no grid"):
        list(read(tmp_path / "s.h5"))

"""PyTorch and MATLAB files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from atomfield.data.errors import InputError
from atomfield.data.readers import ReadOptions, read


def test_steady_pairs(tmp_path: Path) -> None:
    """neuraloperator's Darcy files: a coefficient on the grid and the solution."""
    torch.manual_seed(0)
    x, y = torch.rand(5, 6, 4) > 0.5, torch.randn(5, 6, 4)
    torch.save({"x": x, "y": y}, tmp_path / "darcy.pt")
    options = ReadOptions(
        map={"permeability": "x", "solution": "y", "spacing": "0.25+0.5"}, targets=("solution",)
    )
    graphs = list(read(tmp_path / "darcy.pt", options))
    assert len(graphs) == 5
    assert graphs[0].times is None
    torch.testing.assert_close(
        graphs[3].quantities["permeability"].reshape(6, 4), x[3].double(), rtol=0, atol=0
    )
    torch.testing.assert_close(graphs[3].quantities["solution"].reshape(6, 4), y[3], rtol=0, atol=0)
    assert graphs[0].positions[5].tolist() == [0.25, 0.5, 0.0]
    with pytest.raises(InputError, match=r"pairs x \[5, 6, 4\] -> y \[5, 6, 4\], but not what they are"):
        list(read(tmp_path / "darcy.pt"))


def test_pairs_with_a_trajectory(tmp_path: Path) -> None:
    y = torch.randn(5, 3, 8, dtype=torch.float64)
    torch.save({"x": y[:, 0], "y": y, "visc": torch.tensor([[0.01]])}, tmp_path / "burgers.pt")
    numbers = {"spacing": "0.125", "dt": "0.5", "periodic": "1", "viscosity": "visc"}
    graphs = list(read(tmp_path / "burgers.pt", ReadOptions(map={"solution": "y", **numbers})))
    assert [g.group for g in graphs] == [f"burgers/{k}" for k in range(5)]
    assert graphs[1].times.tolist() == [0, 0.5, 1]
    assert graphs[1].conditions == {"viscosity": pytest.approx(0.01)}
    assert graphs[1].pbc.tolist() == [True, False, False]
    assert float(graphs[1].cell[0, 0]) == 1.0
    torch.testing.assert_close(graphs[4].quantities["solution"], y[4], rtol=0, atol=0)


def test_numbers_in_place_of_arrays_are_checked(tmp_path: Path) -> None:
    torch.save({"y": torch.randn(5, 3, 8)}, tmp_path / "a.pt")
    with pytest.raises(
        InputError, match=r"a.pt: 'dx' \(for spacing\) is neither an array of the file nor a number"
    ):
        list(read(tmp_path / "a.pt", ReadOptions(map={"solution": "y", "spacing": "dx"})))
    with pytest.raises(InputError, match="'-1' .for dt. is .-1.0., expected one positive number"):
        list(read(tmp_path / "a.pt", ReadOptions(map={"solution": "y", "spacing": "1", "dt": "-1"})))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    torch.save({"y": tmp_path}, tmp_path / "bad.pt")
    with pytest.raises(InputError, match="bad.pt: holds Python objects other than tensors"):
        list(read(tmp_path / "bad.pt"))
    (tmp_path / "worse.pt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError, match="worse.pt: is not a PyTorch file, or not a whole one"):
        list(read(tmp_path / "worse.pt"))


@pytest.mark.parametrize("version", ["5", "4", "7.3"])
def test_matlab(tmp_path: Path, version: str) -> None:
    u = np.random.default_rng(0).normal(size=(6, 4))
    x, t = np.arange(6.0)[None], np.arange(4.0)[:, None] * 0.5
    content = {"x": x, "tt": t, "usol": u + 1e-12j, "nu": 0.1}
    if version == "7.3":
        with h5py.File(tmp_path / "b.mat", "w") as file:
            for name, value in content.items():
                file[name] = np.asarray(value).real.T
    else:
        scipy.io.savemat(tmp_path / "b.mat", content, format=version)
    (graph,) = read(tmp_path / "b.mat", ReadOptions(map={"solution": "usol", "viscosity": "nu"}))
    np.testing.assert_array_equal(graph.quantities["solution"], u.T)
    assert graph.times.tolist() == [0, 0.5, 1, 1.5]
    assert graph.conditions == {"viscosity": 0.1}


def test_matlab_that_cannot_be_told(tmp_path: Path) -> None:
    square = {"x": np.arange(5.0), "t": np.arange(5.0), "usol": np.ones((5, 5))}
    scipy.io.savemat(tmp_path / "s.mat", square)
    with pytest.raises(InputError, match="s.mat: 'usol' has shape .5, 5.: as many times as points"):
        list(read(tmp_path / "s.mat", ReadOptions(map={"solution": "usol"})))
    scipy.io.savemat(tmp_path / "c.mat", {"x": np.arange(5.0), "usol": np.ones((3, 5)) * 1j})
    with pytest.raises(InputError, match="c.mat .record 0.: 'usol' is complex"):
        list(read(tmp_path / "c.mat", ReadOptions(map={"solution": "usol"})))


def test_matlab_points(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y, w = rng.random((3, 30))
    x[29], y[29] = x[3], y[3]  # as spectral elements repeat the points of their borders
    scipy.io.savemat(tmp_path / "p.mat", {"x": x, "y": y, "w": w})
    (graph,) = read(tmp_path / "p.mat", ReadOptions(map={"vorticity": "w"}))
    assert graph.num_nodes == 29
    assert list(graph.edges) == ["knn"]
    assert float(graph.quantities["vorticity"][3, 2]) == pytest.approx((w[3] + w[29]) / 2)
    assert float(graph.quantities["vorticity"][4, 2]) == w[4]

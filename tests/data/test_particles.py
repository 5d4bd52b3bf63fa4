"""Particles and moving meshes: one record per time, with the next state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.readers import ReadOptions, read
from atomfield.data.store import Store, write_store

K, T, N = 2, 5, 20
RNG = np.random.default_rng(0)
START = RNG.random((K, 1, N, 2))
TIMES = np.array([0.0, 0.1, 0.2, 0.4, 0.5])
PATHS = START + RNG.normal(size=(K, 1, N, 2)) * TIMES[:, None, None]


def save(path: Path, **changes: Any) -> Path:
    arrays = {"positions": PATHS, "time": TIMES, "temperature": RNG.random((K, T, N))}
    np.savez(path, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return path


def test_steps(tmp_path: Path) -> None:
    graphs = list(read(save(tmp_path / "p.npz", viscosity=np.array([0.1, 0.2]))))
    assert len(graphs) == K * (T - 2)
    assert sorted({g.group for g in graphs}) == ["p/0", "p/1"]
    assert [g.provenance.record for g in graphs] == list(range(6))
    assert [g.conditions["viscosity"] for g in graphs] == [0.1] * 3 + [0.2] * 3
    for i, graph in enumerate(graphs):
        k, t = divmod(i, T - 2)
        t += 1
        np.testing.assert_array_equal(graph.positions[:, :2], PATHS[k, t])
        step = graph.conditions["dt"]
        assert step == pytest.approx(TIMES[t + 1] - TIMES[t])
        moved = graph.positions + step * graph.next_quantities["velocity"]
        np.testing.assert_allclose(moved[:, :2], PATHS[k, t + 1], atol=1e-14)
        assert list(graph.edges) == ["knn"]
    write_store(iter(graphs), tmp_path / "store")
    stored = Store(tmp_path / "store")[4]
    assert torch.equal(stored.next_quantities["temperature"], graphs[4].next_quantities["temperature"])


def test_velocity_of_the_file_and_walls(tmp_path: Path) -> None:
    velocity = RNG.normal(size=(T, N, 2))
    kinds = np.where(np.arange(N) < 5, 3, 5)
    path = save(
        tmp_path / "p.npz", positions=PATHS[0], v=velocity, time=None, temperature=None, particle_type=kinds
    )
    graphs = list(read(path, ReadOptions(map={"velocity": "v", "dt": "0.1"})))
    assert len(graphs) == T - 1
    np.testing.assert_array_equal(graphs[0].quantities["velocity"][:, :2], velocity[0])
    np.testing.assert_array_equal(graphs[0].next_quantities["velocity"][:, :2], velocity[1])
    assert graphs[0].node_type.tolist() == [2] * 5 + [1] * 15


def test_periodic_box(tmp_path: Path) -> None:
    """A uniform drift through the border has the drift's velocity everywhere."""
    positions = (START[0] + np.array([1.0, 0.5]) * TIMES[:, None, None]) % 1.0
    graphs = list(read(save(tmp_path / "p.npz", positions=positions, box=1.0, temperature=None)))
    for graph in graphs:
        assert graph.pbc.tolist() == [True, True, False]
        np.testing.assert_allclose(graph.quantities["velocity"], np.tile([1.0, 0.5, 0.0], (N, 1)), atol=1e-12)
        assert float((graph.edges["knn"].shift != 0).sum()) > 0


def test_moving_mesh(tmp_path: Path) -> None:
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    points = square * (1 + TIMES[:, None, None])
    np.savez(tmp_path / "m.npz", points=points, time=TIMES, cells=[[0, 1, 2, 3]], pressure=np.ones((T, 4)))
    graphs = list(read(tmp_path / "m.npz"))
    assert [round(float(g.volume.sum()), 12) for g in graphs] == [1.21, 1.44, 1.96]
    np.testing.assert_allclose(graphs[0].quantities["velocity"][:, :2], square)
    assert list(graphs[0].edges) == ["mesh"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"time": None}, "points move, but there is neither time nor dt"),
        ({"time": TIMES[:4]}, "there are 4 times, expected 5 as positions have"),
        ({"positions": PATHS * np.nan}, "(record 0): 'positions' of point 0 at time 0 is not finite"),
        (
            {"positions": PATHS[:, :2], "time": TIMES[:2], "temperature": None},
            "expected 3 times and 2 points or more",
        ),
        ({"box": [1.0, -1.0]}, "'box' is [1.0, -1.0], expected 2 positive lengths"),
        ({"particle_type": np.ones(7)}, "'particle_type' has shape [7], expected [20]"),
        ({"positions": np.zeros((T, N, 2))}, "lie on top of each other"),
        ({"temperature": np.ones((K, T, 3))}, "'temperature' has shape [2, 5, 3]"),
        ({"temperature": np.full((K, T, N), np.nan)}, "'temperature' is not finite at time 0, node 0"),
    ],
)
def test_bad_files(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        list(read(save(tmp_path / "p.npz", **changes)))
    assert expected in str(caught.value)
    assert "p.npz" in str(caught.value)

"""Small records and files that the tests of the data room share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges, knn_edges, mesh_edges
from atomfield.data.quantities import scalar_property


def molecule(seed: int, *, charge: float | None = None) -> Graph:
    """Random atoms with energy (float64), forces (float32) and a user's property."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, 9))
    return Graph(
        positions=torch.from_numpy(rng.normal(size=(count, 3)) * 5),
        species=torch.from_numpy(rng.integers(1, 9, count)),
        world="molecule",
        quantities={
            "energy": torch.tensor(rng.normal(), dtype=torch.float64),
            "forces": torch.from_numpy(rng.normal(size=(count, 3)).astype(np.float32)),
            "log S": torch.tensor(float(rng.normal()), dtype=torch.float64),
        },
        properties={"log S": scalar_property("log S", "mol/l")},
        conditions={} if charge is None else {"charge": charge},
        level="test-level",
        dataset="molecules",
        group=f"molecule {seed}",
    )


def crystal(seed: int) -> Graph:
    """A strained, rattled cell with a stress."""
    rng = np.random.default_rng(seed)
    stress = rng.normal(size=(3, 3))
    return Graph(
        positions=torch.from_numpy(rng.normal(size=(4, 3)) * 3),
        species=torch.tensor([14, 14, 8, 8]),
        world="crystal",
        cell=torch.from_numpy(np.eye(3) * 6 + rng.normal(size=(3, 3)) * 0.1),
        pbc=torch.tensor([True, True, True]),
        quantities={"stress": torch.from_numpy((stress + stress.T) / 2)},
        group="SiO",
    )


def flow(seed: int = 0, *, periodic: bool = True) -> Graph:
    """A plane flow on an 8 x 6 grid at 3 times."""
    rng = np.random.default_rng(seed)
    shape = (8, 6)
    points = np.stack(np.meshgrid(np.arange(8) / 8, np.arange(6) / 6, [0.0], indexing="ij"), -1).reshape(
        -1, 3
    )
    velocity = np.zeros((3, 48, 3), dtype=np.float32)
    velocity[..., :2] = rng.normal(size=(3, 48, 2))
    vorticity = np.zeros((3, 48, 3))
    vorticity[..., 2] = rng.normal(size=(3, 48))
    return Graph(
        positions=torch.from_numpy(points),
        species=torch.zeros(48, dtype=torch.int64),
        world="field",
        cell=torch.eye(3, dtype=torch.float64) if periodic else None,
        pbc=torch.tensor([periodic, periodic, False]),
        volume=torch.full((48,), 1 / 48, dtype=torch.float64),
        edges={"grid": grid_edges(shape, (periodic, periodic))},
        quantities={
            "velocity": torch.from_numpy(velocity),
            "vorticity": torch.from_numpy(vorticity),
            "permeability": torch.from_numpy(rng.normal(size=48).astype(np.float32)),
        },
        conditions={"viscosity": 0.01},
        times=torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64),
        level="solver",
        group=f"flow {seed}",
    )


def scattered(seed: int = 0, *, mesh: bool = False) -> Graph:
    """A scalar on random points, joined as a mesh of triangles or by nearest neighbours."""
    rng = np.random.default_rng(seed)
    points = np.zeros((20, 3))
    points[:, :2] = rng.random((20, 2))
    cell, pbc = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.bool)
    edges = (
        {"mesh": mesh_edges(np.stack([np.arange(18), np.arange(1, 19), np.arange(2, 20)], 1))}
        if mesh
        else {"knn": knn_edges(torch.from_numpy(points), cell, pbc, 5)}
    )
    return Graph(
        positions=torch.from_numpy(points),
        species=torch.zeros(20, dtype=torch.int64),
        world="field",
        node_type=torch.from_numpy(rng.integers(1, 5, 20)),
        volume=torch.from_numpy(rng.random(20) + 0.1),
        edges=edges,
        quantities={"concentration": torch.from_numpy(rng.normal(size=(2, 20)))},
        times=torch.tensor([0.0, 1.0]),
        spacing=0.2,
        group=f"points {seed}",
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """``write(name, text)`` makes a file and returns its path."""

    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content)
        else:
            path.write_bytes(content)
        return path

    return make


@pytest.fixture
def samples() -> list[Graph]:
    return [
        *(molecule(i, charge=float(i) if i % 2 else None) for i in range(7)),
        *(crystal(i) for i in range(3)),
        flow(0),
        flow(1, periodic=False),
        scattered(0),
        scattered(1, mesh=True),
    ]

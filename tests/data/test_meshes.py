"""Unstructured meshes: kinds of cells, volumes, data on cells, series in XDMF and PVD files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atomfield.data.errors import InputError
from atomfield.data.readers import ReadOptions, read
from atomfield.data.readers.cells import corner_shares, measures, shared_faces

meshio = pytest.importorskip("meshio")

CUBE = np.array(
    [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], dtype=float
)
SHAPES = {
    "hexahedron": ([0, 1, 2, 3, 4, 5, 6, 7], 1.0),
    "wedge": ([0, 1, 3, 4, 5, 7], 0.5),
    "pyramid": ([0, 1, 2, 3, 4], 1 / 3),
    "tetra": ([0, 1, 3, 4], 1 / 6),
    "quad": ([0, 1, 6, 7], 2**0.5),
    "triangle": ([0, 1, 6], 2**0.5 / 2),
    "line": ([0, 6], 3**0.5),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_measures(kind: str) -> None:
    nodes, expected = SHAPES[kind]
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    assert measures(CUBE @ turn, kind, np.array([nodes]))[0] == pytest.approx(expected)


def box(n: int = 3) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A cube of (n-1)^3 hexahedra, and the same cut into tetrahedra."""
    line = np.linspace(0, 1, n)
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    i = np.arange(n**3).reshape(n, n, n)
    a, b = (
        i[:-1, :-1, :-1],
        [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)],
    )
    hexes = np.stack([(a + x * n * n + y * n + z).reshape(-1) for x, y, z in b], 1)
    parts = [(0, 1, 2, 6), (0, 2, 3, 6), (0, 3, 7, 6), (0, 7, 4, 6), (0, 4, 5, 6), (0, 5, 1, 6)]
    return points, {"hexahedron": hexes, "tetra": np.concatenate([hexes[:, list(p)] for p in parts])}


@pytest.mark.parametrize("kind", ["hexahedron", "tetra"])
def test_solids(tmp_path: Path, kind: str) -> None:
    points, cells = box()
    surface = meshio.CellBlock("triangle", np.array([[0, 1, 3]]))  # borders do not count
    fields = {"velocity": points * 2, "p": points[:, 0]}
    mesh = meshio.Mesh(points, [(kind, cells[kind]), surface], point_data=fields)
    mesh.write(tmp_path / "m.vtu")
    (graph,) = read(tmp_path / "m.vtu", ReadOptions(map={"pressure": "p"}))
    assert float(graph.volume.sum()) == pytest.approx(1.0)
    np.testing.assert_array_equal(graph.quantities["velocity"], points * 2)
    degree = np.bincount(graph.edges["mesh"].index[1].numpy())
    assert degree[13] == {"hexahedron": 26, "tetra": 14}[kind]
    np.savez(tmp_path / "m.npz", points=points, cells=cells[kind], pressure=points[:, 0])
    (same,) = read(tmp_path / "m.npz")
    assert same.edges["mesh"].index.equal(graph.edges["mesh"].index)
    np.testing.assert_allclose(same.volume, graph.volume)


def test_data_on_cells(tmp_path: Path) -> None:
    points, cells = box()
    middle = points[cells["hexahedron"]].mean(1)
    mesh = meshio.Mesh(points, [("hexahedron", cells["hexahedron"])], cell_data={"pressure": [middle[:, 1]]})
    mesh.write(tmp_path / "c.vtu")
    (graph,) = read(tmp_path / "c.vtu")
    np.testing.assert_allclose(graph.positions, middle)
    np.testing.assert_allclose(graph.quantities["pressure"], middle[:, 1])
    assert float(graph.volume.sum()) == pytest.approx(1.0)
    assert np.bincount(graph.edges["mesh"].index[1].numpy()).tolist() == [3] * 8
    assert graph.spacing == pytest.approx(0.5)


def test_faces_between_kinds() -> None:
    blocks = [("triangle", np.array([[0, 1, 2]])), ("quad", np.array([[1, 3, 4, 2], [3, 5, 6, 4]]))]
    assert shared_faces(blocks).tolist() == [[0, 1], [1, 2]]
    points = np.array(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 0, 0], [2, 1, 0], [3, 0, 0], [3, 1, 0]], dtype=float
    )
    shares = corner_shares(points, blocks)
    assert shares is not None
    assert shares.sum() == pytest.approx(2.5)


def series(path: Path, times: list[float], **changes: Any) -> Path:
    points, cells = box()
    with meshio.xdmf.TimeSeriesWriter(path) as writer:
        writer.write_points_cells(points, [("tetra", cells["tetra"])])
        for t in times:
            writer.write_data(
                t, point_data={"velocity": points * t, "temperature": points[:, 2] + t, **changes}
            )
    return path


def test_xdmf_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # meshio writes the heavy data beside the working folder
    (graph,) = read(series(tmp_path / "s.xdmf", [0.0, 0.5, 2.0]))
    points, _ = box()
    assert graph.times.tolist() == [0.0, 0.5, 2.0]
    np.testing.assert_array_equal(graph.quantities["velocity"][2], points * 2.0)
    np.testing.assert_array_equal(graph.quantities["temperature"][1], points[:, 2] + 0.5)
    assert float(graph.volume.sum()) == pytest.approx(1.0)
    assert len(list(read(tmp_path))) == 1  # the heavy data beside it are not read again
    with pytest.raises(InputError, match="t.xdmf: its times do not increase"):
        list(read(series(tmp_path / "t.xdmf", [1.0, 0.5])))
    (tmp_path / "s.h5").unlink()
    with pytest.raises(InputError, match="s.xdmf: is not a mesh that meshio reads"):
        list(read(tmp_path / "s.xdmf"))


def test_pvd(tmp_path: Path) -> None:
    points, cells = box()
    lines = []
    for number, time in enumerate((0.25, 0.5)):
        mesh = meshio.Mesh(points, [("tetra", cells["tetra"])], point_data={"pressure": points[:, 0] * time})
        mesh.write(tmp_path / f"a{number}.vtu")
        lines.append(f'<DataSet timestep="{time}" file="a{number}.vtu"/>')
    text = '<?xml version="1.0"?><VTKFile type="Collection"><Collection>{}</Collection></VTKFile>'
    (tmp_path / "a.pvd").write_text(text.format("".join(lines)))
    (graph,) = read(tmp_path / "a.pvd")
    assert graph.times.tolist() == [0.25, 0.5]
    assert len(list(read(tmp_path))) == 1
    (tmp_path / "a.pvd").write_text(text.format('<DataSet timestep="1" file="b.vtu"/>'))
    with pytest.raises(InputError, match="a.pvd: names 'b.vtu', which is not there"):
        list(read(tmp_path / "a.pvd"))


@pytest.mark.parametrize("suffix", [".vtk", ".msh", ".vtu", ".exo"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    points, cells = box()
    mesh = meshio.Mesh(points, [("tetra", cells["tetra"])], point_data={"pressure": points[:, 0]})
    kind = {".msh": "gmsh", ".exo": "exodus"}.get(suffix)
    mesh.write(tmp_path / f"m{suffix}", file_format=kind)
    (graph,) = read(tmp_path / f"m{suffix}")
    np.testing.assert_allclose(graph.quantities["pressure"], points[:, 0])

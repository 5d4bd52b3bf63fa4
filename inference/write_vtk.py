"""A forecast for ParaView: one .vtu per time and a .pvd that lists them (meshio)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atomfield.data.errors import InputError

from .forecast import Forecast


def check_installed(path: Path) -> None:
    """Raises ``InputError`` where meshio is not installed, which writing ``path`` needs."""
    try:
        import meshio  # noqa: F401
    except ImportError as error:
        raise InputError(
            "writing VTK needs meshio, which is not installed; pip install 'atomfield[fields]'", str(path)
        ) from error


def write_vtk(found: Forecast, path: Path) -> Path:
    """Write ``path`` (.pvd) and ``STEM_0000.vtu`` ... beside it. Grids keep their cells; other points are vertices.

    Raises ``InputError`` where meshio is not installed.
    """
    check_installed(path)
    import meshio

    points = found.graph.positions.numpy()
    cells = [_cells(found.graph.grid_shape, len(points))]
    rows = []
    for number, time in enumerate(found.times):
        name = f"{path.stem}_{number:04d}.vtu"
        data = {
            n: np.ascontiguousarray(v[number].reshape(len(points), -1).squeeze())
            for n, v in found.states.items()
        }
        meshio.Mesh(points, cells, point_data=data).write(path.with_name(name))
        rows.append(f'    <DataSet timestep="{time:.10g}" part="0" file="{name}"/>')
    text = '<?xml version="1.0"?>\n<VTKFile type="Collection" version="0.1">\n  <Collection>\n'
    path.write_text(text + "\n".join(rows) + "\n  </Collection>\n</VTKFile>\n")
    return path


def _cells(shape: tuple[int, ...] | None, count: int) -> tuple[str, np.ndarray]:
    if shape is None:
        return "vertex", np.arange(count)[:, None]
    index = np.arange(count).reshape(shape)
    match len(shape):
        case 1:
            return "line", np.stack([index[:-1], index[1:]], axis=1)
        case 2:
            corners = [index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]]
            return "quad", np.stack([c.ravel() for c in corners], axis=1)
        case _:
            low = [index[:-1, :-1, :-1], index[1:, :-1, :-1], index[1:, 1:, :-1], index[:-1, 1:, :-1]]
            high = [index[:-1, :-1, 1:], index[1:, :-1, 1:], index[1:, 1:, 1:], index[:-1, 1:, 1:]]
            return "hexahedron", np.stack([c.ravel() for c in (*low, *high)], axis=1)

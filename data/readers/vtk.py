"""``.vtu`` and ``.vtk`` by meshio: one snapshot, or a series of files on one mesh as one trajectory.

The time of a file is its field datum ``TimeValue`` or ``TIME``, else the number in its name, else its place in the series.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError

from .mesh import mesh_cells, mesh_points, mesh_trajectories
from .options import Outcomes, ReadOptions

_CELLS = {"triangle", "quad", "tetra", "hexahedron", "wedge", "pyramid", "line"}


def read_vtk(paths: list[Path], options: ReadOptions) -> Outcomes:
    """One trajectory of all ``paths`` (in order), or one static graph of a single path."""
    meshes = [_read(path) for path in paths]
    first, path = meshes[0], paths[0]
    points, dims = mesh_points(np.asarray(first.points, dtype=np.float64), path)
    blocks = {c.type: np.asarray(c.data) for c in first.cells if c.type in _CELLS}
    if len(blocks) > 1:
        blocks.pop("line", None)  # the border of a plane mesh
    cells = [mesh_cells(data, len(points), path) for data in blocks.values()]
    names = list(first.point_data)
    arrays: dict[str, Any] = {name: np.asarray(first.point_data[name]) for name in names}
    if not names:
        raise InputError(
            "the mesh has no point data, expected fields on nodes (cell data are not read)", str(path)
        )
    if len(meshes) > 1:
        for other, mesh in zip(paths[1:], meshes[1:], strict=True):
            if mesh.points.shape != first.points.shape or not np.allclose(mesh.points, first.points):
                raise InputError(
                    f"its points differ from those of {path.name}, expected one mesh for the series",
                    str(other),
                )
            lacking = [n for n in names if n not in mesh.point_data]
            if lacking:
                raise InputError(f"lacks {lacking[0]!r}, which {path.name} has", str(other))
        arrays = {name: np.stack([np.asarray(m.point_data[name]) for m in meshes]) for name in names}
        arrays["times"] = _times(paths, meshes)
    yield from mesh_trajectories(arrays, points, dims, cells, path, options)


def _read(path: Path) -> Any:
    try:
        import meshio
    except ImportError:
        raise InputError('meshes need meshio: pip install "atomfield[fields]"', str(path)) from None
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            return meshio.read(path)
    except SystemExit:
        raise InputError(
            "is not a mesh that meshio reads; is it whole, and is its suffix right?", str(path)
        ) from None
    except Exception as error:  # meshio lets through whatever the parsing of a wrong file runs into
        raise InputError(
            f"is not a mesh that meshio reads ({type(error).__name__} {str(error)[:120]}); is it whole?",
            str(path),
        ) from None


def _times(paths: list[Path], meshes: list[Any]) -> np.ndarray:
    for key in ("TimeValue", "TIME", "time"):
        if all(key in m.field_data for m in meshes):
            times = np.array([float(np.asarray(m.field_data[key]).reshape(-1)[0]) for m in meshes])
            if (np.diff(times) > 0).all():
                return times
    numbers = [re.findall(r"\d+", p.stem) for p in paths]
    if all(numbers):
        times = np.array([float(n[-1]) for n in numbers])
        if (np.diff(times) > 0).all():
            return times
    return np.arange(len(paths), dtype=np.float64)

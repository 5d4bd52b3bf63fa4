"""Meshes by meshio: ``.vtu``, ``.vtk``, ``.pvd``, ``.xdmf``, ``.msh``, ``.exo``: snapshots, series of files or of times.

Formats: The VTK User's Guide (vtk, vtu, pvd), the XDMF Model and Format (xdmf.org), the Gmsh reference manual (msh 2 and 4),
Exodus II. Data on nodes are read on the nodes; a mesh that has data on cells alone becomes the graph of its cells: a node at
the middle of each, joined across faces, with the cell's measure as its volume.

The time of a file is its field datum ``TimeValue`` or ``TIME``, else the number in its name, else its place in the series.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Edges
from atomfield.data.neighbors import mean_spacing

from .cells import CORNERS, Blocks, centres, interior, shared_faces
from .fields import plan_fields, with_numbers
from .frame import Frame, check_apart, points_frame
from .grid import trajectories
from .labels import logger
from .mesh import mesh_cells, mesh_frame, mesh_points
from .options import Outcomes, ReadOptions

Out = TypeVar("Out")


@dataclass(frozen=True)
class Snapshot:
    """One time of a mesh: points ``[N, 3]``, cells by kind, arrays on nodes and on cells (block after block)."""

    points: np.ndarray
    blocks: Blocks
    on_nodes: dict[str, np.ndarray]
    on_cells: dict[str, np.ndarray]
    time: float | None
    file: Path


def read_vtk(paths: list[Path], options: ReadOptions) -> Outcomes:
    """One trajectory of all ``paths`` (in order), or one static graph of a single snapshot."""
    snapshots: list[Snapshot] = []
    for path in paths:
        match path.suffix.lower():
            case ".pvd":
                snapshots += _collection(path)
            case ".xdmf" | ".xmf":
                snapshots += _xdmf(path)
            case _:
                snapshots.append(_snapshot(_read(path), path))
    yield from _trajectory(snapshots, paths[0], options)


def _trajectory(snapshots: list[Snapshot], path: Path, options: ReadOptions) -> Outcomes:
    first = snapshots[0]
    points, dims = mesh_points(first.points, first.file)
    blocks = [(kind, mesh_cells(block, len(points), first.file)) for kind, block in first.blocks]
    on_cells = bool(first.on_cells) and not first.on_nodes
    if not first.on_nodes and not first.on_cells:
        raise InputError("the mesh has no data, expected fields on its nodes or cells", str(first.file))
    if first.on_nodes and first.on_cells:
        logger.warning(
            "%s: data on nodes are read, data on cells are not: %s", path, ", ".join(first.on_cells)
        )
    if not on_cells:
        frame = (
            mesh_frame(points, dims, blocks, first.file)
            if blocks
            else points_frame(points, dims, str(first.file))
        )
    else:
        frame = _cell_frame(points, dims, blocks, first.file)
    chosen = [s.on_cells if on_cells else s.on_nodes for s in snapshots]
    arrays: dict[str, Any] = dict(chosen[0])
    if len(snapshots) > 1:
        for snapshot, data in zip(snapshots[1:], chosen[1:], strict=True):
            if snapshot.points.shape != first.points.shape or not np.allclose(snapshot.points, first.points):
                raise InputError(
                    f"its points differ from those of {first.file.name}, expected one mesh for the series",
                    str(snapshot.file),
                )
            for name, value in chosen[0].items():
                if name not in data or data[name].shape != value.shape:
                    raise InputError(f"lacks {name!r} as {first.file.name} has it", str(snapshot.file))
        arrays = {name: np.stack([data[name] for data in chosen]) for name in chosen[0]}
        arrays["times"] = _times(snapshots)
    arrays = dict(with_numbers(arrays, options, path))
    plan = plan_fields(arrays, frame.shape, dims, options, path)
    yield from trajectories(arrays, frame, plan, path, options)


def _cell_frame(points: np.ndarray, dims: int, blocks: Blocks, path: Path) -> Frame:
    inner = interior(blocks)
    if len(inner) != len(blocks) or not inner:
        raise InputError(
            f"data on cells of different dimensions ({', '.join(kind for kind, _ in blocks) or 'none'}), expected the cells that "
            "fill the mesh alone",
            str(path),
        )
    middle, size = centres(points, inner)
    if not (size > 0).all():
        raise InputError(f"cell {int(np.argmin(size))} has no extent, expected a positive measure", str(path))
    pairs = shared_faces(inner)
    alone = np.setdiff1d(np.arange(len(middle)), pairs)
    if len(alone):
        raise InputError(
            f"cell {alone[0]} shares a face with no other ({len(alone)} such cells), expected a connected mesh",
            str(path),
        )
    both = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    order = np.lexsort((both[:, 0], both[:, 1]))
    index = torch.from_numpy(both[order].T.copy())
    edges = Edges(index, torch.zeros(len(both), 3, dtype=torch.int64))
    cell = torch.zeros(3, 3, dtype=torch.float64)
    check_apart(middle, edges, cell, str(path))
    positions = torch.from_numpy(middle)
    spacing = mean_spacing(positions, edges, cell)
    return Frame(positions, {"mesh": edges}, spacing, dims, (len(middle),), torch.from_numpy(size))


# ---------------------------------------------------------------- files
def _guarded(path: Path, work: Callable[[], Out]) -> Out:
    """What meshio reads; whatever it runs into in a wrong file, and what it prints, becomes one ``InputError``."""
    printed = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # numpy's, about text that ends early; the checks below find that
            return work()
    except InputError:
        raise
    except SystemExit:
        raise InputError(
            "is not a mesh that meshio reads; is it whole, and is its suffix right?", str(path)
        ) from None
    except MemoryError:
        raise InputError("asks for more memory than there is; is it whole?", str(path)) from None
    except Exception as error:  # meshio lets through whatever the parsing of a wrong file runs into
        text = " ".join(str(error).split())[:120]
        raise InputError(
            f"is not a mesh that meshio reads ({type(error).__name__} {text}); is it whole?", str(path)
        ) from None


def _meshio(path: Path) -> Any:
    try:
        import meshio
    except ImportError:
        raise InputError("meshes need meshio: pip install 'atomfield[fields]'", str(path)) from None
    if not path.exists():
        raise InputError("there is no such file", str(path))
    if path.stat().st_size == 0:
        raise InputError("the file is empty", str(path))
    return meshio


def _read(path: Path) -> Any:
    meshio = _meshio(path)
    return _guarded(path, lambda: meshio.read(path))


def _snapshot(mesh: Any, path: Path, time: float | None = None) -> Snapshot:
    """Checked shapes; kinds of cells that are no part of a field (points of the border, say) are left out."""
    points = np.asarray(mesh.points, dtype=np.float64)
    kept = [i for i, c in enumerate(mesh.cells) if c.type in CORNERS]
    other = {c.type for c in mesh.cells if c.type not in CORNERS} - {"vertex"}
    if other:
        raise InputError(
            f"cells of type {', '.join(sorted(other))} are not read; expected {', '.join(CORNERS)}", str(path)
        )
    blocks = [(mesh.cells[i].type, np.asarray(mesh.cells[i].data)) for i in kept]
    inner = interior(blocks)
    filling = [i for i in kept if any(mesh.cells[i].type == kind for kind, _ in inner)]
    on_nodes = {name: np.asarray(v) for name, v in mesh.point_data.items() if not name.startswith("gmsh:")}
    on_cells = {
        name: np.concatenate([np.asarray(value[i]) for i in filling])
        for name, value in mesh.cell_data.items()
        if filling and not name.startswith("gmsh:") and len({np.shape(value[i])[1:] for i in filling}) == 1
    }
    for name, value in on_nodes.items():
        if value.ndim < 1 or len(value) != len(points):
            raise InputError(f"{name!r} has {np.size(value)} values, expected {len(points)} nodes", str(path))
    if time is None:
        for key in ("TimeValue", "TIME", "time"):
            if key in mesh.field_data:
                time = float(np.asarray(mesh.field_data[key], dtype=np.float64).reshape(-1)[0])
                break
    return Snapshot(points, inner, on_nodes, on_cells, time, path)


def _xdmf(path: Path) -> list[Snapshot]:
    """All times of an XDMF file with a temporal collection, or its one grid."""
    meshio = _meshio(path)
    if b'CollectionType="Temporal"' not in path.read_bytes()[:100_000]:
        return [_snapshot(_guarded(path, lambda: meshio.read(path)), path)]

    def series() -> list[Snapshot]:
        out = []
        with meshio.xdmf.TimeSeriesReader(path) as reader:
            points, cells = reader.read_points_cells()
            for step in range(reader.num_steps):
                time, on_nodes, on_cells = reader.read_data(step)
                mesh = meshio.Mesh(points, cells, point_data=on_nodes, cell_data=on_cells)
                out.append(_snapshot(mesh, path, float(time)))
        return out

    snapshots = _guarded(path, series)
    if not snapshots:
        raise InputError("the temporal collection has no times", str(path))
    return snapshots


def _collection(path: Path) -> list[Snapshot]:
    """The files that a ParaView collection (``.pvd``) lists, with its times."""
    from xml.etree import ElementTree

    _meshio(path)
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise InputError(f"is not XML ({error})", str(path)) from None
    entries = root.findall("./Collection/DataSet")
    if root.get("type") != "Collection" or not entries:
        raise InputError("lists no DataSet in a Collection, expected a ParaView collection", str(path))
    out = []
    for number, entry in enumerate(entries):
        name, text = entry.get("file", ""), entry.get("timestep", str(number))
        try:
            time = float(text)
        except ValueError:
            raise InputError(f"timestep {text!r} of {name!r} is no number", str(path)) from None
        target = path.parent / name
        if not name or not target.is_file():
            raise InputError(f"names {name!r}, which is not there", str(path))
        out.append(_snapshot(_read(target), target, time))
    return out


def _times(snapshots: list[Snapshot]) -> np.ndarray:
    declared = [s.time for s in snapshots if s.time is not None]
    if len(declared) == len(snapshots):
        times = np.array(declared)
        if (np.diff(times) > 0).all():
            return times
        if len({s.file for s in snapshots}) == 1:
            raise InputError("its times do not increase", str(snapshots[0].file))
    numbers = [re.findall(r"\d+", s.file.stem) for s in snapshots]
    if all(numbers):
        times = np.array([float(n[-1]) for n in numbers])
        if (np.diff(times) > 0).all():
            return times
    return np.arange(len(snapshots), dtype=np.float64)

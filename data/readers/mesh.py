"""Fields on unstructured meshes and on scattered points.

Layout of a file (npz, HDF5; VTU is brought into it):

==========================  ===================================================================================
``points``                  ``[N, 2]`` or ``[N, 3]`` (more axes in front are flattened), or ``x``, ``y``, ``z``, each ``[N]``
``cells``                   ``[C, corners]`` node numbers of triangles, quads, ...; absent for scattered points, which are then
                            joined to their nearest neighbours
``times``                   ``[T]``, absent for a static problem
``velocity``, ...           ``[K, T, N, components]``, see :mod:`.fields`; names of the vocabulary, or ``--map``
``node_type``               ``[N]``: 1 interior, 2 wall, 3 inlet, 4 outlet; ``normal [N, 2|3]`` outward at walls
``volume``                  ``[N]`` quadrature weights; by default from the cells
``viscosity``, ...          one number or ``[K]``
==========================  ===================================================================================
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.neighbors import mean_spacing

from .cells import Blocks, corner_shares, interior, node_edges
from .field_notes import say_unread
from .fields import Arrays, array_shape, number_array, plan_fields, wanted, with_numbers
from .frame import Frame, check_apart, points_frame
from .grid import axis_keys, trajectories
from .labels import logger
from .options import Outcomes, ReadOptions

LARGEST = 1e100
"""Coordinates beyond this are noise, whose squares overflow."""
_KINDS = {2: "line", 3: "triangle", 4: "quad", 8: "hexahedron"}


def is_mesh(arrays: Arrays, options: ReadOptions) -> bool:
    """Whether the arrays are on points rather than on a grid: there are ``points``, or x, y (and z) list one point each."""
    if options.map.get("points", "points") in arrays:
        return True
    coordinates = _coordinates(arrays, options)
    if len(coordinates) < 2 or len({c.shape for c in coordinates}) > 1:
        return False
    shape = coordinates[0].shape
    if np.prod(shape) != max(shape, default=0):
        return False
    size = int(max(shape))
    near = [a.shape for k, a in arrays.items() if hasattr(a, "shape") and a is not None]
    return not any(s.count(size) >= len(coordinates) for s in near)


def _coordinates(arrays: Arrays, options: ReadOptions) -> list[np.ndarray]:
    keys = [k for k in axis_keys(arrays, options).values() if k]
    return [arrays[k] for k in keys] if all(k in arrays for k in keys) else []


def read_mesh(
    arrays: Arrays, path: Path, options: ReadOptions, *, first: int = 0, name: str = ""
) -> Outcomes:
    """All trajectories of the file, on one mesh. ``first``, ``name``: as in :func:`.grid.read_grid`."""
    arrays = dict(with_numbers(arrays, options, path))
    key = options.map.get("points", "points")
    if key in arrays:
        given = number_array(arrays[key], key, Provenance(str(path))).astype(np.float64)
    else:
        given = np.stack([np.asarray(c, np.float64).reshape(-1) for c in _coordinates(arrays, options)], -1)
    lead = given.shape[:-1]
    if given.ndim > 2:
        given = given.reshape(-1, given.shape[-1])
    if lead != given.shape[:-1] or key not in arrays:
        _flatten(arrays, (1, len(given)) if key not in arrays else lead, len(given), options, path)
    points, dims = mesh_points(given, path)
    blocks = blocks_of(arrays, points, dims, options, path)
    if blocks:
        volume = _given_volume(arrays, len(points), path)
        frame = mesh_frame(points, dims, blocks, path, volume)
    else:
        arrays, points = _without_doubles(arrays, points, dims, options, path)
        volume = _given_volume(arrays, len(points), path)
        frame = points_frame(points, dims, str(path), volume=volume)
    plan = plan_fields(arrays, frame.shape, dims, options, path)
    if not first:
        say_unread(arrays, plan, frame.shape, options, path)
    yield from trajectories(arrays, frame, plan, path, options, first=first, name=name)


def blocks_of(arrays: Arrays, points: np.ndarray, dims: int, options: ReadOptions, path: Path) -> Blocks:
    """The cells among ``arrays``, told by their number of corners; none where there is no such array."""
    key = options.map.get("cells", "cells")
    if key not in arrays:
        if "cells" in options.map:
            raise InputError(
                f"array {key!r} (for cells) is not in the file; arrays: {', '.join(arrays)}", str(path)
            )
        return []
    cells = mesh_cells(number_array(arrays[key], key, Provenance(str(path))), len(points), path)
    kind = "tetra" if cells.shape[1] == 4 and dims == 3 and not _are_flat(points, cells) else None
    kind = kind or _KINDS.get(cells.shape[1])
    if kind is None:
        raise InputError(
            f"cells have {cells.shape[1]} corners, expected 3 or 4 in a plane, 4 or 8 in space", str(path)
        )
    return [(kind, cells)]


def mesh_frame(
    points: np.ndarray, dims: int, blocks: Blocks, path: Path, volume: torch.Tensor | None = None
) -> Frame:
    """Nodes ``[N, 3]`` joined where they share a cell, with quadrature weights from the cells unless given.

    Raises ``InputError`` for nodes without a cell and for points that lie on top of each other.
    """
    blocks = interior(blocks)
    edges = node_edges(blocks)
    lonely = np.setdiff1d(np.arange(len(points)), edges.index[1].numpy())
    if len(lonely):
        raise InputError(
            f"node {lonely[0]} is in no cell ({len(lonely)} such nodes), expected every point in the mesh",
            str(path),
        )
    cell = torch.zeros(3, 3, dtype=torch.float64)
    check_apart(points, edges, cell, str(path))
    if volume is None:
        shares = corner_shares(points, blocks)
        volume = None if shares is None else torch.from_numpy(shares)
    positions = torch.from_numpy(points)
    return Frame(
        positions, {"mesh": edges}, mean_spacing(positions, edges, cell), dims, (len(points),), volume
    )


def _are_flat(points: np.ndarray, cells: np.ndarray) -> bool:
    """Whether cells of four corners are quadrilaterals (of a surface in space) rather than tetrahedra."""
    a, b, c, d = (points[cells[:, i]] for i in range(4))
    triple = np.abs((np.cross(b - a, c - a) * (d - a)).sum(1))
    size = np.linalg.norm(b - a, axis=1) * np.linalg.norm(c - a, axis=1) * np.linalg.norm(d - a, axis=1)
    return bool((triple <= 1e-3 * size).all())


def _flatten(
    arrays: dict[str, np.ndarray], lead: tuple[int, ...], num_nodes: int, options: ReadOptions, path: Path
) -> None:
    """Bring the wanted arrays from ``[..., *lead, components]`` to ``[..., N, components]``."""
    for name in wanted(arrays, options, path):
        for part in options.key(name).split("+"):
            shape = array_shape(arrays, part, path)
            for start in range(len(shape) - len(lead) + 1):
                if shape[start : start + len(lead)] == lead:
                    flat = (*shape[:start], num_nodes, *shape[start + len(lead) :])
                    arrays[part] = np.asarray(arrays[part][()]).reshape(flat)
                    break


def _without_doubles(
    arrays: dict[str, np.ndarray], points: np.ndarray, dims: int, options: ReadOptions, path: Path
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Points that coincide (spectral elements repeat those of their borders) become one, with the mean of their values."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    reach = 1e-7 * max(float(np.ptp(points, axis=0).max()), 1e-300)
    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray")
    size = len(points)
    joined = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    _, label = connected_components(joined, directed=False)
    _, first, counts = np.unique(label, return_index=True, return_counts=True)
    if len(first) == len(points):
        return arrays, points
    if len(first) < 2:
        raise InputError("points lie on top of each other, expected one node per place", str(path))
    out = dict(arrays)
    spread = 0.0
    for name in wanted(arrays, options, path):
        for part in options.key(name).split("+"):
            value = number_array(arrays[part], part, Provenance(str(path)))
            axes = [i for i, n in enumerate(value.shape) if n == len(points)]
            if not axes:
                continue
            moved = np.moveaxis(value.astype(np.float64), axes[-1], 0)
            total = np.zeros((len(first), *moved.shape[1:]))
            np.add.at(total, label, moved)
            mean = total / counts.reshape(-1, *([1] * (moved.ndim - 1)))
            scale = float(np.abs(mean).max()) or 1.0
            spread = max(spread, float(np.abs(moved - mean[label]).max()) / scale)
            out[part] = np.moveaxis(mean, 0, axes[-1]).astype(
                value.dtype if value.dtype.kind == "f" else np.float64
            )
    for other in ("node_type", "normal", "volume"):
        if other in out and np.shape(out[other])[:1] == (len(points),):
            out[other] = np.asarray(out[other])[first]
    logger.warning(
        "%s: %d of %d points lie on others: each place is one node with the mean of its values (they differ by %.1e of the "
        "largest value at most)",
        path, len(points) - len(first), len(points), spread,
    )  # fmt: skip
    return out, points[first]


def mesh_points(values: np.ndarray, path: Path) -> tuple[np.ndarray, int]:
    """Points with three coordinates, and whether they lie in a plane (2) or not (3). Raises ``InputError``."""
    if values.ndim != 2 or values.shape[1] not in (2, 3) or len(values) < 2:
        raise InputError(
            f"points have shape {list(values.shape)}, expected [N, 2] or [N, 3] with N > 1", str(path)
        )
    bad = np.flatnonzero(~(np.abs(values) < LARGEST).all(axis=1))
    if len(bad):
        raise InputError(f"point {bad[0]} is {values[bad[0]].tolist()}, expected finite numbers", str(path))
    points = np.zeros((len(values), 3))
    points[:, : values.shape[1]] = values
    return points, 2 if not points[:, 2].any() else 3


def mesh_cells(values: np.ndarray, num_nodes: int, path: Path) -> np.ndarray:
    """Node numbers of the cells' corners, checked."""
    if values.ndim != 2 or values.dtype.kind not in "iu" or values.shape[1] < 2 or not len(values):
        raise InputError(
            f"cells have shape {list(values.shape)} of {values.dtype}, expected integers [C, corners]",
            str(path),
        )
    if values.min() < 0 or values.max() >= num_nodes:
        raise InputError(
            f"cells name nodes {values.min()} to {values.max()}, expected 0 to {num_nodes - 1}", str(path)
        )
    return values.astype(np.int64)


def _given_volume(arrays: Arrays, num_nodes: int, path: Path) -> torch.Tensor | None:
    if "volume" not in arrays:
        return None
    volume = number_array(arrays["volume"], "volume", Provenance(str(path))).astype(np.float64)
    if volume.shape != (num_nodes,) or not (volume > 0).all():
        raise InputError(
            f"volume has shape {list(volume.shape)}, expected [{num_nodes}] of positive numbers", str(path)
        )
    return torch.from_numpy(volume)

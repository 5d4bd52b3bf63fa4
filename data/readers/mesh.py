"""Fields on unstructured meshes and on scattered points.

Layout of a file (npz, HDF5; VTU is brought into it):

==========================  ===================================================================================
``points``                  ``[N, 2]`` or ``[N, 3]``
``cells``                   ``[C, corners]`` node numbers of triangles, quads, ...; absent for scattered points, which are then
                            joined to their nearest neighbours
``times``                   ``[T]``, absent for a static problem
``velocity``, ...           ``[K, T, N, components]``, see :mod:`.fields`; names of the vocabulary, or ``--map``
``node_type``               ``[N]``: 1 interior, 2 wall, 3 inlet, 4 outlet; ``normal [N, 2|3]`` outward at walls
``volume``                  ``[N]`` quadrature weights; by default from the cells of a plane mesh
``viscosity``, ...          one number or ``[K]``
==========================  ===================================================================================
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import EdgeKind, Edges, Graph
from atomfield.data.neighbors import knn_edges, mean_spacing, mesh_edges

from .fields import Arrays, FieldPlan, conditions_at, plan_fields, quantities_at
from .grid import node_types
from .options import Outcomes, ReadOptions, attempt

_NEIGHBORS = 8


def read_mesh(arrays: Arrays, path: Path, options: ReadOptions) -> Outcomes:
    """All trajectories of the file, on one mesh."""
    points, dims = mesh_points(np.asarray(arrays["points"], dtype=np.float64), path)
    cells = [mesh_cells(np.asarray(arrays["cells"]), len(points), path)] if "cells" in arrays else []
    yield from mesh_trajectories(arrays, points, dims, cells, path, options)


def mesh_trajectories(
    arrays: Arrays, points: np.ndarray, dims: int, cells: list[np.ndarray], path: Path, options: ReadOptions
) -> Outcomes:
    """The trajectories on given points ``[N, 3]`` with blocks of cells ``[C, corners]``."""
    plan = plan_fields(arrays, (len(points),), dims, options, path)
    positions = torch.from_numpy(points)
    cell, pbc = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.bool)
    kind: EdgeKind = "mesh" if cells else "knn"
    if cells:
        edges = _joined([mesh_edges(block) for block in cells])
    else:
        edges = knn_edges(positions, cell, pbc, min(_NEIGHBORS, len(points) - 1))
    lonely = np.setdiff1d(np.arange(len(points)), edges.index[1].numpy())
    if len(lonely):
        raise InputError(
            f"node {lonely[0]} is in no cell ({len(lonely)} such nodes), expected every point in the mesh",
            str(path),
        )
    spacing = mean_spacing(positions, edges, cell)
    if not spacing > 0:
        raise InputError("points lie on top of each other, expected one node per place", str(path))
    volume = _volume(arrays, points, dims, cells, path)
    for k in range(max(plan.trajectories, 1)):
        where = Provenance(str(path), k)

        def build(k: int = k, where: Provenance = where) -> Graph:
            return _mesh_graph(
                arrays, plan, positions, dims, {kind: edges}, volume, spacing, k, options, where
            )

        yield attempt(where, build)


def _mesh_graph(
    arrays: Arrays, plan: FieldPlan, positions: torch.Tensor, dims: int, edges: dict[EdgeKind, Edges],
    volume: torch.Tensor | None, spacing: float, k: int, options: ReadOptions, where: Provenance,
) -> Graph:  # fmt: skip
    num_nodes = len(positions)
    stem = Path(where.file).stem
    kinds = node_types(np.asarray(arrays["node_type"]), num_nodes, where) if "node_type" in arrays else None
    return Graph(
        positions=positions,
        species=torch.zeros(num_nodes, dtype=torch.int64),
        world="field",
        node_type=kinds,  # type: ignore[arg-type]
        volume=volume,
        edges=edges,
        quantities=quantities_at(arrays, plan, k, dims, num_nodes, options, where),
        conditions=conditions_at(arrays, k, plan.trajectories, options, where),
        level=options.level,
        dataset=stem,
        group=f"{stem}/{k}" if plan.trajectories else stem,
        times=None if plan.times is None else torch.from_numpy(np.array(plan.times)),
        spacing=spacing,
        provenance=where,
    )


def mesh_points(values: np.ndarray, path: Path) -> tuple[np.ndarray, int]:
    """Points with three coordinates, and whether they lie in a plane (2) or not (3). Raises ``InputError``."""
    if values.ndim != 2 or values.shape[1] not in (2, 3) or len(values) < 2:
        raise InputError(
            f"points have shape {list(values.shape)}, expected [N, 2] or [N, 3] with N > 1", str(path)
        )
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
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


def _joined(blocks: list[Edges]) -> Edges:
    if len(blocks) == 1:
        return blocks[0]
    index = torch.unique(torch.cat([b.index for b in blocks], dim=1).flip(0), dim=1).flip(0)
    return Edges(index, torch.zeros(index.shape[1], 3, dtype=torch.int64))


def _volume(
    arrays: Arrays, points: np.ndarray, dims: int, cells: list[np.ndarray], path: Path
) -> torch.Tensor | None:
    """Given weights, else each plane cell's area shared equally by its corners (which form a ring)."""
    if "volume" in arrays:
        volume = np.asarray(arrays["volume"], dtype=np.float64)
        if volume.shape != (len(points),) or not (volume > 0).all():
            raise InputError(
                f"volume has shape {list(volume.shape)}, expected [{len(points)}] of positive numbers",
                str(path),
            )
        return torch.from_numpy(volume)
    if dims != 2 or not cells:
        return None
    weights = np.zeros(len(points))
    for block in cells:
        x, y = points[block, 0], points[block, 1]
        area = 0.5 * np.abs((x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1))
        np.add.at(weights, block.reshape(-1), np.repeat(area / block.shape[1], block.shape[1]))
    return torch.from_numpy(weights) if (weights > 0).all() else None

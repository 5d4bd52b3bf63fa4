"""Where the points of a field lie and how they are joined: made once per file, shared by all its trajectories and times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import EdgeKind, Edges, Graph
from atomfield.data.neighbors import grid_edges, knn_edges, mean_spacing
from atomfield.data.quantities import Quantity

from .cells import corner_shares

NEIGHBORS = 8
"""Nearest neighbours to which a point without cells is joined."""
UNEVEN = 1e-4
"""Relative difference of steps up to which an axis counts as evenly spaced."""


@dataclass(frozen=True)
class Frame:
    """Points ``[N, 3]`` float64, their edges and spacing; ``dims``: 1, 2 or 3, of the space that is meant; ``shape``: the
    lengths of the axes of space in the file's arrays, ``(N,)`` unless they form a grid. The rest as in ``Graph``."""

    points: Tensor
    edges: dict[EdgeKind, Edges]
    spacing: float
    dims: int
    shape: tuple[int, ...]
    volume: Tensor | None = None
    cell: Tensor = field(default_factory=lambda: torch.zeros(3, 3, dtype=torch.float64))
    pbc: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.bool))
    grid_shape: tuple[int, ...] | None = None


def field_graph(
    frame: Frame,
    quantities: dict[str, Tensor],
    where: Provenance,
    *,
    times: np.ndarray | None = None,
    conditions: dict[str, float] | None = None,
    next_quantities: dict[str, Tensor] | None = None,
    properties: Mapping[str, Quantity] | None = None,
    node_type: Tensor | None = None,
    level: str = "",
    dataset: str = "",
    group: str = "",
) -> Graph:
    """One record on the points of ``frame``."""
    used = {*quantities, *(next_quantities or {})}
    return Graph(
        positions=frame.points,
        species=torch.zeros(len(frame.points), dtype=torch.int64),
        world="field",
        node_type=node_type,  # type: ignore[arg-type]
        cell=frame.cell,
        pbc=frame.pbc,
        volume=frame.volume,
        edges=frame.edges,
        quantities=quantities,
        next_quantities=next_quantities or {},
        conditions=conditions or {},
        level=level,
        dataset=dataset,
        group=group,
        times=None if times is None else torch.from_numpy(np.array(times, dtype=np.float64)),
        spacing=frame.spacing,
        properties={n: q for n, q in (properties or {}).items() if n in used},
        provenance=where,
        grid_shape=frame.grid_shape,
    )


# ---------------------------------------------------------------- grids
def grid_frame(axes: list[np.ndarray], periodic: tuple[bool, ...]) -> Frame:
    """Points at all combinations of the axes, in C order. Unevenly spaced axes give the same stencil as ``mesh`` edges; the
    period of an uneven axis is its length plus the mean of its first and last steps."""
    shape = tuple(len(a) for a in axes)
    points = np.zeros((int(np.prod(shape)), 3))
    weights = np.ones(1)
    cell = np.eye(3)
    for d, x in enumerate(np.meshgrid(*axes, indexing="ij")):
        points[:, d] = x.reshape(-1)
        step = np.diff(axes[d])
        if periodic[d]:
            last = step.mean() if is_even(axes[d]) else (step[0] + step[-1]) / 2
            round_ = np.append(step, last)
            width = (round_ + np.roll(round_, 1)) / 2
            cell[d, d] = round_.sum()
        else:
            width = np.convolve(step, [0.5, 0.5])
        weights = np.multiply.outer(weights, width)
    pbc = (*periodic, *(False,) * (3 - len(shape)))
    even = all(is_even(a) for a in axes)
    return Frame(
        points=torch.from_numpy(points),
        edges={"grid" if even else "mesh": _stencil(shape, pbc[: len(shape)])},
        spacing=float(min(np.diff(a).mean() for a in axes)),
        dims=len(shape),
        shape=shape,
        volume=torch.from_numpy(weights.reshape(-1)),
        cell=torch.from_numpy(cell) if any(periodic) else torch.zeros(3, 3, dtype=torch.float64),
        pbc=torch.tensor(pbc),
        grid_shape=shape if even else None,
    )


def is_even(axis: np.ndarray) -> bool:
    """Whether all steps are equal, within the rounding of single-precision coordinates."""
    step = np.diff(axis)
    return bool(np.ptp(step) <= max(UNEVEN * step.mean(), 4e-7 * np.abs(axis).max()))


@lru_cache(maxsize=4)
def _stencil(shape: tuple[int, ...], pbc: tuple[bool, ...]) -> Edges:
    return grid_edges(shape, pbc)


def curvilinear_frame(coordinates: list[np.ndarray]) -> Frame:
    """A grid whose coordinates ``[nx, ny(, nz)]`` vary along more than their own axis: stencil edges between grid
    neighbours, volumes from the quadrilaterals (hexahedra) between grid lines. Never periodic."""
    shape = coordinates[0].shape
    points = np.zeros((int(np.prod(shape)), 3))
    for d, x in enumerate(coordinates):
        points[:, d] = x.reshape(-1)
    index = np.arange(len(points)).reshape(shape)
    if len(shape) == 2:
        block = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], -1).reshape(-1, 4)
        kind = "quad"
    else:
        low, high = index[:, :, :-1], index[:, :, 1:]
        rings = [(a[:-1, :-1], a[1:, :-1], a[1:, 1:], a[:-1, 1:]) for a in (low, high)]
        block = np.stack([*rings[0], *rings[1]], -1).reshape(-1, 8)
        kind = "hexahedron"
    volume = corner_shares(points, [(kind, block)])
    edges = _stencil(shape, (False,) * len(shape))
    positions = torch.from_numpy(points)
    return Frame(
        points=positions,
        edges={"mesh": edges},
        spacing=mean_spacing(positions, edges, torch.zeros(3, 3, dtype=torch.float64)),
        dims=len(shape),
        shape=shape,
        volume=None if volume is None else torch.from_numpy(volume),
    )


# ---------------------------------------------------------------- points
def points_frame(
    points: np.ndarray,
    dims: int,
    where: str,
    *,
    cell: Tensor | None = None,
    pbc: Tensor | None = None,
    volume: Tensor | None = None,
) -> Frame:
    """Scattered points ``[N, 3]``, each joined to its nearest neighbours (periodic images included).

    Raises ``InputError`` if two points lie on top of each other.
    """
    positions = torch.from_numpy(points)
    box = torch.zeros(3, 3, dtype=torch.float64) if cell is None else cell
    periodic = torch.zeros(3, dtype=torch.bool) if pbc is None else pbc
    if len(points) == 1:
        return Frame(positions, {}, 1.0, dims, (1,), volume, box, periodic)
    edges = knn_edges(positions, box, periodic, min(NEIGHBORS, len(points) - 1))
    check_apart(points, edges, box, where)
    return Frame(
        points=positions,
        edges={"knn": edges},
        spacing=mean_spacing(positions, edges, box),
        dims=dims,
        shape=(len(points),),
        volume=volume,
        cell=box,
        pbc=periodic,
    )


def check_apart(points: np.ndarray, edges: Edges, cell: Tensor, where: str) -> None:
    """Refuse edges of (almost) no length: directions along them mean nothing."""
    sender, receiver = edges.index.numpy()
    vector = points[sender] + edges.shift.numpy() @ cell.numpy() - points[receiver]
    length = np.linalg.norm(vector, axis=1)
    extent = float(np.ptp(points, axis=0).max())
    bad = np.flatnonzero(length <= 1e-12 * extent)
    if len(bad):
        i, j = sorted((int(sender[bad[0]]), int(receiver[bad[0]])))
        raise InputError(f"points {i} and {j} lie on top of each other, expected one node per place", where)

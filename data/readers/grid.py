"""Fields on regular grids: one ``Graph`` per trajectory with the grid's stencil as edges.

Layout of a file (npz, HDF5; NetCDF is brought into it):

==========================  ===================================================================================
``x``, ``y``, ``z``         ``[nx]`` increasing coordinates of the axes that there are (or, instead of all of them,
                            ``spacing``: one number or one per axis)
``time``                    ``[T]``, absent for a static problem
``periodic``                one flag or one per axis, default false; a periodic axis does not repeat its first point
``velocity``, ...           ``[K, T, nx, ny, nz, components]``, see :mod:`.fields`; names of the vocabulary, or ``--map``
``viscosity``, ...          one number or ``[K]``
==========================  ===================================================================================
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph, NodeType
from atomfield.data.neighbors import grid_edges

from .fields import Arrays, FieldPlan, array_shape, conditions_at, plan_fields, quantities_at, wanted
from .options import Outcomes, ReadOptions, attempt

_UNEVEN = 1e-4
"""Relative difference of steps up to which an axis counts as evenly spaced."""
_AXIS_KEYS = {
    "x": ("x", "x-coordinate", "lon", "longitude"),
    "y": ("y", "y-coordinate", "lat", "latitude"),
    "z": ("z", "z-coordinate"),
}


def read_grid(arrays: Arrays, path: Path, options: ReadOptions) -> Outcomes:
    """All trajectories of the file."""
    axes = _axes(arrays, path, options)
    shape = tuple(len(a) for a in axes)
    periodic = _periodic(arrays, len(axes), options, path)
    plan = plan_fields(arrays, shape, len(axes), options, path)
    for k in range(max(plan.trajectories, 1)):
        where = Provenance(str(path), k)
        yield attempt(where, partial(grid_graph, arrays, axes, periodic, plan, k, options, where))


def grid_graph(
    arrays: Arrays,
    axes: list[np.ndarray],
    periodic: tuple[bool, ...],
    plan: FieldPlan,
    k: int,
    options: ReadOptions,
    where: Provenance,
) -> Graph:
    """Trajectory ``k`` on the grid of ``axes``."""
    shape = tuple(len(a) for a in axes)
    num_nodes = int(np.prod(shape))
    positions = np.zeros((num_nodes, 3))
    weights = np.ones(1)
    cell = np.eye(3)
    for d, x in enumerate(np.meshgrid(*axes, indexing="ij")):
        positions[:, d] = x.reshape(-1)
        step = np.diff(axes[d])
        width = np.full(shape[d], step.mean()) if periodic[d] else np.convolve(step, [0.5, 0.5])
        weights = np.multiply.outer(weights, width)
        if periodic[d]:
            cell[d, d] = shape[d] * step.mean()
    pbc = (*periodic, *(False,) * (3 - len(shape)))
    stem = Path(where.file).stem
    return Graph(
        positions=torch.from_numpy(positions),
        species=torch.zeros(num_nodes, dtype=torch.int64),
        world="field",
        node_type=_node_type(arrays, shape, options, where),  # type: ignore[arg-type]
        cell=torch.from_numpy(cell) if any(periodic) else None,  # type: ignore[arg-type]
        pbc=torch.tensor(pbc),
        volume=torch.from_numpy(weights.reshape(-1)),
        edges={"grid": grid_edges(shape, pbc[: len(shape)])},
        quantities=quantities_at(arrays, plan, k, len(shape), num_nodes, options, where),
        conditions=conditions_at(arrays, k, plan.trajectories, options, where),
        level=options.level,
        dataset=stem,
        group=f"{stem}/{k}" if plan.trajectories else stem,
        times=None if plan.times is None else torch.from_numpy(np.array(plan.times)),
        spacing=float(min(np.diff(a).mean() for a in axes)),
        provenance=where,
        grid_shape=shape,
    )


def _axes(arrays: Arrays, path: Path, options: ReadOptions) -> list[np.ndarray]:
    keys = {
        d: options.map.get(d) or next((k for k in names if k in arrays), "")
        for d, names in _AXIS_KEYS.items()
    }
    for d, key in keys.items():
        if key and key not in arrays:
            raise InputError(
                f"array {key!r} (for {d}) is not in the file; arrays: {', '.join(arrays)}", str(path)
            )
    present = [d for d in "xyz" if keys[d]]
    if not present:
        return _axes_of_spacing(arrays, path, options)
    if present != list("xyz"[: len(present)]):
        raise InputError(f"axes are {', '.join(present)}, expected x, or x and y, or x, y and z", str(path))
    return [
        axis_of(np.asarray(arrays[keys[d]], dtype=np.float64), keys[d], i, len(present), path)
        for i, d in enumerate(present)
    ]


def axis_of(values: np.ndarray, key: str, axis: int, dims: int, path: Path) -> np.ndarray:
    """A 1D increasing, evenly spaced axis; a full mesh grid of ``dims`` dimensions is taken apart."""
    if values.ndim == dims > 1:
        line = values[tuple(slice(None) if i == axis else 0 for i in range(dims))]
        shape = [1] * dims
        shape[axis] = -1
        if not np.allclose(values, line.reshape(shape)):
            raise InputError(
                f"{key!r} varies along more than its own axis, expected x[i, j] = x[i]: the axes of space are in the order x, y; "
                "points that form no grid are read from an array called points",
                str(path),
            )
        values = line
    if values.ndim != 1 or len(values) < 2:
        raise InputError(f"{key!r} has shape {list(values.shape)}, expected [n] with n > 1", str(path))
    step = np.diff(values)
    if not np.isfinite(values).all() or (step <= 0).any():
        raise InputError(
            f"{key!r} does not increase from one entry to the next, expected increasing coordinates",
            str(path),
        )
    if np.ptp(step) > max(_UNEVEN * step.mean(), 4e-7 * np.abs(values).max()):
        raise InputError(
            f"{key!r} is not evenly spaced (steps {step.min():.6g} to {step.max():.6g}), expected a regular grid; "
            "give the points as a mesh (points and, if any, cells)",
            str(path),
        )
    return values


def _axes_of_spacing(arrays: Arrays, path: Path, options: ReadOptions) -> list[np.ndarray]:
    if "spacing" not in arrays:
        raise InputError(
            f"there are neither coordinates x, y, z nor spacing nor points; arrays: {', '.join(arrays) or 'none'}; "
            "name them with --map x=KEY,y=KEY",
            str(path),
        )
    spacing = np.asarray(arrays["spacing"], dtype=np.float64).reshape(-1)
    if not np.isfinite(spacing).all() or (spacing <= 0).any() or len(spacing) > 3:
        raise InputError(f"spacing is {spacing.tolist()}, expected one positive number per axis", str(path))
    dims = len(spacing)
    name = wanted(arrays, options, path)[0]
    shape = array_shape(arrays, options.key(name), path)
    if dims > 1 and name in ("velocity",):
        shape = shape[:-1]
    if len(shape) < dims:
        raise InputError(
            f"{options.key(name)!r} has shape {list(shape)}, expected {dims} axes of space as spacing has",
            str(path),
        )
    return [np.arange(n) * h for n, h in zip(shape[len(shape) - dims :], spacing, strict=True)]


def _periodic(arrays: Arrays, dims: int, options: ReadOptions, path: Path) -> tuple[bool, ...]:
    key = options.map.get("periodic", "periodic")
    if key not in arrays:
        return (False,) * dims
    flags = np.asarray(arrays[key]).reshape(-1)
    if flags.size == 1:
        flags = np.repeat(flags, dims)
    if flags.size != dims or flags.dtype.kind not in "biuf" or not set(flags.tolist()) <= {0, 1}:
        raise InputError(
            f"{key!r} is {flags.tolist()}, expected {dims} flags (0 or 1), one per axis", str(path)
        )
    return tuple(bool(f) for f in flags)


def _node_type(
    arrays: Arrays, shape: tuple[int, ...], options: ReadOptions, where: Provenance
) -> torch.Tensor | None:
    if "node_type" not in arrays:
        return None
    return node_types(np.asarray(arrays["node_type"]), int(np.prod(shape)), where)


def node_types(values: np.ndarray, num_nodes: int, where: Provenance) -> torch.Tensor:
    """``[N]`` of :class:`~atomfield.data.graph.NodeType`: interior 1, wall 2, inlet 3, outlet 4."""
    allowed = [int(t) for t in (NodeType.INTERIOR, NodeType.WALL, NodeType.INLET, NodeType.OUTLET)]
    flat = values.reshape(-1)
    if flat.size != num_nodes or not np.isin(flat, allowed).all():
        found = sorted(set(flat.tolist()))[:6]
        raise InputError(
            f"node_type has {flat.size} entries of {found}, expected {num_nodes} of {allowed} (interior, wall, inlet, outlet)",
            where,
        )
    return torch.from_numpy(flat.astype(np.int64))

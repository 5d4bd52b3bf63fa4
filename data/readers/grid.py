"""Fields on grids: one ``Graph`` per trajectory with the grid's stencil as edges.

Layout of a file (npz, HDF5 and others; what has a layout of its own is brought into this one):

==========================  ===================================================================================
``x``, ``y``, ``z``         ``[nx]`` increasing coordinates of the axes that there are, or ``[nx, ny]`` of a curvilinear grid
                            (or, instead of all of them, ``spacing``: one number per axis)
``time``                    ``[T]``, or ``dt``; absent for a static problem
``periodic``                one flag or one per axis, default false; a periodic axis does not repeat its first point
``velocity``, ...           ``[K, T, nx, ny, nz, components]``, see :mod:`.fields`; names of the vocabulary, or ``--map``
``viscosity``, ...          one number or ``[K]``
==========================  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph, NodeType
from atomfield.data.quantities import VOCABULARY, Quantity

from .field_notes import say_unread, say_wraps
from .fields import (
    Arrays,
    FieldPlan,
    array_shape,
    conditions_at,
    number_array,
    plan_fields,
    quantities_at,
    wanted,
    with_numbers,
)  # fmt: skip
from .frame import Frame, curvilinear_frame, field_graph, grid_frame
from .options import Outcomes, ReadOptions, attempt

_AXIS_KEYS = {
    "x": ("x", "x-coordinate", "lon", "longitude"),
    "y": ("y", "y-coordinate", "lat", "latitude"),
    "z": ("z", "z-coordinate"),
}


def read_grid(
    arrays: Arrays,
    path: Path,
    options: ReadOptions,
    *,
    own: Mapping[str, Quantity] | None = None,
    first: int = 0,
    name: str = "",
) -> Outcomes:
    """All trajectories of the file. ``own``: see :func:`.fields.plan_fields`; ``first``: number of the first record;
    ``name``: of the part of the file that ``arrays`` are, for the groups."""
    arrays = with_numbers(arrays, options, path)
    axes = _axes(arrays, path, options)
    dims = len(axes)
    periodic = _periodic(arrays, dims, options, path)
    if axes[0].ndim > 1:
        if any(periodic):
            raise InputError("a curvilinear grid is periodic, expected one that is not", str(path))
        frame = curvilinear_frame(axes)
    else:
        frame = grid_frame(axes, periodic)
    plan = plan_fields(arrays, frame.shape, dims, options, path, own)
    if not first:
        say_unread(arrays, plan, frame.shape, options, path)
        say_wraps(arrays, plan, frame.shape, periodic, options, path)
    yield from trajectories(arrays, frame, plan, path, options, first=first, name=name)


def trajectories(
    arrays: Arrays,
    frame: Frame,
    plan: FieldPlan,
    path: Path,
    options: ReadOptions,
    *,
    first: int = 0,
    name: str = "",
) -> Outcomes:
    """One record per trajectory of ``plan`` on the points of ``frame``."""
    for k in range(max(plan.trajectories, 1)):
        where = Provenance(str(path), first + k)
        yield attempt(where, partial(trajectory, arrays, frame, plan, k, options, where, name))


def trajectory(
    arrays: Arrays,
    frame: Frame,
    plan: FieldPlan,
    k: int,
    options: ReadOptions,
    where: Provenance,
    name: str = "",
) -> Graph:
    """Trajectory ``k``."""
    stem = Path(where.file).stem
    group = f"{stem}/{name}" if name else stem
    num_nodes = len(frame.points)
    kinds = None
    if "node_type" in arrays:
        kinds = node_types(number_array(arrays["node_type"], "node_type", where), num_nodes, where)
    return field_graph(
        frame,
        quantities_at(arrays, plan, k, frame.dims, num_nodes, options, where),
        where,
        times=plan.times,
        conditions=conditions_at(arrays, k, plan.trajectories, options, where),
        properties=plan.own,
        node_type=kinds,
        level=options.level,
        dataset=stem,
        group=f"{group}/{k}" if plan.trajectories else group,
    )


def axis_keys(arrays: Arrays, options: ReadOptions) -> dict[str, str]:
    """The array that holds each coordinate, empty where none does. What ``map`` takes for a quantity is no coordinate."""
    taken = {part for n, key in options.map.items() if n in VOCABULARY for part in key.split("+")}
    return {
        d: options.map.get(d) or next((k for k in names if k in arrays and k not in taken), "")
        for d, names in _AXIS_KEYS.items()
    }


def _axes(arrays: Arrays, path: Path, options: ReadOptions) -> list[np.ndarray]:
    """Lines ``[n]``, or, for a curvilinear grid, full coordinates ``[nx, ny(, nz)]``."""
    keys = axis_keys(arrays, options)
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
    values = [
        number_array(arrays[keys[d]], keys[d], Provenance(str(path))).astype(np.float64) for d in present
    ]
    full = len(present) > 1 and {v.ndim for v in values} == {len(present)}
    if full and len({v.shape for v in values}) == 1 and not _is_product(values):
        return _curvilinear(values, [keys[d] for d in present], path)
    return [
        axis_of(v, keys[d], i, len(present), path)
        for i, (v, d) in enumerate(zip(values, present, strict=True))
    ]


def _line(values: np.ndarray, axis: int) -> np.ndarray:
    """The coordinates along one axis of full coordinates, ready to be broadcast over the others."""
    take = tuple(slice(None) if i == axis else slice(0, 1) for i in range(values.ndim))
    return values[take]


def _is_product(values: list[np.ndarray]) -> bool:
    """Whether full coordinates are those of straight axes: ``x[i, j] = x[i]``."""
    return all(np.allclose(v, _line(v, i), equal_nan=True) for i, v in enumerate(values))


def _curvilinear(values: list[np.ndarray], keys: list[str], path: Path) -> list[np.ndarray]:
    if len(values) == 2 and all(np.allclose(v, _line(v, 1 - i)) for i, v in enumerate(values)):
        raise InputError(
            f"{keys[0]!r} varies along the second axis, expected x[i, j] = x[i]: the axes of space are in the order x, y",
            str(path),
        )
    for key, value in zip(keys, values, strict=True):
        if min(value.shape) < 2 or not (np.abs(value) < 1e100).all():
            raise InputError(
                f"{key!r} has shape {list(value.shape)} or numbers that are not finite, expected finite coordinates of at least "
                "2 points along each axis",
                str(path),
            )
    return values


def axis_of(values: np.ndarray, key: str, axis: int, dims: int, path: Path) -> np.ndarray:
    """A 1D increasing axis ``[n]``; full coordinates of ``dims`` dimensions and MATLAB's ``[1, n]`` are taken apart."""
    if values.ndim == 2 and 1 in values.shape and max(values.shape) > 1:
        values = values.reshape(-1)
    elif values.ndim == dims > 1:
        values = _line(values, axis).reshape(-1)
    if values.ndim != 1 or len(values) < 2:
        raise InputError(f"{key!r} has shape {list(values.shape)}, expected [n] with n > 1", str(path))
    if not (np.abs(values) < 1e100).all() or (np.diff(values) <= 0).any():
        raise InputError(
            f"{key!r} does not increase from one entry to the next, expected increasing coordinates",
            str(path),
        )
    return values


def _axes_of_spacing(arrays: Arrays, path: Path, options: ReadOptions) -> list[np.ndarray]:
    key = options.map.get("spacing", "spacing")
    if key not in arrays:
        raise InputError(
            f"there are neither coordinates x, y, z nor spacing nor points; arrays: {', '.join(arrays) or 'none'}; "
            "name them with --map x=KEY,y=KEY, or give the distance of grid points along each axis: --map spacing=0.1+0.1",
            str(path),
        )
    spacing = number_array(arrays[key], key, Provenance(str(path))).astype(np.float64).reshape(-1)
    if not np.isfinite(spacing).all() or (spacing <= 0).any() or not 1 <= len(spacing) <= 3:
        raise InputError(f"spacing is {spacing.tolist()}, expected one positive number per axis", str(path))
    dims = len(spacing)
    name = wanted(arrays, options, path)[0]
    shape = array_shape(arrays, options.key(name), path)
    if dims > 1 and VOCABULARY[name].irreps == "1o":
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
    flags = number_array(arrays[key], key, Provenance(str(path))).reshape(-1)
    if flags.size == 1:
        flags = np.repeat(flags, dims)
    if flags.size != dims or flags.dtype.kind not in "biuf" or not set(flags.tolist()) <= {0, 1}:
        raise InputError(
            f"{key!r} is {flags.tolist()}, expected {dims} flags (0 or 1), one per axis", str(path)
        )
    return tuple(bool(f) for f in flags)


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

"""Particles, and meshes whose nodes move: one record per time, since the points of a record stand still.

Layout of a file (npz, HDF5, .mat, .pt):

==========================  ===================================================================================
``positions``               ``[T, N, 2|3]`` or ``[K, T, N, 2|3]`` (or ``points`` of that shape)
``time`` or ``dt``          ``[T]``, or the step
``cells``                   ``[C, corners]`` of a mesh that moves; without, each point is joined to its nearest neighbours
``box``                     lengths of a periodic box, one per axis (distances are then to the nearest image)
``particle_type``           ``[N]`` or ``[K, N]``: 3 is a wall that does not move (as in the sets of Sanchez-Gonzalez et al., ICML
                            2020, "Learning to simulate complex physics with graph networks"), anything else interior
``velocity``, ...           ``[T, N, ...]`` or ``[K, T, N, ...]``, see :mod:`.fields`
==========================  ===================================================================================

A velocity that is not given is the backward difference ``v(t) = (x(t) - x(t - dt)) / dt``. A record has the state at ``t`` as
quantities and that of the next time as ``next_quantities``, so that ``x(t + dt) = x(t) + dt * v(t + dt)`` holds exactly. All
records of a trajectory are in one group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph, NodeType, step_conditions

from .cells import Blocks
from .fields import (
    TIME_KEYS,
    conditions_at,
    number_array,
    plan_fields,
    quantities_at,
    read_times,
    with_numbers,
)  # fmt: skip
from .frame import Frame, field_graph, points_frame
from .labels import logger
from .mesh import blocks_of, mesh_frame, mesh_points
from .options import BadRecord, Outcomes, ReadOptions, attempt

_WALL = 3


def moving_points(arrays: Mapping[str, Any], options: ReadOptions) -> str | None:
    """The array of positions at several times, or None if the points stand still."""
    clock = options.map.get("time") or next((k for k in TIME_KEYS if k in arrays), "")
    num_times = arrays[clock].shape[-1] if clock in arrays and arrays[clock].shape else 0
    for role in ("positions", "points"):
        key = options.map.get(role, role)
        shape: tuple[int, ...] = getattr(arrays.get(key), "shape", ())
        if len(shape) in (3, 4) and shape[-1] in (2, 3) and (role == "positions" or shape[-3] == num_times):
            return key
    return None


def read_particles(
    arrays: Mapping[str, Any], path: Path, options: ReadOptions, *, first: int = 0, name: str = ""
) -> Outcomes:
    """All times of all trajectories. ``first``, ``name``: as in :func:`.grid.read_grid`."""
    arrays = dict(with_numbers(arrays, options, path))
    key = moving_points(arrays, options)
    assert key is not None
    where = Provenance(str(path))
    paths = number_array(arrays.pop(key), key, where).astype(np.float64)
    paths = paths[None] if paths.ndim == 3 else paths
    bad = np.argwhere(~np.isfinite(paths))
    if len(bad):
        k, t, n = bad[0][:3]
        raise InputError(
            f"{key!r} of point {n} at time {t} is not finite, expected numbers", Provenance(str(path), int(k))
        )
    num_trajectories, num_times, num_nodes, dims = paths.shape
    if num_times < 3 or num_nodes < 2:
        raise InputError(
            f"{key!r} has shape {list(paths.shape[1:])}, expected 3 times and 2 points or more", str(path)
        )
    box = _box(arrays, dims, path)
    arrays = {k: _per_time(v, num_trajectories, num_nodes) for k, v in arrays.items()}
    times = _times(arrays, num_times, options, path)
    kinds = _kinds(arrays.pop("particle_type", None), num_trajectories, num_nodes, path)
    given = options.key("velocity") in arrays
    if not given:
        logger.info("%s: velocities are backward differences of %s", path, key)
        arrays["velocity"] = _differences(paths, times, box)
        options = _with_velocity(options)
    arrays["time"] = times
    arrays.pop("dt", None)
    plan = plan_fields(
        {k: v for k, v in arrays.items() if k != "box"}, (num_nodes,), dims, _timed(options), path
    )
    blocks = blocks_of(arrays, mesh_points(paths[0, 0], path)[0], dims, options, path)
    count = first
    timed = {n for n, layout in plan.layouts.items() if layout.timed}
    for k in range(num_trajectories):
        label = "/".join([path.stem, *([name] if name else []), *([str(k)] if num_trajectories > 1 else [])])
        try:
            every = quantities_at(arrays, plan, k, dims, num_nodes, options, Provenance(str(path), count))
            conditions = conditions_at(arrays, k, plan.trajectories, options, Provenance(str(path), count))
        except InputError as error:
            yield BadRecord(Provenance(str(path), count), error.message)
            count += 1
            continue
        for t in range(0 if given else 1, num_times - 1):
            place = Provenance(str(path), count)
            now = {n: v[t] if n in timed else v for n, v in every.items()}
            later = {n: every[n][t + 1] for n in timed}
            step = float(times[t + 1] - times[t])

            def build(
                x: np.ndarray = paths[k, t], step: float = step, kinds: torch.Tensor | None = kinds[k],
                conditions: dict[str, float] = conditions, now: dict[str, torch.Tensor] = now,
                later: dict[str, torch.Tensor] = later, place: Provenance = place, label: str = label,
            ) -> Graph:  # fmt: skip
                frame = _frame(x, dims, blocks, box, path)
                return field_graph(
                    frame,
                    now,
                    place,
                    next_quantities=later,
                    conditions=step_conditions(conditions, step, frame.spacing),
                    node_type=kinds,
                    level=options.level,
                    dataset=path.stem,
                    group=label,
                )

            yield attempt(place, build)
            count += 1


def _frame(points: np.ndarray, dims: int, blocks: Blocks, box: np.ndarray | None, path: Path) -> Frame:
    full, _ = mesh_points(points, path)
    if blocks:
        return mesh_frame(full, dims, blocks, path)
    if box is None:
        return points_frame(full, dims, str(path))
    cell = np.eye(3)
    cell[range(dims), range(dims)] = box
    full[:, :dims] %= box
    return points_frame(
        full, dims, str(path), cell=torch.from_numpy(cell), pbc=torch.tensor([d < dims for d in range(3)])
    )


def _box(arrays: dict[str, Any], dims: int, path: Path) -> np.ndarray | None:
    if "box" not in arrays:
        return None
    box = number_array(arrays.pop("box"), "box", Provenance(str(path))).astype(np.float64).reshape(-1)
    if box.size == 1:
        box = np.repeat(box, dims)
    if box.size != dims or not np.isfinite(box).all() or (box <= 0).any():
        raise InputError(f"'box' is {box.tolist()}, expected {dims} positive lengths", str(path))
    return box


def _per_time(array: Any, num_trajectories: int, num_nodes: int) -> Any:
    """A single trajectory's ``[1, T, N, ...]`` without its first axis."""
    shape: tuple[int, ...] = getattr(array, "shape", ())
    if num_trajectories == 1 and len(shape) >= 3 and shape[0] == 1 and shape[2] == num_nodes:
        return array[0]
    return array


def _times(arrays: Mapping[str, Any], num_times: int, options: ReadOptions, path: Path) -> np.ndarray:
    times = read_times(arrays, options, path)
    if times is None:
        key = options.map.get("dt", "dt")
        if key not in arrays:
            raise InputError(
                "points move, but there is neither time nor dt; name or give it: --map dt=0.005", str(path)
            )
        step = number_array(arrays[key], key, Provenance(str(path))).astype(np.float64).reshape(-1)
        if step.size != 1 or not step[0] > 0 or not np.isfinite(step[0]):
            raise InputError(
                f"{key!r} (for dt) is {step[:4].tolist()}, expected one positive number", str(path)
            )
        times = np.arange(num_times) * float(step[0])
    if len(times) != num_times:
        raise InputError(f"there are {len(times)} times, expected {num_times} as positions have", str(path))
    return times


def _differences(paths: np.ndarray, times: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """``[(K,) T, N, d]``; the first time has none and is zero (it is not used)."""
    move = np.diff(paths, axis=1)
    if box is not None:
        move -= box * np.round(move / box)
    velocity = np.zeros_like(paths)
    velocity[:, 1:] = move / np.diff(times)[None, :, None, None]
    return velocity if len(paths) > 1 else velocity[0]


def _kinds(given: Any, num_trajectories: int, num_nodes: int, path: Path) -> list[torch.Tensor | None]:
    if given is None:
        return [None] * num_trajectories
    kinds = number_array(given, "particle_type", Provenance(str(path)))
    if kinds.shape == (num_nodes,):
        kinds = np.broadcast_to(kinds, (num_trajectories, num_nodes))
    if kinds.shape != (num_trajectories, num_nodes):
        raise InputError(f"'particle_type' has shape {list(kinds.shape)}, expected [{num_nodes}]", str(path))
    types = np.where(kinds == _WALL, int(NodeType.WALL), int(NodeType.INTERIOR)).astype(np.int64)
    return [torch.from_numpy(row.copy()) for row in types]


def _with_velocity(options: ReadOptions) -> ReadOptions:
    return replace(options, map={n: key for n, key in options.map.items() if n != "velocity"})


def _timed(options: ReadOptions) -> ReadOptions:
    return replace(options, map={**options.map, "time": "time"})

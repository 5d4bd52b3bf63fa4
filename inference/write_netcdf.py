"""Predictions as NetCDF by xarray: structures in one dataset, fields in one (or in groups ``record_0``, ``record_1``, ...).

A regular grid keeps its axes (``time``, ``x``, ``y``, ``z``), so that plotting tools see a field and not a list of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph

from .intervals import OOD_SCORE
from .predict import Prediction
from .write import atom_arrays, is_per_node, times_of, unit_of, with_references

if TYPE_CHECKING:
    import xarray

_COMPONENTS = ("component", "component_2")


def check_installed(path: Path) -> None:
    """Raises ``InputError`` where xarray and netCDF4 are not installed, which writing ``path`` needs."""
    try:
        import netCDF4  # noqa: F401
        import xarray  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"writing NetCDF needs {error.name}, which is not installed; pip install 'atomfield[fields]'",
            str(path),
        ) from error


def write_netcdf(graphs: Sequence[Graph], predictions: Sequence[Prediction], path: Path) -> None:
    """Raises ``InputError`` where xarray and netCDF4 are not installed."""
    check_installed(path)
    if graphs[0].world != "field":
        _atoms_dataset(graphs, predictions).to_netcdf(path, engine="netcdf4")
        return
    for number, (graph, prediction) in enumerate(zip(graphs, predictions, strict=True)):
        group = None if len(graphs) == 1 else f"record_{number}"
        mode: Literal["a", "w"] = "a" if number else "w"
        _field_dataset(graph, prediction).to_netcdf(path, mode=mode, group=group, engine="netcdf4")


def _atoms_dataset(graphs: Sequence[Graph], predictions: Sequence[Prediction]) -> xarray.Dataset:
    import xarray

    variables = {}
    for name, value in atom_arrays(graphs, predictions).items():
        first = "atom" if name in ("species", "positions") or is_per_node(name, graphs[0]) else "structure"
        attributes = {"units": "angstrom"} if name in ("positions", "cell") else _attributes(name, graphs[0])
        kind = value.astype(np.int8) if value.dtype == bool else value
        variables[_safe(name)] = xarray.Variable(
            (first, *_components(name, value.shape[1:])), kind, attributes
        )
    return xarray.Dataset(variables, attrs={"group": [g.group for g in graphs]})


def _field_dataset(graph: Graph, prediction: Prediction) -> xarray.Dataset:
    values = with_references(graph, prediction)
    timed = {n: v if graph.times is not None else v[None] for n, v in values.items()}
    return states_dataset(graph, times_of(graph), timed)


def states_dataset(graph: Graph, times: np.ndarray, states: Prediction) -> xarray.Dataset:
    """States ``[T, N, ...]`` at ``times [T]``; a regular grid keeps its axes. Raises ``ImportError`` without xarray."""
    import xarray

    axes = ("x", "y", "z")
    shape = graph.grid_shape
    space = axes[: len(shape)] if shape else ("node",)
    coordinates: dict[str, xarray.Variable] = {"time": xarray.Variable(("time",), times)}
    positions = graph.positions.numpy()
    if shape:
        grid = positions.reshape(*shape, 3)
        for k, axis in enumerate(space):
            line = tuple(slice(None) if j == k else 0 for j in range(len(shape)))
            coordinates[axis] = xarray.Variable((axis,), grid[(*line, k)])
    else:
        for k, axis in enumerate(axes):
            coordinates[axis] = xarray.Variable(("node",), positions[:, k])
    variables = {}
    for name, timed in states.items():
        if name == OOD_SCORE:
            variables[name] = xarray.Variable(("time",), timed)
            continue
        tail = timed.shape[2:]
        body = timed.reshape(len(timed), *(shape or (graph.num_nodes,)), *tail)
        dims = ("time", *space, *_components(name, tail))
        variables[_safe(name)] = xarray.Variable(dims, body, _attributes(name, graph))
    attributes = {"group": graph.group, "level": graph.level, **graph.conditions}
    return xarray.Dataset(variables, coordinates, attrs=attributes)


def _components(name: str, tail: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the last axes: shared by all vectors and 3x3 tensors, of their own for other sizes."""
    if set(tail) <= {3}:
        return _COMPONENTS[: len(tail)]
    return tuple(f"{_safe(name)}_{axis}" for axis in _COMPONENTS[: len(tail)])


def _attributes(name: str, graph: Graph) -> dict[str, str]:
    unit = unit_of(name, graph)
    return {"units": unit} if unit else {}


def _safe(name: str) -> str:
    """NetCDF takes a slash in a name for a group."""
    return name.replace("/", "_")

"""Which dimensions of a CF variable are time, ensemble and space, and how space is laid out.

======================  ==========================================================================================
``grid``                one-dimensional coordinates along each dimension; falling ones are turned round; a longitude that
                        goes once round is periodic; a dimension without coordinates counts from 0
``curvilinear``         two-dimensional coordinates (``lon(j, i)``, ``lat(j, i)``) over two dimensions
``points``              coordinates that share one dimension (stations, nodes of a mesh)
======================  ==========================================================================================

Coordinates are told by ``--map x=NAME``, by their names, by ``axis`` X, Y, Z, T, E, or by ``standard_name``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from atomfield.data.errors import InputError, Provenance

from .grid import axis_of
from .options import ReadOptions

if TYPE_CHECKING:
    import xarray

_NAMES = {
    "x": ("x", "lon", "longitude", "projection_x_coordinate", "grid_longitude", "xc"),
    "y": ("y", "lat", "latitude", "projection_y_coordinate", "grid_latitude", "yc"),
    "z": ("z", "depth", "height", "altitude", "lev", "level", "plev"),
    "time": ("time", "t"),
    "group": ("realization", "member", "ensemble", "sample", "trajectory"),
}
_AXES = {"x": "X", "y": "Y", "z": "Z", "time": "T", "group": "E"}
_VECTOR = ("component", "component_2", "vector", "dim_vector")
Kind = Literal["grid", "curvilinear", "points"]


@dataclass(frozen=True)
class Space:
    """``coordinates``: names of x, y, z as far as they go; ``order``: dimensions of space in the order of x, y, z (or of the
    curvilinear grid); ``axes``: values as :mod:`.frame` takes them; ``flipped``: dimensions that are turned round."""

    kind: Kind
    time: str | None
    group: str | None
    coordinates: list[str]
    order: list[str]
    axes: list[np.ndarray]
    periodic: tuple[bool, ...]
    flipped: frozenset[str]

    @property
    def dims(self) -> int:
        return len(self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(a) for a in self.axes) if self.kind == "grid" else self.axes[0].shape

    @property
    def named(self) -> list[str]:
        """Coordinates of space and time."""
        return [*self.coordinates, *([] if self.time is None else [self.time])]

    def values(self, data: xarray.Dataset, name: str, where: Provenance) -> np.ndarray:
        """A variable as ``[T, *space, *components]``."""
        variable = data[name]
        if variable.dtype.kind not in "fiub":
            raise InputError(f"variable {name!r} holds {variable.dtype}, expected numbers", where)
        single = [d for d in variable.dims if variable.sizes[d] == 1 and d not in (*self.order, self.time)]
        variable = variable.squeeze([d for d in single if d not in _VECTOR])
        order = [d for d in (self.time, *self.order) if d is not None]
        vector = [d for d in variable.dims if d in _VECTOR]
        if set(variable.dims) - set(order) - set(vector):
            raise InputError(
                f"variable {name!r} has the dimensions {list(variable.dims)}, expected {order}", where
            )
        kept = [d for d in order if d in variable.dims]
        try:
            values = np.asarray(variable.transpose(*kept, *vector).values)
        except (OSError, RuntimeError, ValueError) as error:
            text = " ".join(str(error).split())[:120]
            raise InputError(
                f"variable {name!r} cannot be read ({text}); is the file whole?", where
            ) from None
        for axis, dimension in enumerate(kept):
            if dimension in self.flipped:
                values = np.flip(values, axis)
        return np.ascontiguousarray(values)


def space_of(data: xarray.Dataset, variable: str, options: ReadOptions, path: Path) -> Space:
    """The layout of ``variable``. Raises ``InputError`` for dimensions that are not understood."""
    dims = [str(d) for d in data[variable].dims if data.sizes[d] > 1 and d not in _VECTOR]
    for role in _NAMES:
        named = options.map.get(role)
        if named is not None and named not in data.variables and named not in data.dims:
            held = ", ".join(map(str, data.variables))
            raise InputError(f"{named!r} (for {role}) is not in the file; it has {held}", str(path))
    time = _told(data, "time", dims, options)
    group = _told(data, "group", [d for d in dims if d != time], options)
    rest = [d for d in dims if d not in (time, group)]
    found = {axis: _told(data, axis, rest, options) for axis in "xyz"}
    straight = {axis: d for axis, d in found.items() if d is not None}
    full = {axis: c for axis in "xyz" if (c := _full_coordinate(data, axis, rest, options)) is not None}
    if len(rest) > 1 and len(full) == len(rest):
        return _curvilinear(data, time, group, rest, full, path)
    if len(rest) == 1 and len(full) > 1:
        axes = [_numbers(data, c, path).reshape(-1) for c in full.values()]
        return Space("points", time, group, list(full.values()), rest, axes, (), frozenset())
    space = list(straight.values())
    left = [d for d in rest if d not in space]
    if left or not space:
        raise InputError(
            f"dimensions {', '.join(left) or 'of space'} of {variable} {list(data[variable].dims)} are not understood; "
            "name them with --map x=DIM,y=DIM,time=DIM,group=DIM",
            str(path),
        )
    return _grid(data, time, group, space, path)


def _told(data: xarray.Dataset, role: str, dims: list[str], options: ReadOptions) -> str | None:
    """The dimension of a role."""
    named = options.map.get(role)
    if named is not None:
        return named if named in dims else None
    for d in dims:
        attributes = data[d].attrs if d in data.coords else {}
        if d.lower() in _NAMES[role] or attributes.get("axis") == _AXES[role]:
            return d
        if attributes.get("standard_name") in _NAMES[role]:
            return d
    return None


def _full_coordinate(data: xarray.Dataset, role: str, dims: list[str], options: ReadOptions) -> str | None:
    """The coordinate of an axis that lies over all dimensions of space, without being one of them."""
    named = options.map.get(role)
    for name, variable in data.variables.items():
        if set(variable.dims) != set(dims) or name in data.dims or variable.dtype.kind not in "fiu":
            continue
        told = str(name).lower() in _NAMES[role] or variable.attrs.get("standard_name") in _NAMES[role]
        if name == named or (named is None and told):
            return str(name)
    return None


def _numbers(data: xarray.Dataset, name: str, path: Path) -> np.ndarray:
    values = np.asarray(data[name].values)
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise InputError(f"coordinate {name!r} has values that are not finite numbers", str(path))
    return values.astype(np.float64)


def _grid(data: xarray.Dataset, time: str | None, group: str | None, space: list[str], path: Path) -> Space:
    axes, flipped, periodic = [], set(), []
    for i, dimension in enumerate(space):
        if dimension in data.coords:
            values = _numbers(data, dimension, path)
        else:
            values = np.arange(data.sizes[dimension], dtype=np.float64)
        if len(values) > 1 and values[0] > values[-1]:
            values = values[::-1]
            flipped.add(dimension)
        axes.append(axis_of(values, dimension, i, 1, path))
        attributes = data[dimension].attrs if dimension in data.coords else {}
        longitude = "degrees_east" in str(attributes.get("units", "")) or dimension.lower() in (
            "lon",
            "longitude",
        )
        period = len(values) * float(np.diff(values).mean())
        periodic.append(longitude and abs(period - 360.0) < 1e-2)
    return Space("grid", time, group, space, space, axes, tuple(periodic), frozenset(flipped))


def _curvilinear(
    data: xarray.Dataset,
    time: str | None,
    group: str | None,
    dims: list[str],
    full: dict[str, str],
    path: Path,
) -> Space:
    axes = []
    for name in full.values():
        values = np.asarray(data[name].transpose(*dims).values)
        if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
            raise InputError(f"coordinate {name!r} has values that are not finite numbers", str(path))
        axes.append(values.astype(np.float64))
    return Space("curvilinear", time, group, list(full.values()), dims, axes, (), frozenset())

"""NetCDF (``.nc``): gridded fields with CF names. Longitude and latitude are taken as coordinates of a plane.

Variables are read by our names, by ``--map``, or by their CF ``standard_name``. Points where a variable is missing (land in
a sea-surface map) are left out; the rest are then scattered points joined to their nearest neighbours.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.quantities import CONDITIONS, VOCABULARY

from .fields import conditions_at, plan_fields, quantities_at
from .frame import field_graph, grid_frame, points_frame
from .grid import axis_of, trajectory
from .labels import logger
from .options import Outcomes, ReadOptions, attempt

if TYPE_CHECKING:
    import xarray

_STANDARD_NAMES = {
    "air_temperature": "temperature",
    "sea_surface_temperature": "temperature",
    "surface_temperature": "temperature",
    "sea_water_temperature": "temperature",
    "air_pressure": "pressure",
    "air_pressure_at_mean_sea_level": "pressure",
    "air_density": "density",
}
_VELOCITY = (
    ("eastward_wind", "northward_wind"),
    ("x_wind", "y_wind"),
    ("eastward_sea_water_velocity", "northward_sea_water_velocity"),
)
_X, _Y, _Z, _T = (
    ("x", "lon", "longitude"),
    ("y", "lat", "latitude"),
    ("z", "depth", "height", "lev", "level"),
    ("time", "t"),
)
_MOST_MISSING = 0.95


def read_netcdf(path: Path, options: ReadOptions) -> Outcomes:
    """One trajectory: all variables that share the axes of the first one asked for."""
    try:
        import xarray
    except ImportError:
        raise InputError(
            'NetCDF needs xarray and netCDF4: pip install "atomfield[fields]"', str(path)
        ) from None
    if path.stat().st_size == 0:
        raise InputError("the file is empty", str(path))
    try:
        data = xarray.open_dataset(path, decode_times=False)
    except (OSError, ValueError, RuntimeError) as error:
        text = str(error)
        if (
            "backend" in text
            and "netCDF4" not in xarray.backends.list_engines()
            and "netcdf4" not in xarray.backends.list_engines()
        ):
            raise InputError('NetCDF needs netCDF4: pip install "atomfield[fields]"', str(path)) from None
        raise InputError(
            f"is not a NetCDF file ({text.splitlines()[0][:120]}); is it whole?", str(path)
        ) from None
    with data:
        chosen = _chosen(data, options, path)
        yield attempt(Provenance(str(path), 0), lambda: _graph(data, chosen, options, path))


def _chosen(data: xarray.Dataset, options: ReadOptions, path: Path) -> dict[str, str]:
    """Our name -> variable (``u+v`` for components apart)."""
    found: dict[str, str] = {}
    standard = {
        str(v.attrs.get("standard_name", "")): str(k) for k, v in data.data_vars.items() if v.ndim >= 1
    }
    for parts in _VELOCITY:
        if all(p in standard for p in parts):
            found["velocity"] = "+".join(standard[p] for p in parts)
    for name, ours in _STANDARD_NAMES.items():
        if name in standard:
            found.setdefault(ours, standard[name])
        elif name in data.data_vars:
            found.setdefault(ours, name)
    found |= {str(k): str(k) for k, v in data.data_vars.items() if k in VOCABULARY and v.ndim >= 1}
    found |= {k: v for k, v in options.map.items() if k in VOCABULARY}
    held = ", ".join(f"{k}{list(v.dims)}" for k, v in data.data_vars.items())
    for name, key in found.items():
        for part in key.split("+"):
            if part not in data.variables:
                raise InputError(
                    f"variable {part!r} (for {name}) is not in the file; variables: {held}", str(path)
                )
    for target in options.targets:
        if target not in found:
            raise InputError(
                f"target {target!r} is not in the file; variables: {held}; name one with --map {target}=VARIABLE",
                str(path),
            )
    if options.targets:
        found = {n: k for n, k in found.items() if n in options.targets or n in options.map}
    if not found:
        raise InputError(
            f"no variable has the name of a field quantity; variables: {held}; name one with --map", str(path)
        )
    for name, key in found.items():
        if name not in options.map and key != name:
            logger.info("%s: variable %s is read as %s", path, key, name)
    return found


def _graph(data: xarray.Dataset, chosen: dict[str, str], options: ReadOptions, path: Path) -> Graph:
    where = Provenance(str(path), 0)
    first = next(iter(chosen.values())).split("+")[0]
    time, space = _dimensions(data, first, options, path)
    axes, arrays, flipped = [], {}, set()
    for i, (letter, dimension) in enumerate(zip("xyz", space, strict=False)):
        values = np.asarray(
            data[dimension].values if dimension in data.coords else np.arange(data.sizes[dimension]),
            dtype=np.float64,
        )
        if len(values) > 1 and values[0] > values[-1]:
            values = values[::-1]
            flipped.add(dimension)
        axes.append(axis_of(values, dimension, i, len(space), path))
        arrays[letter] = values
        if "degrees" in str(data[dimension].attrs.get("units", "")):
            logger.warning("%s: %s (degrees) is taken as coordinate %s of a plane", path, dimension, letter)
    if time is not None:
        arrays["time"] = np.asarray(
            data[time].values if time in data.coords else np.arange(data.sizes[time]), dtype=np.float64
        )
    for name, key in chosen.items():
        parts = []
        for part in key.split("+"):
            order = [d for d in (time, *space) if d is not None and d in data[part].dims]
            variable = data[part].squeeze()
            if set(variable.dims) - set(order):
                raise InputError(
                    f"variable {part!r} has the dimensions {list(variable.dims)}, expected {order}", where
                )
            values = np.asarray(variable.transpose(*[d for d in order if d in variable.dims]).values)
            for axis, dimension in enumerate(order):
                if dimension in flipped:
                    values = np.flip(values, axis)
            parts.append(values)
        arrays[name] = parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)
    numbers = {k: np.asarray(v) for k, v in data.attrs.items() if k in CONDITIONS}
    plain = ReadOptions(targets=tuple(chosen), level=options.level)
    plan = plan_fields({**arrays, **numbers}, tuple(len(a) for a in axes), len(axes), plain, path)
    missing = _missing(arrays, chosen, len(axes), time is not None)
    periodic = tuple(_goes_round(data, d, a) for d, a in zip(space, axes, strict=True))
    if not missing.any():
        return trajectory({**arrays, **numbers}, grid_frame(axes, periodic), plan, 0, plain, where)
    if missing.mean() > _MOST_MISSING:
        raise InputError(
            f"{missing.mean():.0%} of the points have missing values, expected most to have numbers", where
        )
    logger.warning(
        "%s: %d of %d points have missing values and are left out", path, missing.sum(), missing.size
    )
    return _scattered({**arrays, **numbers}, axes, periodic, ~missing.reshape(-1), plan, plain, where)


def _dimensions(
    data: xarray.Dataset, variable: str, options: ReadOptions, path: Path
) -> tuple[str | None, list[str]]:
    dims = [str(d) for d in data[variable].dims if data.sizes[d] > 1]

    def find(role: str, names: tuple[str, ...], axis: str) -> str | None:
        named = options.map.get(role)
        if named is not None and named not in dims:
            raise InputError(
                f"dimension {named!r} (for {role}) is not one of {variable}: {', '.join(dims)}", str(path)
            )
        for d in dims:
            attributes = data[d].attrs if d in data.coords else {}
            if d == named or (named is None and (d.lower() in names or attributes.get("axis") == axis
                                                 or attributes.get("standard_name") in names)):  # fmt: skip
                return d
        return None

    time = find("time", _T, "T")
    space = [
        d for d in (find("x", _X, "X"), find("y", _Y, "Y"), find("z", _Z, "Z")) if d is not None and d != time
    ]
    rest = [d for d in dims if d != time and d not in space]
    if rest or not space:
        raise InputError(
            f"dimensions {', '.join(rest) or 'of space'} of {variable} {list(data[variable].dims)} are not understood; "
            "name them with --map x=DIM,y=DIM,time=DIM",
            str(path),
        )
    return time, space


def _missing(arrays: dict[str, Any], chosen: dict[str, str], dims: int, timed: bool) -> np.ndarray:
    """Points of the grid where any variable is NaN at any time."""
    out: np.ndarray | None = None
    for name, key in chosen.items():
        bad = ~np.isfinite(arrays[name])
        if "+" in key:
            bad = bad.any(axis=-1)
        if bad.ndim > dims:
            bad = bad.any(axis=0)
        out = bad if out is None else out | bad
    assert out is not None
    return out


def _goes_round(data: xarray.Dataset, dimension: str, axis: np.ndarray) -> bool:
    """A longitude that covers the whole circle is periodic."""
    is_longitude = "degrees_east" in str(data[dimension].attrs.get("units", "")) or dimension.lower() in (
        "lon",
        "longitude",
    )
    return is_longitude and abs(len(axis) * float(np.diff(axis).mean()) - 360.0) < 1e-2


def _scattered(arrays: dict[str, Any], axes: list[np.ndarray], periodic: tuple[bool, ...], keep: np.ndarray, plan: Any,
               options: ReadOptions, where: Provenance) -> Graph:  # fmt: skip
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    positions = np.zeros((int(keep.sum()), 3))
    positions[:, : len(axes)] = grid[keep]
    cell = np.eye(3)
    for d, axis in enumerate(axes):
        if periodic[d]:
            cell[d, d] = len(axis) * float(np.diff(axis).mean())
    area = float(np.prod([np.diff(a).mean() for a in axes]))
    frame = points_frame(
        positions,
        len(axes),
        where.file,
        cell=torch.from_numpy(cell if any(periodic) else np.zeros((3, 3))),
        pbc=torch.tensor([*periodic, *(False,) * (3 - len(axes))]),
        volume=torch.full((len(positions),), area, dtype=torch.float64),
    )
    quantities = quantities_at(
        arrays, plan, 0, len(axes), len(grid), options, where, keep=np.flatnonzero(keep)
    )
    conditions = conditions_at(arrays, 0, 0, options, where)
    stem = Path(where.file).stem
    return field_graph(
        frame, quantities, where, times=plan.times, conditions=conditions, level=options.level, dataset=stem, group=stem
    )  # fmt: skip

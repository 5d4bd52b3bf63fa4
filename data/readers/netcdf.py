"""NetCDF (``.nc``) and Zarr (``.zarr``, also zipped) through xarray: fields with CF names.

Formats: NetCDF Climate and Forecast (CF) Metadata Conventions 1.11 (cfconventions.org), Zarr versions 2 and 3
(zarr-specs.readthedocs.io). Variables are read by our names, by ``--map``, or by their CF ``standard_name``; packed values are
unpacked, and ``_FillValue`` and ``missing_value`` are missing. Points where a variable is missing at any time (land in a
sea-surface map) are left out; the rest are then scattered points joined to their nearest neighbours. Units of the file stay
(and are printed); times are numbers in the file's own unit. An ensemble (``realization``, axis E, or ``--map group=DIM``) is one
record per member. Longitude and latitude are coordinates of a plane, in degrees; see :mod:`.cf` for the layouts of space.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.quantities import CONDITIONS, VOCABULARY

from .cf import Space, space_of
from .fields import conditions_at, plan_fields, quantities_at, with_numbers
from .frame import Frame, curvilinear_frame, field_graph, grid_frame, points_frame
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
    ("sea_water_x_velocity", "sea_water_y_velocity"),
)
_MOST_MISSING = 0.95


def read_netcdf(path: Path, options: ReadOptions) -> Outcomes:
    """One trajectory, or one per member of an ensemble: all variables that share the axes of the first one asked for."""
    with _opened(path) as data:
        chosen = _chosen(data, options, path)
        first = next(iter(chosen.values())).split("+")[0]
        space = space_of(data, first, options, path)
        _say_units(data, chosen, space, path)
        for k in range(1 if space.group is None else data.sizes[space.group]):
            part = data if space.group is None else data.isel({space.group: k})
            where = Provenance(str(path), k)
            yield attempt(where, partial(_record, part, space, chosen, options, where))


@contextmanager
def _opened(path: Path) -> Iterator[xarray.Dataset]:
    try:
        import xarray
    except ImportError:
        raise InputError(
            "NetCDF needs xarray and netCDF4: pip install 'atomfield[fields]'", str(path)
        ) from None
    is_zarr = ".zarr" in path.suffixes
    if is_zarr:
        try:
            import zarr  # noqa: F401
        except ImportError:
            raise InputError("Zarr needs zarr: pip install 'atomfield[fields]'", str(path)) from None
    if path.is_file() and path.stat().st_size == 0:
        raise InputError("the file is empty", str(path))
    kind = "Zarr store" if is_zarr else "NetCDF file"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of zarr, about metadata that are not consolidated
            store: Any = str(path)
            if not is_zarr:
                _check_size(path)
            if is_zarr and path.is_file():
                from zarr.storage import ZipStore

                store = ZipStore(path, mode="r")
            data = xarray.open_dataset(store, decode_times=False, engine="zarr" if is_zarr else None)
    except InputError:
        raise
    except MemoryError:
        raise InputError("asks for more memory than there is; is it whole?", str(path)) from None
    except Exception as error:  # what netCDF4, zarr and numpy run into in a wrong file is of all kinds
        text = " ".join(str(error).split())
        if not is_zarr and "backend" in text and "netcdf4" not in xarray.backends.list_engines():
            raise InputError("NetCDF needs netCDF4: pip install 'atomfield[fields]'", str(path)) from None
        raise InputError(
            f"is not a {kind} ({type(error).__name__} {text[:110]}); is it whole?", str(path)
        ) from None
    with data:
        yield data


def _check_size(path: Path) -> None:
    """A classic NetCDF file says how much it holds, and the library would read zeros beyond its end."""
    with open(path, "rb") as opened:
        if opened.read(3) != b"CDF":
            return
    import netCDF4

    with netCDF4.Dataset(path) as file:
        said = sum(
            int(np.prod(v.shape, dtype=object)) * np.dtype(v.dtype).itemsize for v in file.variables.values()
        )
    if said > path.stat().st_size:
        raise InputError(
            f"says that it holds {said} bytes, but has {path.stat().st_size}; is it whole?", str(path)
        )


def _chosen(data: xarray.Dataset, options: ReadOptions, path: Path) -> dict[str, str]:
    """Our name -> variable (``u+v`` for components apart)."""
    found: dict[str, str] = {}
    standard: dict[str, list[str]] = {}
    for k, v in data.data_vars.items():
        if v.ndim >= 1 and v.dtype.kind in "fiub":
            standard.setdefault(str(v.attrs.get("standard_name", "")), []).append(str(k))
    for parts in _VELOCITY:
        if all(p in standard for p in parts):
            found.setdefault("velocity", "+".join(standard[p][0] for p in parts))
    for name, ours in _STANDARD_NAMES.items():
        named = standard.get(name, [name] if name in data.data_vars else [])
        if len(named) > 1 and ours not in options.map and ours not in data.data_vars:
            raise InputError(
                f"variables {' and '.join(named)} are both {name}; name one with --map {ours}={named[0]}",
                str(path),
            )
        if named:
            found.setdefault(ours, named[0])
    found |= {str(k): str(k) for k, v in data.data_vars.items() if k in VOCABULARY and v.ndim >= 1}
    found |= {k: v for k, v in options.map.items() if k in VOCABULARY}
    held = ", ".join(f"{k}{list(v.dims)}" for k, v in data.data_vars.items()) or "none"
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
    taken = {part for key in found.values() for part in key.split("+")}
    unread = [
        str(k)
        for k, v in data.data_vars.items()
        if k not in taken and v.ndim > 1 and "bnds" not in str(v.dims)
    ]
    if unread and not options.targets:
        logger.info("%s: not read: %s; name what is wanted with --map", path, ", ".join(unread))
    return found


def _say_units(data: xarray.Dataset, chosen: dict[str, str], space: Space, path: Path) -> None:
    said = [(f"{key} as {name}" if key != name else name, key.split("+")[0]) for name, key in chosen.items()]
    said += [(str(d), str(d)) for d in space.named]
    text = [f"{label} in {data[key].attrs['units']}" for label, key in said if "units" in data[key].attrs]
    if text:
        logger.info("%s: %s; kept as they are", path, ", ".join(text))
    for axis, coordinate in zip("xyz", space.coordinates, strict=False):
        if "degrees" in str(data[coordinate].attrs.get("units", "")):
            logger.warning("%s: %s (degrees) is taken as coordinate %s of a plane", path, coordinate, axis)


def _record(
    data: xarray.Dataset, space: Space, chosen: dict[str, str], options: ReadOptions, where: Provenance
) -> Graph:
    path = Path(where.file)
    arrays: dict[str, Any] = {k: np.asarray(v) for k, v in data.attrs.items() if k in CONDITIONS}
    for k in data.variables:
        if k in CONDITIONS or k in [options.map.get(c) for c in CONDITIONS]:
            arrays[str(k)] = np.asarray(data[k].values)
    if space.time is not None:
        known = space.time in data.coords
        arrays["time"] = np.asarray(data[space.time].values if known else np.arange(data.sizes[space.time]))
    for name, key in chosen.items():
        parts = [space.values(data, part, where) for part in key.split("+")]
        if len({p.shape for p in parts}) > 1:
            raise InputError(f"components {key!r} have different shapes", where)
        arrays[name] = parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)
    conditions = {n: k for n, k in options.map.items() if n in CONDITIONS}
    plain = replace(options, map=conditions, targets=tuple(chosen), units={})
    arrays = dict(with_numbers(arrays, plain, path))
    shape = space.shape
    plan = plan_fields(arrays, shape, space.dims, plain, path)
    missing = _missing(arrays, plan.layouts, space, where)
    frame = _frame(space, missing, where)
    keep = np.flatnonzero(~missing) if missing.any() else None
    quantities = quantities_at(arrays, plan, 0, space.dims, missing.size, plain, where, keep=keep)
    group = path.stem if space.group is None else f"{path.stem}/{where.record}"
    return field_graph(
        frame, quantities, where, times=plan.times, conditions=conditions_at(arrays, 0, 0, plain, where),
        level=options.level, dataset=path.stem, group=group,
    )  # fmt: skip


def _frame(space: Space, missing: np.ndarray, where: Provenance) -> Frame:
    if space.kind == "points":
        points = np.zeros((space.shape[0], 3))
        for d, values in enumerate(space.axes):
            points[:, d] = values
        return points_frame(points[~missing], space.dims, where.file)
    full = (
        curvilinear_frame(space.axes)
        if space.kind == "curvilinear"
        else grid_frame(space.axes, space.periodic)
    )
    if not missing.any():
        return full
    keep = torch.from_numpy(np.flatnonzero(~missing))
    volume = None if full.volume is None else full.volume[keep]
    return points_frame(
        full.points[keep].numpy(), full.dims, where.file, cell=full.cell, pbc=full.pbc, volume=volume
    )


@lru_cache(maxsize=1000)
def _say_missing(file: str, number: int, size: int) -> None:
    """Once for all records that lack as many points."""
    logger.warning("%s: %d of %d points have missing values and are left out", file, number, size)


def _missing(arrays: dict[str, Any], layouts: dict[str, Any], space: Space, where: Provenance) -> np.ndarray:
    """Points ``[N]`` where any variable is missing at any time."""
    out = np.zeros(int(np.prod(space.shape)), dtype=bool)
    for name, layout in layouts.items():
        if not layout.timed and arrays[name].size < out.size:
            continue
        bad = ~np.isfinite(arrays[name])
        bad = (
            bad.any(axis=tuple(range(bad.ndim - len(layout.components), bad.ndim)))
            if layout.components
            else bad
        )
        out |= bad.reshape(-1, out.size).any(axis=0)
    if out.mean() > _MOST_MISSING:
        raise InputError(
            f"{out.mean():.0%} of the points have missing values, expected most to have numbers", where
        )
    if out.any():
        _say_missing(where.file, int(out.sum()), out.size)
    return out

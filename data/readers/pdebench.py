"""PDEBench's HDF5 layouts (Takamoto et al., NeurIPS 2022; github.com/pdebench/PDEBench, its ``data_gen`` and ``fno/utils.py``).

======================  ==========================================================================================
scalar equations        ``tensor [K, T, nx]``, ``x-coordinate``, ``t-coordinate``: ``solution``
Darcy flow              ``tensor [K, 1, nx, ny]``, ``nu [K, nx, ny]``, no time: ``solution`` and ``permeability``
compressible flow       ``Vx``, ``Vy``, ``Vz``, ``density``, ``pressure`` ``[K, T, nx(, ny, nz)]``: ``velocity`` and so on
a group per seed        ``0000/data [T, nx(, ny), C]`` and ``0000/grid/x, y, t``: ``solution``, or ``data0`` ... where C > 1
incompressible flow     ``velocity [K, T, nx, ny, 2]``, ``particles``, ``force``, ``t [K, T]``, no coordinates: the unit square
======================  ==========================================================================================

Coordinates are cell centres. ``t-coordinate`` may have one entry more than there are states, which is left out. Coefficients
(attributes ``Nu``, ``eta``, ``beta``, ...) are scalars of the graph unless ``--map viscosity=Nu`` makes them conditions. The
files do not say whether they are periodic: names do (``_periodic_``; 1D advection, Burgers and reaction-diffusion,
which are periodic throughout), or ``--map periodic=1``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError, Provenance
from atomfield.data.quantities import CONDITIONS, Quantity, scalar_property

from .fields import number_array
from .grid import read_grid
from .labels import logger
from .options import Outcomes, ReadOptions

_PERIODIC_1D = ("1d_advection", "1d_burgers", "reacdiff", "1d_reacdiff")


@dataclass(frozen=True)
class Lazy:
    """An array that is read from the file one trajectory at a time."""

    shape: tuple[int, ...]
    take: Callable[[Any], np.ndarray]

    def __getitem__(self, k: Any) -> np.ndarray:
        return self.take(k)


def is_pdebench(file: Any) -> bool:
    """Whether an open HDF5 file has one of these layouts."""
    return (
        "tensor" in file
        or ("Vx" in file and "x-coordinate" in file)
        or _is_seeded(file)
        or _is_particles(file)
    )


def _is_seeded(file: Any) -> bool:
    first = next(iter(file), None)
    return first is not None and first.isdigit() and "data" in file[first] and "grid" in file[first]


def _is_particles(file: Any) -> bool:
    return {"velocity", "particles", "t"} <= set(file) and not {"x", "y", "x-coordinate", "points"} & set(
        file
    )


def read_pdebench(file: Any, path: Path, options: ReadOptions) -> Outcomes:
    """All trajectories of an open file."""
    if _is_seeded(file):
        arrays, mapped, own = _seeded(file, path, options)
    elif _is_particles(file):
        arrays, mapped, own = _incompressible(file, path, options)
    else:
        arrays, mapped, own = _named(file, path)
    free = {n: k for n, k in mapped.items() if n not in options.map and k not in options.map.values()}
    for name, key in free.items():
        logger.info("%s: %s is read as %s (PDEBench's layout)", path, key, name)
    options = replace(options, map={**free, **options.map})
    if "periodic" not in options.map:
        arrays["periodic"] = np.array(_is_periodic(path))
    for key, value in file.attrs.items():
        number = np.asarray(value)
        if number.dtype.kind not in "fiu" or number.size != 1 or key == "latestIndex" or key in arrays:
            continue
        arrays[key] = number.reshape(())
        if key not in CONDITIONS and key not in options.map.values():
            own[key] = scalar_property(key, "field")
    yield from read_grid(arrays, path, options, own=own)


def _is_periodic(path: Path) -> bool:
    name = path.stem.lower()
    said = "_periodic" in name or name.startswith(_PERIODIC_1D)
    if said:
        logger.info(
            "%s: taken as periodic, as PDEBench's files of that name are; if not: --map periodic=0", path
        )
    else:
        logger.warning("%s: the file does not say whether it is periodic; if so: --map periodic=1", path)
    return said


_Parts = tuple[dict[str, Any], dict[str, str], dict[str, Quantity]]


def _named(file: Any, path: Path) -> _Parts:
    arrays: dict[str, Any] = {k: v for k, v in file.items() if hasattr(v, "shape")}
    mapped: dict[str, str] = {}
    if "tensor" in arrays:
        tensor = arrays["tensor"]
        if "nu" in arrays and tensor.ndim == 4 and tensor.shape[1] == 1:
            arrays["tensor"] = Lazy((tensor.shape[0], *tensor.shape[2:]), lambda k: tensor[k][0])
            arrays.pop("t-coordinate", None)
            mapped = {"solution": "tensor", "permeability": "nu"}
        else:
            mapped = {"solution": "tensor"}
        states = "tensor"
    else:
        parts = [k for k in ("Vx", "Vy", "Vz") if k in arrays]
        mapped = {"velocity": "+".join(parts) if len(parts) > 1 else "Vx"}
        states = "Vx"
    times = arrays.get("t-coordinate")
    if times is not None:
        arrays["t-coordinate"] = _trimmed(times, "t-coordinate", arrays[states].shape, path)
    return arrays, mapped, {}


def _trimmed(times: Any, key: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    values = number_array(times, key, Provenance(str(path)))
    if values.ndim == 1 and len(shape) > 1 and len(values) == shape[1] + 1:
        logger.info(
            "%s: %s has %d entries for %d states; the last is left out", path, key, len(values), shape[1]
        )
        return values[:-1]
    return values


def _seeded(file: Any, path: Path, options: ReadOptions) -> _Parts:
    groups = list(file)
    first = file[groups[0]]
    place = str(path)
    grid = {
        name: number_array(first["grid"][name], f"{groups[0]}/grid/{name}", Provenance(place))
        for name in first["grid"]
    }
    for number, name in enumerate(groups):
        group = file[name]
        if "data" not in group or "grid" not in group:
            raise InputError(
                f"group {name} has no data or no grid, as {groups[0]} has", Provenance(place, number)
            )
        if group["data"].shape != first["data"].shape:
            raise InputError(
                f"{name}/data has shape {list(group['data'].shape)}, but {groups[0]}/data {list(first['data'].shape)}",
                Provenance(place, number),
            )
        for axis, values in grid.items():
            if axis not in group["grid"] or not np.array_equal(group["grid"][axis][()], values):
                raise InputError(
                    f"{name}/grid/{axis} differs from that of {groups[0]}", Provenance(place, number)
                )
    shape = first["data"].shape
    dims = len([d for d in "xyz" if d in grid])
    if len(shape) != dims + 2 or "t" not in grid:
        raise InputError(
            f"{groups[0]}/data has shape {list(shape)} on a grid of {', '.join(grid) or 'nothing'}, expected [T, nx, ..., C] on "
            "t, x, ...",
            place,
        )
    channels = shape[-1]
    lead = (len(groups), *shape[:-1])
    arrays: dict[str, Any] = dict(grid)
    names = ["data"] if channels == 1 else [f"data{c}" for c in range(channels)]
    for c, name in enumerate(names):
        arrays[name] = Lazy(lead, partial(_channel, file, groups, c))
    if channels == 1:
        return arrays, {"solution": "data"}, {}
    mapped = set(options.map.values())
    own = {n: Quantity(n, "0e", "node", "field", "channel of PDEBench") for n in names if n not in mapped}
    if own:
        logger.warning(
            "%s: the %d channels of data are kept as %s; to train on them, name what they are, e.g. --map concentration=%s",
            path, channels, ", ".join(own), names[0],
        )  # fmt: skip
    return arrays, {}, own


def _channel(file: Any, groups: list[str], c: int, k: int) -> np.ndarray:
    return file[groups[k]]["data"][..., c]


def _incompressible(file: Any, path: Path, options: ReadOptions) -> _Parts:
    arrays: dict[str, Any] = {k: v for k, v in file.items() if hasattr(v, "shape")}
    shape = arrays["velocity"].shape
    if len(shape) != 5 or shape[-1] != 2:
        raise InputError(f"'velocity' has shape {list(shape)}, expected [K, T, nx, ny, 2]", str(path))
    if "spacing" not in options.map:
        logger.info("%s: there are no coordinates: the unit square of PDEBench", path)
        arrays["x"], arrays["y"] = ((np.arange(n) + 0.5) / n for n in shape[2:4])
    mapped = {"concentration": "particles"}
    own = {}
    if "force" in arrays and "force" not in options.map.values():
        own = {"force": Quantity("force", "1o", "node", "field", "body force")}
    return arrays, mapped, own

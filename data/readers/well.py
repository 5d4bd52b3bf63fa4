"""The Well's HDF5 layout: one record per trajectory, with fields, scalars and boundary conditions.

Format: ``docs/data_format.md`` of github.com/PolymathicAI/the_well (Ohana et al., NeurIPS 2024). What becomes what:

=========================  ====================================================================================
``t0/t1/t2_fields``        quantities under the vocabulary's name where they have it (``velocity``, ...) or by ``--map``,
                           else under their own: scalars ``0e``, vectors ``1o``, tensors ``0e+2e`` if symmetric, else
                           ``0e+1e+2e``. Axes that ``dim_varying`` leaves out are filled in
``scalars``                the condition of that name (``viscosity``, ...), else a scalar of the graph; ``[T]`` if it varies
``dimensions``             points and ``times``; axes of any spacing; on a sphere (``theta``, ``phi``, perhaps ``r``) points
                           and vectors are turned into Cartesian ones
``boundary_conditions``    ``periodic``: the cell; ``wall`` and ``open``: nodes of type wall and outlet where the mask says
                           so; ``values``: a scalar of the nodes under the condition's name, zero elsewhere
=========================  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.quantities import CONDITIONS, VOCABULARY, Quantity

from .attributes import attribute, flag, flags, path_of, text_of, texts, whole
from .fields import number_array, three_components
from .frame import Frame, field_graph, grid_frame
from .grid import axis_of
from .labels import logger, missing_target
from .options import Outcomes, ReadOptions, attempt
from .sphere import is_sphere, on_sphere, turned
from .walls import Walls

_GROUPS = ("t0_fields", "t1_fields", "t2_fields")
_SLACK = 1e-5
"""Largest skew part of a tensor, relative to its largest entry, that still counts as symmetric."""


def is_well(file: Any) -> bool:
    """Whether an open HDF5 file has this layout."""
    return "dimensions" in file and any(group in file for group in _GROUPS)


@dataclass(frozen=True)
class _Field:
    """One array of a file: where it varies, and as what it is kept."""

    data: Any
    order: int
    name: str
    definition: Quantity
    per_sample: bool
    timed: bool
    varying: tuple[bool, ...]


@dataclass(frozen=True)
class _Header:
    """What the root of a file says."""

    path: Path
    dataset: str
    dims: tuple[str, ...]
    num_trajectories: int
    times: Any
    sphere: bool


def read_well(file: Any, path: Path, options: ReadOptions) -> Outcomes:
    """All trajectories of an open file."""
    header = _header(file, path)
    fields = list(_fields(file, header, options))
    names = [f.name for f in fields]
    missing = [t for t in options.targets if t not in names]
    if missing:
        raise InputError(missing_target(missing, [path_of(f.data) for f in fields], options), str(path))
    if not fields:
        raise InputError(f"there are no fields in {', '.join(_GROUPS)}", str(path))
    own = [f"{f.name} ({f.definition.irreps})" for f in fields if f.name not in VOCABULARY]
    if own:
        logger.info("%s: kept under their own names: %s", path, ", ".join(own))
    frames: dict[tuple[bytes, ...], tuple[Frame, list[np.ndarray]]] = {}
    for k in range(header.num_trajectories):
        where = Provenance(str(path), k)
        yield attempt(where, partial(_trajectory, file, header, fields, frames, k, options, where))


# ---------------------------------------------------------------- header
def _header(file: Any, path: Path) -> _Header:
    place = str(path)
    dimensions = file["dimensions"]
    dims = tuple(texts(attribute(dimensions, "spatial_dims", place)))
    count = whole(attribute(file, "n_spatial_dims", place), "n_spatial_dims", place)
    if len(dims) != count or not 1 <= count <= 3:
        raise InputError(
            f"n_spatial_dims is {count} and spatial_dims is {list(dims)}, expected 1 to 3 names", place
        )
    for name in ("time", *dims):
        if name not in dimensions:
            raise InputError(f"dimensions/{name} is not there; found {', '.join(dimensions)}", place)
        if name != "time" and flag(dimensions[name], "time_varying", place):
            raise InputError(f"dimensions/{name} varies in time, which is not supported", place)
    number = whole(attribute(file, "n_trajectories", place), "n_trajectories", place)
    if number < 1:
        raise InputError(f"n_trajectories is {number}, expected 1 or more", place)
    grid = str(text_of(file.attrs.get("grid_type", "cartesian"))).lower()
    sphere = is_sphere(dims)
    if sphere:
        logger.warning(
            "%s: %s are turned into Cartesian coordinates; vectors are taken as components along the unit vectors of %s",
            path, ", ".join(dims), ", ".join(dims),
        )  # fmt: skip
    elif grid not in ("cartesian", "uniform"):
        raise InputError(
            f"grid_type is {grid!r} with the axes {', '.join(dims)}, expected cartesian, or a sphere with the axes theta, phi "
            "(and r)",
            place,
        )
    dataset = str(text_of(file.attrs.get("dataset_name", ""))) or path.stem
    return _Header(path, dataset, dims, number, dimensions["time"], sphere)


def _fields(file: Any, header: _Header, options: ReadOptions) -> Iterator[_Field]:
    place = str(header.path)
    renamed = {
        key: name for name, key in options.map.items() if name in VOCABULARY or name in options.targets
    }
    found: dict[str, str] = {}
    for order, group in enumerate(_GROUPS):
        if group not in file:
            continue
        listed = texts(file[group].attrs.get("field_names", list(file[group])))
        unlisted = [n for n in file[group] if n not in listed]
        if unlisted:
            logger.warning("%s: %s/%s is not in field_names and is not read", header.path, group, unlisted[0])
        for key in listed:
            if key not in file[group]:
                raise InputError(
                    f"{group}/{key} is in field_names, but not there; found {', '.join(file[group])}", place
                )
            data = file[group][key]
            name = renamed.pop(key, key)
            if name in found:
                raise InputError(
                    f"{found[name]} and {group}/{key} are both {name}; name one with --map", place
                )
            found[name] = f"{group}/{key}"
            varying = flags(data, "dim_varying", len(header.dims), place)
            symmetric = order < 2 or bool(data.attrs.get("symmetric", False))
            irreps = ("0e", "1o", "0e+2e" if symmetric else "0e+1e+2e")[order]
            known = VOCABULARY.get(name)
            if known is not None and known.support == "node" and _fits(known, order, len(header.dims)):
                definition = known
            elif known is not None and key != name:
                raise InputError(
                    f"{group}/{key} (for {name}) has tensor order {order}, which {name} has not", place
                )
            else:
                name = f"{name} field" if known is not None else name
                definition = Quantity(name, irreps, "node", "field", "field of The Well")
            field = _Field(
                data, order, name, definition, flag(data, "sample_varying", place), flag(data, "time_varying", place), varying
            )  # fmt: skip
            _check_shape(field, file, header)
            yield field
    lost = [key for key, name in renamed.items() if name in VOCABULARY]
    if lost:
        held = ", ".join(found.values()) or "none"
        raise InputError(
            f"field {lost[0]!r} (for {renamed[lost[0]]}) is not in the file; fields: {held}", place
        )


def _fits(q: Quantity, order: int, dims: int) -> bool:
    """Whether a field of this tensor order can be ``q``; a plane's axial vector may be a scalar."""
    return len(q.shape) == order or (q.irreps == "1e" and order == 0 and dims == 2)


def _expected(field: _Field, file: Any, header: _Header) -> tuple[int, ...]:
    lead: tuple[int, ...] = ()
    if field.per_sample:
        lead += (header.num_trajectories,)
    if field.timed:
        lead += (int(header.times.shape[-1]),)
    space = tuple(
        int(file["dimensions"][d].shape[-1])
        for d, there in zip(header.dims, field.varying, strict=True)
        if there
    )
    return (*lead, *space, *(len(header.dims),) * field.order)


def _check_shape(field: _Field, file: Any, header: _Header) -> None:
    expected, shape = _expected(field, file, header), tuple(field.data.shape)
    flat = (*expected[:-2], expected[-1] ** 2) if field.order == 2 else expected
    if shape not in (expected, flat):
        raise InputError(
            f"{path_of(field.data)} has shape {list(shape)}, expected {list(expected)} by its attributes sample_varying, "
            "time_varying and dim_varying",
            str(header.path),
        )


# ---------------------------------------------------------------- one trajectory
def _trajectory(
    file: Any, header: _Header, fields: list[_Field], frames: dict[tuple[bytes, ...], tuple[Frame, list[np.ndarray]]],
    k: int, options: ReadOptions, where: Provenance,
) -> Graph:  # fmt: skip
    times = number_array(header.times, "dimensions/time", where).astype(np.float64)
    times = times[k] if times.ndim == 2 and k < len(times) else times
    if times.ndim != 1 or not len(times) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise InputError(
            "dimensions/time does not increase from one entry to the next, expected increasing times", where
        )
    axes = [_axis(file["dimensions"][d], d, k, where) for d in header.dims]
    walls = Walls(file, header.dims, header.num_trajectories, axes, k, where)
    key = (*(a.tobytes() for a in axes), bytes(walls.periodic))
    if key not in frames:
        frames[key] = (
            on_sphere(axes, header.dims) if header.sphere else grid_frame(axes, walls.periodic),
            axes,
        )
    frame = frames[key][0]
    timed = any(f.timed for f in fields)
    quantities = {}
    definitions = {f.name: f.definition for f in fields if f.name not in VOCABULARY}
    for field in fields:
        values = _values(field, header, frame, k, len(times), where)
        if header.sphere and field.order:
            values = turned(values, axes, header.dims, field.order)
        quantities[field.name] = torch.from_numpy(np.require(values, requirements=["C", "W"]))
    conditions = _scalars(file, header, k, len(times), options, quantities, definitions, where)
    for name, values in walls.values.items():
        definitions[name] = Quantity(name, "0e", "node", "field", "values of a boundary condition")
        quantities[name] = torch.from_numpy(values)
    return field_graph(
        frame, quantities, where, times=times if timed else None, conditions=conditions, properties=definitions,
        node_type=walls.node_type, level=options.level or header.dataset, dataset=header.dataset,
        group=f"{header.path.stem}/{k}",
    )  # fmt: skip


def _axis(data: Any, name: str, k: int, where: Provenance) -> np.ndarray:
    values = number_array(data, f"dimensions/{name}", where).astype(np.float64)
    if values.ndim == 2 and k < len(values):
        values = values[k]
    return axis_of(values, f"dimensions/{name}", 0, 1, Path(where.file))


def _values(
    field: _Field, header: _Header, frame: Frame, k: int, num_times: int, where: Provenance
) -> np.ndarray:
    """``[T, N, ...]`` or ``[N, ...]``, Cartesian components as in the file but padded to three."""
    key, dims = path_of(field.data), len(header.dims)
    array = number_array(field.data, key, where, k if field.per_sample else None)
    array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = f"at time {bad[0][0]}" if field.timed else f"at {bad[0].tolist()}"
        raise InputError(f"{key} is not finite {place} ({len(bad)} such numbers), expected numbers", where)
    lead = (num_times,) if field.timed else ()
    components = (dims,) * field.order
    sizes = [n if there else 1 for n, there in zip(frame.shape, field.varying, strict=True)]
    array = array.reshape(*lead, *sizes, *components)
    array = np.broadcast_to(array, (*lead, *frame.shape, *components)).reshape(*lead, -1, *components)
    if field.order == 2 and field.definition.irreps == "0e+2e":
        skew = float(np.abs(array - np.swapaxes(array, -1, -2)).max())
        if skew > _SLACK * float(np.abs(array).max()):
            raise InputError(
                f"{key} is declared symmetric, but differs from its transpose by {skew:.3g}", where
            )
    return three_components(array, field.definition, components)


def _scalars(
    file: Any, header: _Header, k: int, num_times: int, options: ReadOptions, quantities: dict[str, torch.Tensor],
    definitions: dict[str, Quantity], where: Provenance,
) -> dict[str, float]:  # fmt: skip
    """Conditions; scalars that are none go to ``quantities``, under a name that no field has."""
    conditions: dict[str, float] = {}
    group = file.get("scalars", {})
    renamed = {key: name for name, key in options.map.items() if name in CONDITIONS}
    names = texts(group.attrs.get("field_names", list(group))) if "scalars" in file else []
    for name in renamed:
        if name not in names:
            try:
                conditions[renamed[name]] = float(name)
            except ValueError:
                raise InputError(
                    f"scalar {name!r} (for {renamed[name]}) is not in the file; scalars: {', '.join(names) or 'none'}",
                    where,
                ) from None
    for name in names:
        if name not in group:
            raise InputError(f"scalars/{name} is in field_names, but not there", where)
        value = number_array(group[name], f"scalars/{name}", where).astype(np.float64)
        if flag(group[name], "sample_varying", str(header.path)):
            if value.ndim == 0 or len(value) != header.num_trajectories:
                raise InputError(
                    f"scalars/{name} has shape {list(value.shape)}, expected {header.num_trajectories} trajectories",
                    where,
                )
            value = value[k]
        timed = flag(group[name], "time_varying", str(header.path))
        value = value.reshape(-1)
        if len(value) != (num_times if timed else 1) or not np.isfinite(value).all():
            raise InputError(
                f"scalars/{name} is {value[:4].tolist()}, expected {num_times if timed else 1} finite numbers",
                where,
            )
        condition = renamed.get(name, name)
        if not timed and condition in CONDITIONS and condition != "dt":
            conditions[condition] = float(value[0])
            continue
        label = name if name not in quantities and name not in VOCABULARY else f"{name} scalar"
        definitions[label] = Quantity(label, "0e", "graph", "field", "scalar of The Well")
        quantities[label] = torch.tensor(value if timed else value[0], dtype=torch.float64)
    return conditions

"""Malformed files of fields: a good file of each format, and everything that we know goes wrong with it.

Each case is one small file (or folder) made from a good one by one change, with what its refusal must say and the record that it
must name.
"""
# ruff: noqa: E501 -- tables, one case a line

from __future__ import annotations

import io
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import meshio
import numpy as np
import scipy.io
import torch
import xarray

from atomfield.data.readers import ReadOptions

from ..samples import pdebench, well

Arrays = dict[str, Any]
T, X, Y = 3, 5, 4


@dataclass(frozen=True)
class Case:
    """``write(path)`` makes it at ``path``, a file called ``name``; reading it must say ``says`` and name ``record``."""

    label: str
    name: str
    write: Callable[[Path], None]
    says: str
    record: int | None = None
    options: ReadOptions = field(default_factory=ReadOptions)


def _grid(**changes: Any) -> Arrays:
    rng = np.random.default_rng(0)
    arrays: Arrays = {
        "x": np.arange(X) * 0.5,
        "y": np.arange(Y) * 0.5,
        "time": np.arange(T) * 0.1,
        "velocity": rng.normal(size=(T, X, Y, 2)),
        "pressure": rng.normal(size=(T, X, Y)),
    }
    return {k: v for k, v in {**arrays, **changes}.items() if v is not None}


def _mesh(**changes: Any) -> Arrays:
    arrays: Arrays = {
        "points": np.array([[0, 0], [1, 0], [1, 1], [0, 1], [2, 0], [2, 1]], dtype=float),
        "cells": np.array([[0, 1, 2, 3], [1, 4, 5, 2]]),
        "time": np.arange(3.0),
        "pressure": np.ones((3, 6)),
    }
    return {k: v for k, v in {**arrays, **changes}.items() if v is not None}


def _nan(shape: tuple[int, ...], place: tuple[int, ...]) -> np.ndarray:
    values = np.ones(shape)
    values[place] = np.nan
    return values


# ---------------------------------------------------------------- arrays by name: npz, HDF5, .mat and .pt share their checks
def _save_npz(path: Path, arrays: Arrays) -> None:
    np.savez(path, **arrays)


def _save_hdf5(path: Path, arrays: Arrays) -> None:
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[f"group/{name}"] = value


def _save_mat(path: Path, arrays: Arrays) -> None:
    scipy.io.savemat(path, arrays)


def _save_mat73(path: Path, arrays: Arrays) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in arrays.items():
            file[name] = np.asarray(value).T
    with open(path, "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def _save_pt(path: Path, arrays: Arrays) -> None:
    torch.save({k: torch.as_tensor(np.asarray(v)) for k, v in arrays.items()}, path)


_SAVERS: dict[str, tuple[str, Callable[[Path, Arrays], None]]] = {
    "npz": ("flow.npz", _save_npz),
    "HDF5": ("flow.h5", _save_hdf5),
    "MATLAB 5": ("flow.mat", _save_mat),
    "MATLAB 7.3": ("flow73.mat", _save_mat73),
    "PyTorch": ("flow.pt", _save_pt),
}
_GRID_FAULTS: dict[str, tuple[Arrays, str, int | None]] = {
    "NaN in a field": ({"pressure": _nan((T, X, Y), (1, 2, 3))}, "'pressure' is not finite at time 1, node 11", 0),
    "infinite field": ({"pressure": np.full((T, X, Y), np.inf)}, "'pressure' is not finite at time 0, node 0", 0),
    "axes of space in the order y, x": ({"pressure": np.ones((T, Y, X))}, "the axes of space are in the order x, y", None),
    "one point too many": ({"pressure": np.ones((T, X + 1, Y))}, "'pressure' has shape [3, 6, 4], expected [3, 5, 4]", None),
    "four components": ({"velocity": np.ones((T, X, Y, 4))}, "'velocity' has shape [3, 5, 4, 4], expected [3, 5, 4, 3]", None),
    "times that stand still": ({"time": np.zeros(T)}, "'time' does not increase", None),
    "times that are NaN": ({"time": np.full(T, np.nan)}, "'time' does not increase", None),
    "a falling axis": ({"x": np.arange(X)[::-1].copy()}, "'x' does not increase", None),
    "a repeated coordinate": ({"y": np.array([0, 1, 1, 2.0])}, "'y' does not increase", None),
    "a coordinate that is NaN": ({"x": np.full(X, np.nan)}, "'x' does not increase", None),
    "no coordinates": ({"x": None, "y": None}, "there are neither coordinates x, y, z nor spacing nor points", None),
    "y without x": ({"x": None}, "axes are y, expected x, or x and y", None),
    "no quantity": ({"velocity": None, "pressure": None}, "no array has the name of a field quantity; arrays: ", None),
    "two viscosities": ({"viscosity": np.array([1.0, 2.0])}, "'viscosity' has 2 numbers, expected 1 or 1", 0),
    "viscosity that is NaN": ({"viscosity": np.nan}, "'viscosity' is nan, expected a finite number", 0),
    "flags of three axes": ({"periodic": np.array([1, 0, 1])}, "'periodic' is [1, 0, 1], expected 2 flags", None),
    "flags that are no flags": ({"periodic": np.array([2.0, 0.5])}, "expected 2 flags (0 or 1)", None),
    "a node type that is none": ({"node_type": np.full((X, Y), 7)}, "node_type has 20 entries of [7]", 0),
}  # fmt: skip


def _of_arrays() -> Iterator[Case]:
    for format_, (name, save) in _SAVERS.items():
        for fault, (changes, says, record) in _GRID_FAULTS.items():
            if format_ in ("PyTorch", "MATLAB 7.3") and fault not in list(_GRID_FAULTS)[:5]:
                continue  # the same code from here on
            if format_.startswith("MATLAB") and fault == "axes of space in the order y, x":
                continue
            arrays = _grid(**changes)
            yield Case(f"{format_}: {fault}", name, lambda p, a=arrays, s=save: s(p, a), says, record)


def _of_contents() -> Iterator[Case]:
    """Files that are not what their suffix says, cut short, or hold what is not read."""
    small = {"pressure": np.ones(4), "x": np.arange(4.0)}
    whole: dict[str, bytes] = {}
    buffer = io.BytesIO()
    np.savez(buffer, **small)
    whole["a.npz"] = buffer.getvalue()
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, _grid(), format="5")
    whole["a.mat"] = buffer.getvalue()
    buffer = io.BytesIO()
    torch.save({"x": torch.ones(4)}, buffer)
    whole["a.pt"] = buffer.getvalue()
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["pressure"] = np.ones(40)
    whole["a.h5"] = buffer.getvalue()
    kinds = {"a.npz": "npz file", "a.mat": "MATLAB file", "a.pt": "PyTorch file", "a.h5": "HDF5 file"}
    for name, content in whole.items():
        is_no = f"is not an {kinds[name]}" if name[2] in "nh" else f"is not a {kinds[name]}"
        for part in (0.02, 0.3, 0.6, 0.95):
            cut = content[: int(len(content) * part)]
            yield Case(f"{name} cut at {part:.0%}", name, lambda p, b=cut: p.write_bytes(b) and None, is_no)
        yield Case(
            f"{name} of noise",
            name,
            lambda p: p.write_bytes(np.random.default_rng(1).bytes(500)) and None,
            is_no,
        )
        yield Case(f"{name} of text", name, lambda p: p.write_text("velocity 1 2 3\n" * 20) and None, is_no)
    for name in (*whole, "a.nc", "a.vtu", "a.vtk", "a.xdmf", "a.msh", "a.zarr", "a.csv"):
        yield Case(
            f"{name} empty",
            name,
            lambda p: p.write_bytes(b"") and None,
            "the file is empty",
            options=_series(),
        )
    objects = np.array([{}, 1], dtype=object)
    yield Case(
        "npz with objects",
        "a.npz",
        lambda p: np.savez(p, x=np.arange(2.0), pressure=objects),
        "holds Python objects",
    )
    yield Case(
        "PyTorch with objects",
        "a.pt",
        lambda p: torch.save({"x": Path("x")}, p),
        "holds Python objects other than tensors",
    )
    yield Case(
        "PyTorch without tensors",
        "a.pt",
        lambda p: torch.save({"name": "text"}, p),
        "the file holds no tensors",
    )
    sparse = torch.eye(4).to_sparse()
    yield Case(
        "PyTorch sparse",
        "a.pt",
        lambda p: torch.save({"pressure": sparse}, p),
        "tensor 'pressure' is torch.sparse_coo",
    )
    pairs = {"x": torch.ones(2, 4, 4), "y": torch.ones(2, 4, 4)}
    yield Case(
        "PyTorch pairs without names",
        "a.pt",
        lambda p: torch.save(pairs, p),
        "but not what they are; name them",
    )
    yield Case(
        "PyTorch bare tensor",
        "a.pt",
        lambda p: torch.save(torch.ones(3), p),
        "no array has the name",
        options=_spaced(),
    )
    yield Case(
        "MATLAB of text",
        "b.mat",
        lambda p: scipy.io.savemat(p, {"name": "flow"}),
        "holds no arrays of numbers",
    )
    yield Case(
        "MATLAB complex",
        "b.mat",
        lambda p: scipy.io.savemat(p, _grid(pressure=np.ones((T, X, Y)) * 1j)),
        "'pressure' is complex",
        0,
    )
    square = {"x": np.arange(5.0), "t": np.arange(5.0), "solution": np.ones((5, 5))}
    yield Case("MATLAB square", "b.mat", lambda p: scipy.io.savemat(p, square), "as many times as points")
    yield Case("HDF5 without arrays", "b.h5", lambda p: h5py.File(p, "w").close(), "the file holds no arrays")
    text = _grid(pressure=np.full((T, X, Y), "a"))
    yield Case(
        "npz of text", "b.npz", lambda p: np.savez(p, **text), "'pressure' holds <U1, expected numbers", 0
    )


def _series() -> ReadOptions:
    return ReadOptions(map={"time": "t"})


def _spaced() -> ReadOptions:
    return ReadOptions(map={"spacing": "0.5"})


# ---------------------------------------------------------------- options that do not fit the file
def _of_options() -> Iterator[Case]:
    def case(label: str, says: str, record: int | None = None, **options: Any) -> Case:
        return Case(
            f"option: {label}",
            "o.npz",
            lambda p: np.savez(p, **_grid()),
            says,
            record,
            ReadOptions(**options),
        )

    yield case(
        "target that is not there",
        "target 'temperature' is not in the file; keys found: x, y",
        targets=("temperature",),
    )
    yield case("target of no field", "target 'energy' is not in the file", targets=("energy",))
    yield case("map to nothing", "array 'u' (for velocity) is not in the file", map={"velocity": "u"})
    yield case(
        "components of two shapes",
        "components 'pressure+velocity' have different shapes",
        map={"velocity": "pressure+velocity"},
    )
    yield case("axis that is not there", "array 'lon' (for x) is not in the file", map={"x": "lon"})
    yield case("time that is not there", "array 'when' (for time) is not in the file", map={"time": "when"})
    yield case(
        "viscosity that is no number",
        "'nu' (for viscosity) is neither an array of the file nor a number",
        map={"viscosity": "nu"},
    )
    yield case(
        "cells of nothing",
        "array 'tri' (for cells) is not in the file",
        map={"points": "velocity", "cells": "tri"},
    )


# ---------------------------------------------------------------- meshes and points in npz
def _of_meshes() -> Iterator[Case]:
    faults: dict[str, tuple[Arrays, str, int | None]] = {
        "four coordinates": ({"points": np.ones((6, 4))}, "points have shape [6, 4], expected [N, 2] or [N, 3]", None),
        "a point that is NaN": ({"points": np.full((6, 2), np.nan)}, "point 0 is [nan, nan]", None),
        "a node that is not there": ({"cells": np.array([[0, 1, 9]])}, "cells name nodes 0 to 9, expected 0 to 5", None),
        "a negative node": ({"cells": np.array([[0, 1, -2]])}, "cells name nodes -2 to 1", None),
        "cells of floats": ({"cells": np.array([[0.0, 1, 2]])}, "expected integers [C, corners]", None),
        "cells without corners": ({"cells": np.zeros((2, 1), int)}, "expected integers [C, corners]", None),
        "cells of five corners": ({"cells": np.array([[0, 1, 2, 3, 4]])}, "cells have 5 corners", None),
        "a node in no cell": ({"cells": np.array([[0, 1, 2]])}, "node 3 is in no cell (3 such nodes)", None),
        "two nodes in one place": ({"points": np.array([[0, 0], [0, 0], [1, 1], [0, 1], [2, 0], [2, 1.0]])},
                                   "points 0 and 1 lie on top of each other", None),
        "all points in one place": ({"points": np.zeros((6, 2)), "cells": None}, "points lie on top of each other", None),
        "values of five nodes": ({"pressure": np.ones((3, 5))}, "'pressure' has shape [3, 5], expected [3, 6]", None),
        "NaN": ({"pressure": _nan((3, 6), (2, 4))}, "'pressure' is not finite at time 2, node 4", 0),
        "types of five nodes": ({"node_type": np.ones(5, int)}, "node_type has 5 entries", 0),
        "no volume": ({"volume": np.zeros(6)}, "volume has shape [6], expected [6] of positive numbers", None),
        "one point": ({"points": np.ones((1, 2)), "cells": None, "pressure": np.ones((3, 1))}, "with N > 1", None),
        "a normal of four": ({"normal": np.ones((6, 4))}, "'normal' has shape [6, 4]", None),
    }  # fmt: skip
    for fault, (changes, says, record) in faults.items():
        yield Case(f"mesh: {fault}", "m.npz", lambda p, c=changes: np.savez(p, **_mesh(**c)), says, record)


# ---------------------------------------------------------------- The Well and PDEBench
def _edited(write: Callable[[Path], Any], change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write(path)
        with h5py.File(path, "a") as file:
            change(file)

    return make


def _put(file: Any, name: str, value: Any, place: Any = ...) -> None:
    file[name][place] = value


def _swap(file: Any, name: str, value: Any) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    file[name] = value
    file[name].attrs.update(attributes)


def _of_well() -> Iterator[Case]:
    density, wall = "t0_fields/density", "boundary_conditions/y_wall"
    nan = np.nan
    faults: dict[str, tuple[Callable[[Any], Any], str, int | None]] = {
        "no dimensions named": (lambda f: f["dimensions"].attrs.pop("spatial_dims"), "has no attribute spatial_dims", None),
        "three dimensions said": (lambda f: f.attrs.update(n_spatial_dims=3), "n_spatial_dims is 3 and spatial_dims is ['x', 'y']", None),
        "dimensions as text": (lambda f: f.attrs.update(n_spatial_dims="two"), "attribute n_spatial_dims is 'two', expected a whole number", None),
        "no number of trajectories": (lambda f: f.attrs.pop("n_trajectories"), "has no attribute n_trajectories", None),
        "minus one trajectories": (lambda f: f.attrs.update(n_trajectories=-1), "n_trajectories is -1", None),
        "three trajectories said": (lambda f: f.attrs.update(n_trajectories=3), "expected [3, 3, 4, 5] by its attributes", None),
        "no axis": (lambda f: f.pop("dimensions/y"), "dimensions/y is not there; found time, x", None),
        "axis of one point": (lambda f: _swap(f, "dimensions/x", np.zeros(1)), "t0_fields/density has shape [2, 3, 4, 5]", None),
        "axis that moves": (lambda f: f["dimensions/x"].attrs.update(time_varying=True), "dimensions/x varies in time", None),
        "axis that is NaN": (lambda f: _put(f, "dimensions/x", nan, 1), "'dimensions/x' does not increase", 0),
        "time that falls": (lambda f: _put(f, "dimensions/time", [2, 1, 0]), "dimensions/time does not increase", 0),
        "a grid of its own": (lambda f: f.attrs.update(grid_type="toroidal"), "grid_type is 'toroidal'", None),
        "field that is not there": (lambda f: f.pop(density), "t0_fields/density is in field_names, but not there", None),
        "field without flags": (lambda f: f[density].attrs.pop("dim_varying"), "has no attribute dim_varying", None),
        "flag that is text": (lambda f: f[density].attrs.update(time_varying="yes"), "attribute time_varying of t0_fields/density is 'yes'", None),
        "flags of one axis": (lambda f: f[density].attrs.update(dim_varying=[True]), "expected 2 flags", None),
        "field that is static": (lambda f: f[density].attrs.update(time_varying=False), "has shape [2, 3, 4, 5], expected [2, 4, 5]", None),
        "NaN in the second trajectory": (lambda f: _put(f, density, nan, (1, 1, 2, 3)), "t0_fields/density is not finite at time 1", 1),
        "vector of three components": (lambda f: _swap(f, "t1_fields/velocity", np.ones((2, 3, 4, 5, 3))), "expected [2, 3, 4, 5, 2]", None),
        "field of text": (lambda f: _swap(f, "t0_fields/mask_field", np.full((4, 5), b"a")), "'t0_fields/mask_field' holds", 0),
        "tensor that is not symmetric": (lambda f: f["t2_fields/gradient"].attrs.update(symmetric=True), "is declared symmetric", 0),
        "scalar of two numbers": (lambda f: _swap(f, "scalars/Mach", [1.0, 2.0]), "scalars/Mach is [1.0, 2.0], expected 1 finite", 0),
        "scalar that is not there": (lambda f: f.pop("scalars/Mach"), "scalars/Mach is in field_names, but not there", 0),
        "scalar that is NaN": (lambda f: _put(f, "scalars/viscosity", nan, 1), "scalars/viscosity is [nan]", 1),
        "scalars of three trajectories": (lambda f: _swap(f, "scalars/viscosity", np.ones(3)), "scalars/viscosity has shape [3]", 0),
        "forcing at four times": (lambda f: _swap(f, "scalars/forcing", np.ones(4)), "expected 3 finite numbers", 0),
        "unknown boundary": (lambda f: f[wall].attrs.update(bc_type="slip"), "has bc_type 'slip', expected one of periodic", 0),
        "boundary without kind": (lambda f: f[wall].attrs.pop("bc_type"), "/boundary_conditions/y_wall has no attribute bc_type", 0),
        "boundary of no axis": (lambda f: f[wall].attrs.update(associated_dims=["z"]), "is about ['z'], expected some of x, y", 0),
        "boundary without mask": (lambda f: f.pop(f"{wall}/mask"), "boundary_conditions/y_wall has no mask", 0),
        "mask of x on y": (lambda f: _swap(f, f"{wall}/mask", np.ones(4, bool)), "mask has shape [4], expected [5]", 0),
        "values beside the mask": (lambda f: _swap(f, f"{wall}/values", np.ones(3)), "values has shape [3], expected [2] finite", 0),
        "boundary that moves": (lambda f: f[wall].attrs.update(time_varying=True), "varies in time, which is not supported", 0),
    }  # fmt: skip
    for fault, (change, says, record) in faults.items():
        yield Case(f"The Well: {fault}", "w.hdf5", _edited(well.write_well, change), says, record)
    options = ReadOptions(map={"velocity": "momentum"})
    yield Case(
        "The Well: map to nothing",
        "w.h5",
        lambda p: well.write_well(p) and None,
        "field 'momentum' (for velocity) is not",
        None,
        options,
    )
    options = ReadOptions(map={"temperature": "velocity"})
    yield Case(
        "The Well: a vector as a temperature",
        "w.h5",
        lambda p: well.write_well(p) and None,
        "has tensor order 1",
        None,
        options,
    )


def _of_pdebench() -> Iterator[Case]:
    def case(
        label: str,
        write: Callable[[Path], Any],
        change: Callable[[Any], Any],
        says: str,
        record: int | None = None,
    ) -> Case:
        return Case(f"PDEBench: {label}", "p_periodic_.h5", _edited(write, change), says, record)

    def flow(path: Path) -> Any:
        return pdebench.write_flow(path, 2)

    def seeds(path: Path) -> Any:
        return pdebench.write_seeded(path, 1)

    yield case(
        "times of another run",
        pdebench.write_scalar,
        lambda f: _swap(f, "t-coordinate", np.arange(9.0)),
        "'tensor' has shape [3, 4, 6], expected [9, 6]",
    )
    yield case(
        "no x",
        pdebench.write_scalar,
        lambda f: f.pop("x-coordinate"),
        "there are neither coordinates x, y, z nor spacing",
    )
    yield case(
        "NaN",
        pdebench.write_scalar,
        lambda f: _put(f, "tensor", np.nan, (2, 1, 0)),
        "'tensor' is not finite at time 1, node 0",
        2,
    )
    yield case(
        "NaN at the last time",
        flow,
        lambda f: _put(f, "Vy", np.nan, (1, 3, 0, 0)),
        "'Vx+Vy' is not finite at time 3, node 0",
        1,
    )
    yield case(
        "densities of two runs",
        flow,
        lambda f: _swap(f, "density", np.ones((2, 4, 6, 5))),
        "disagree on the number of trajectories: [2, 3]",
    )
    yield case(
        "velocity on another grid",
        flow,
        lambda f: _swap(f, "Vy", np.ones((3, 4, 6, 6))),
        "components 'Vx+Vy' have different shapes",
    )
    yield case(
        "x that falls",
        flow,
        lambda f: _put(f, "x-coordinate", np.arange(6)[::-1]),
        "'x-coordinate' does not increase",
    )
    yield case(
        "permeability of another set",
        pdebench.write_darcy,
        lambda f: _swap(f, "nu", np.ones((2, 6, 5))),
        "disagree on the number",
    )
    yield case(
        "permeability that is NaN",
        pdebench.write_darcy,
        lambda f: _put(f, "nu", np.nan, (1, 2, 0)),
        "'nu' is not finite at node 10",
        1,
    )
    yield case(
        "seed without data",
        seeds,
        lambda f: f.pop("0001/data"),
        "group 0001 has no data or no grid, as 0000 has",
        1,
    )
    yield case(
        "seed of another shape",
        seeds,
        lambda f: _swap(f, "0002/data", np.ones((4, 6, 6, 1))),
        "0002/data has shape [4, 6, 6, 1]",
        2,
    )
    yield case(
        "seed on another grid",
        seeds,
        lambda f: _put(f, "0001/grid/y", 9.0, 0),
        "0001/grid/y differs from that of 0000",
        1,
    )
    yield case(
        "seed with NaN",
        seeds,
        lambda f: _put(f, "0002/data", np.nan, (1, 0, 0, 0)),
        "'data' is not finite at time 1, node 0",
        2,
    )
    yield case(
        "grid without t",
        seeds,
        lambda f: [f.pop(f"{k:04d}/grid/t") for k in range(3)],
        "on a grid of x, y, expected [T, nx, ..., C]",
    )
    yield case(
        "flow in three components",
        pdebench.write_incompressible,
        lambda f: _swap(f, "velocity", np.ones((3, 4, 6, 5, 3))),
        "'velocity' has shape [3, 4, 6, 5, 3], expected [K, T, nx, ny, 2]",
    )
    yield case(
        "particles of another run",
        pdebench.write_incompressible,
        lambda f: _swap(f, "particles", np.ones((3, 4, 6, 6, 1))),
        "'particles' has shape [3, 4, 6, 6, 1]",
    )


# ---------------------------------------------------------------- NetCDF and Zarr
def _dataset(values: Any = None, dims: tuple[str, ...] = ("time", "y", "x"), **coordinates: Any) -> Any:
    shape = (T, Y, X)[: len(dims)]
    known: Arrays = {"time": np.arange(T) * 1.0, "y": np.arange(Y) * 1.0, "x": np.arange(X) * 1.0}
    held = {k: v for k, v in {**known, **coordinates}.items() if v is not None}
    return xarray.Dataset({"temperature": (dims, np.ones(shape) if values is None else values)}, coords=held)


def _of_netcdf() -> Iterator[Case]:
    faults: dict[str, tuple[Any, str, int | None, dict[str, str]]] = {
        "times that stand still": (_dataset(time=np.zeros(T)), "'time' does not increase", 0, {}),
        "x that turns back": (_dataset(x=np.array([0, 1, 2, 1, 0.5])), "'x' does not increase", None, {}),
        "x that is NaN": (_dataset(x=np.full(X, np.nan)), "coordinate 'x' has values that are not finite", None, {}),
        "dimensions without meaning": (_dataset(dims=("a", "b", "c"), values=np.ones((2, 3, 4))), "dimensions a, b, c of temperature", None, {}),
        "nothing but missing values": (_dataset(np.full((T, Y, X), np.nan)), "100% of the points have missing values", 0, {}),
        "infinite values": (_dataset(np.full((T, Y, X), np.inf)), "100% of the points have missing values", 0, {}),
        "no quantity": (_dataset().rename(temperature="tt"), "no variable has the name of a field quantity; variables: tt", None, {}),
        "map to nothing": (_dataset(), "variable 'rho' (for density) is not in the file", None, {"density": "rho"}),
        "dimension that is not there": (_dataset(), "'lon' (for x) is not in the file; it has", None, {"x": "lon"}),
        "a variable of text": (_dataset(np.full((T, Y, X), "a")), "variable 'temperature' holds", 0, {}),
        "viscosity of two numbers": (_dataset().assign_attrs(viscosity=[1.0, 2.0]), "'viscosity' has 2 numbers", 0, {}),
        "viscosity that is no number": (_dataset(), "'nu' (for viscosity) is neither an array", 0, {"viscosity": "nu"}),
    }  # fmt: skip
    for fault, (data, says, record, mapped) in faults.items():
        for name in ("n.nc", "n.zarr"):
            if name == "n.zarr" and fault in ("a variable of text", "infinite values", "no quantity"):
                continue
            yield Case(
                f"{name}: {fault}",
                name,
                lambda p, d=data: _save_xarray(d, p),
                says,
                record,
                ReadOptions(map=mapped),
            )
    other = _dataset().assign(pressure=(("time", "y", "z"), np.ones((T, Y, 2))))
    yield Case(
        "NetCDF: variables on two grids",
        "n.nc",
        lambda p: _save_xarray(other, p),
        "variable 'pressure' has the dimensions",
        0,
    )
    for part in (0.1, 0.5, 0.9):
        yield Case(
            f"NetCDF cut at {part:.0%}",
            "c.nc",
            lambda p, x=part: _cut(_dataset(), p, x),
            "is not a NetCDF file",
        )
    yield Case(
        "NetCDF of noise",
        "c.nc",
        lambda p: p.write_bytes(np.random.default_rng(0).bytes(900)) and None,
        "is not a NetCDF file",
    )
    yield Case("Zarr without metadata", "c.zarr", lambda p: p.mkdir(), "is not a Zarr store")
    yield Case("Zarr with broken metadata", "c.zarr", _broken_zarr, "is not a Zarr store")
    yield Case(
        "Zarr with a broken chunk", "c.zarr", _broken_chunk, "variable 'temperature' cannot be read", 0
    )
    yield Case(
        "Zarr in a zip that is none",
        "c.zarr.zip",
        lambda p: p.write_bytes(b"PK noise") and None,
        "is not a Zarr store",
    )


def _save_xarray(data: Any, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's, about metadata that are not consolidated
        data.to_zarr(path) if path.suffix == ".zarr" else data.to_netcdf(path)


def _cut(data: Any, path: Path, part: float) -> None:
    data.to_netcdf(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])


def _broken_zarr(path: Path) -> None:
    _save_xarray(_dataset(), path)
    (path / "zarr.json").write_text("{")


def _broken_chunk(path: Path) -> None:
    _save_xarray(_dataset(np.random.default_rng(0).normal(size=(T, Y, X))), path)
    (chunk,) = (p for p in (path / "temperature" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:9])


# ---------------------------------------------------------------- meshes by meshio
_SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=float)


def _triangles(points: np.ndarray = _SQUARE, cells: Any = ((0, 1, 2), (0, 2, 3)), **data: Any) -> Any:
    held = {"pressure": np.arange(float(len(points))), **data}
    return meshio.Mesh(
        points, [("triangle", np.array(cells))], point_data={k: v for k, v in held.items() if v is not None}
    )


def _of_meshio() -> Iterator[Case]:
    nan = np.array([0, np.nan, 0, 0])
    bare = _triangles(pressure=None)
    cells = meshio.Mesh(_SQUARE, [("triangle", np.array([[0, 1, 2]]))], cell_data={"pressure": [np.ones(1)]})
    faults: dict[str, tuple[Any, str, int | None]] = {
        "no data": (bare, "the mesh has no data", None),
        "NaN": (_triangles(pressure=nan), "'pressure' is not finite at node 1", 0),
        "a point that is NaN": (_triangles(np.where(np.arange(4)[:, None] == 2, np.nan, _SQUARE)), "point 2 is [nan, nan, nan]", None),
        "a node in no cell": (_triangles(cells=[(0, 1, 2)]), "node 3 is in no cell", None),
        "two nodes in one place": (_triangles(_SQUARE[[0, 1, 2, 2]]), "points 2 and 3 lie on top of each other", None),
        "a vector of pressures": (_triangles(pressure=np.ones((4, 3))), "'pressure' has shape [4, 3], expected [4]", None),
        "unknown names": (_triangles(pressure=None, tke=np.ones(4)), "no array has the name of a field quantity; arrays: tke", None),
        "a cell alone": (cells, "cell 0 shares a face with no other", None),
    }  # fmt: skip
    for fault, (mesh, says, record) in faults.items():
        yield Case(f"VTU: {fault}", "v.vtu", lambda p, m=mesh: m.write(p), says, record)
        if fault in ("no data", "NaN", "a node in no cell", "unknown names"):
            yield Case(f"VTK: {fault}", "v.vtk", lambda p, m=mesh: m.write(p), says, record)
            yield Case(
                f"Gmsh: {fault}", "v.msh", lambda p, m=mesh: m.write(p, file_format="gmsh"), says, record
            )
    missing = "is not a mesh that meshio reads"
    for suffix in ("vtu", "vtk", "msh", "xdmf"):
        kind = "gmsh" if suffix == "msh" else None
        for part in (0.2, 0.6):
            yield Case(
                f"{suffix} cut at {part:.0%}",
                f"c.{suffix}",
                lambda p, x=part, k=kind: _cut_mesh(p, x, k),
                missing,
            )
        yield Case(
            f"{suffix} of text", f"c.{suffix}", lambda p: p.write_text("a mesh\n" * 9) and None, missing
        )
    yield Case(
        "VTU that names a node that is not there",
        "v.vtu",
        _wrong_node,
        "cells name nodes 0 to 7, expected 0 to 3",
    )
    yield Case("XDMF whose heavy data are gone", "s.xdmf", _light, missing)
    yield Case(
        "XDMF of times that fall", "s.xdmf", lambda p: _series_of(p, [1.0, 0.0]), "its times do not increase"
    )
    collection = '<VTKFile type="Collection"><Collection>{}</Collection></VTKFile>'
    for label, text, says in (
        ("of nothing", collection.format(""), "lists no DataSet in a Collection"),
        (
            "of a file that is gone",
            collection.format('<DataSet timestep="0" file="x.vtu"/>'),
            "names 'x.vtu', which is not there",
        ),
        (
            "of a time that is none",
            collection.format('<DataSet timestep="now" file="x.vtu"/>'),
            "timestep 'now' of 'x.vtu' is no number",
        ),
        ("that is no XML", "<VTKFile", "is not XML"),
        ("of another kind", "<VTKFile type='ImageData'/>", "lists no DataSet in a Collection"),
    ):
        yield Case(f"PVD {label}", "c.pvd", lambda p, t=text: p.write_text(t) and None, says)
    yield Case(
        "series of two meshes", "series/b_1.vtu", _two_meshes, "its points differ from those of a_0.vtu"
    )
    yield Case("series with a gap", "series/b_1.vtu", _gap, "lacks 'pressure' as a_0.vtu has it")


def _cut_mesh(path: Path, part: float, kind: str | None) -> None:
    _triangles().write(path, file_format=kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])


def _wrong_node(path: Path) -> None:
    meshio.Mesh(
        _SQUARE, [("triangle", np.array([[0, 1, 2], [0, 2, 3]]))], point_data={"pressure": np.ones(4)}
    ).write(path, binary=False)
    path.write_text(path.read_text().replace("\n0\n1\n2\n0\n2\n3\n", "\n0\n1\n7\n0\n2\n3\n", 1))


def _series_of(path: Path, times: list[float]) -> None:
    heavy = path.with_suffix(".h5")
    with meshio.xdmf.TimeSeriesWriter(path) as writer:
        writer.write_points_cells(_SQUARE, [("triangle", np.array([[0, 1, 2], [0, 2, 3]]))])
        for t in times:
            writer.write_data(t, point_data={"pressure": np.ones(4) * t})
    written = Path(heavy.name)
    if written.exists() and written.resolve() != heavy.resolve():
        shutil.move(written, heavy)


def _light(path: Path) -> None:
    _series_of(path, [0.0, 1.0])
    path.with_suffix(".h5").unlink()


def _two_meshes(path: Path) -> None:
    _triangles().write(path.with_name("a_0.vtu"))
    _triangles(_SQUARE * 2).write(path)


def _gap(path: Path) -> None:
    _triangles().write(path.with_name("a_0.vtu"))
    _triangles(pressure=None, temperature=np.ones(4)).write(path)


def _of_tables() -> Iterator[Case]:
    for label, text, says, record in (
        ("times that stand still", "t,a\n1,1\n1,2\n", "'t' is 1 after 1, expected increasing times", 0),
        ("a time of text", "t,a\nnow,1\n", "'t' is 'now', expected a finite number", 0),
        ("NaN", "t,a\n0,nan\n", "'a' is 'nan', expected a finite number", 0),
        ("a row too long", "t,a\n0,1,2\n", "row has 3 cells, expected 2", None),
        ("no rows", "t,a\n", "the table has no rows", None),
        ("no time", "u,a\n0,1\n", "column 't' (for time) is not in the table", None),
        ("a column twice", "t,a,a\n0,1,1\n", "column 'a' is there twice", None),
        ("an open quote", 't,a\n0,"1\n', "is not a table", None),
    ):
        yield Case(
            f"series: {label}", "s.csv", lambda p, t=text: p.write_text(t) and None, says, record, _series()
        )


CASES: list[Case] = [
    *_of_arrays(), *_of_contents(), *_of_options(), *_of_meshes(), *_of_well(), *_of_pdebench(), *_of_netcdf(), *_of_meshio(),
    *_of_tables(),
]  # fmt: skip

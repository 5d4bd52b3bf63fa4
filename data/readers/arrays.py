"""``.npz``, HDF5 and ``.mat``: named arrays of atoms (:mod:`.frame_files`) or of a field, on a mesh if there are ``points``, else
on a grid.

In HDF5 an array goes by the last part of its path, and attributes count as numbers; groups that hold the same arrays are
trajectories of their own.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError

from .attributes import open_hdf5
from .frame_files import hdf5_frames, is_frames, read_array_frames, read_hdf5_frames
from .grid import read_grid
from .mesh import is_mesh, read_mesh
from .options import Outcomes, ReadOptions
from .particles import moving_points, read_particles
from .pdebench import is_pdebench, read_pdebench
from .well import is_well, read_well

_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, AttributeError, NotImplementedError, RuntimeError, MemoryError,
    SyntaxError,
)  # fmt: skip
"""What zipfile and numpy raise for an archive that is damaged, encrypted or packed in an unknown way."""
_NOT_PICKLED = "holds Python objects, which are not loaded because they can run code; save plain arrays"


def read_arrays(path: Path, options: ReadOptions) -> Outcomes:
    """All structures or trajectories of the file."""
    if path.suffix.lower() == ".npz":
        arrays = read_npz(path)
        if is_frames(arrays, options):
            yield from read_array_frames(arrays, path, options)
        else:
            yield from read_named(arrays, path, options)
        return
    with open_hdf5(path) as file:
        if is_well(file):
            yield from read_well(file, path, options)
            return
        if is_pdebench(file):
            yield from read_pdebench(file, path, options)
            return
        groups = hdf5_frames(file, options)
        if groups:
            yield from read_hdf5_frames(file, groups, path, options)
            return
        count = 0
        for name, arrays in _hdf5_parts(file, path):
            for outcome in read_named(arrays, path, options, first=count, name=name):
                count += 1
                yield outcome


def read_named(
    arrays: Mapping[str, Any], path: Path, options: ReadOptions, *, first: int = 0, name: str = ""
) -> Outcomes:
    """The trajectories of named arrays: on points if there are any, else on a grid. ``first``, ``name``: as in
    :func:`.grid.read_grid`."""
    if moving_points(arrays, options) is not None:
        yield from read_particles(arrays, path, options, first=first, name=name)
    elif is_mesh(arrays, options):
        yield from read_mesh(arrays, path, options, first=first, name=name)
    else:
        yield from read_grid(arrays, path, options, first=first, name=name)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file. Nothing in it is unpickled."""
    if path.stat().st_size == 0:
        raise InputError("the file is empty", str(path))
    with open(path, "rb") as opened:
        if opened.read(2) != b"PK":
            raise InputError("is not an npz file, which is a zip archive", str(path))
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {}
            for name in file.files:
                try:
                    arrays[name] = file[name]
                except ValueError as error:
                    reason = _NOT_PICKLED if "allow_pickle" in str(error) else f"cannot be read ({error})"
                    raise InputError(f"array {name!r} {reason}", str(path)) from None
    except InputError:
        raise
    except ValueError as error:
        reason = _NOT_PICKLED if "allow_pickle" in str(error) else f"is not an npz file ({error})"
        raise InputError(reason, str(path)) from None
    except _BROKEN as error:
        raise InputError(f"is not an npz file, or not a whole one ({error})", str(path)) from None
    return arrays


def _hdf5_parts(file: Any, path: Path) -> list[tuple[str, dict[str, Any]]]:
    """One dictionary of arrays (called ``""``), or one per group, with its name, where groups repeat the same names."""
    import h5py

    flat: list[tuple[str, Any]] = []
    file.visititems(lambda name, item: flat.append((name, item)) if isinstance(item, h5py.Dataset) else None)
    if not flat:
        raise InputError("the file holds no arrays", str(path))
    attributes = {k: np.asarray(v) for k, v in file.attrs.items() if np.asarray(v).dtype.kind in "fiub"}
    names = [name.rsplit("/", 1)[-1] for name, _ in flat]
    if len(set(names)) == len(names):
        return [("", {**attributes, **dict(zip(names, (item for _, item in flat), strict=True))})]
    groups: dict[str, dict[str, Any]] = {}
    shared: dict[str, Any] = {}
    for (full, item), name in zip(flat, names, strict=True):
        if "/" in full:
            groups.setdefault(full.rsplit("/", 1)[0], {})[name] = item
        else:
            shared[name] = item
    parts = []
    for group, arrays in groups.items():
        own = {k: np.asarray(v) for k, v in file[group].attrs.items() if np.asarray(v).dtype.kind in "fiub"}
        parts.append((group, {**attributes, **shared, **own, **arrays}))
    return parts

"""MATLAB files (``.mat``) of versions 4, 5 and 7.3: named arrays of structures or of a field.

Formats: "MAT-File Format" (The MathWorks) through scipy.io for versions 4 and 5; 7.3 is HDF5 with the axes in reverse order.
Only numeric arrays are read. Rows and columns ``[1, n]``, ``[n, 1]`` are lines, and a scalar ``[nx, T]`` has its time last.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError

from .arrays import read_named
from .attributes import open_hdf5
from .fields import TIME_KEYS
from .frame_files import is_frames, read_mat_frames
from .options import Outcomes, ReadOptions


def read_matlab(path: Path, options: ReadOptions) -> Outcomes:
    """All structures or trajectories of the file."""
    content = load_arrays(path)
    if not content:
        raise InputError("the file holds no arrays of numbers", str(path))
    if is_frames(content, options):
        yield from read_mat_frames(content, path, options)
        return
    arrays = {name: _line(value) for name, value in content.items()}
    time = options.map.get("time") or next((k for k in (*TIME_KEYS, "tt") if k in arrays), None)
    if time in arrays and time not in TIME_KEYS and "time" not in options.map:
        arrays["time"] = arrays.pop(time)
    square = [k for k, v in arrays.items() if v.ndim == 2 and v.shape[0] == v.shape[1] > 1]
    if (
        square
        and len([k for k, v in arrays.items() if v.ndim == 1 and len(v) == arrays[square[0]].shape[0]]) > 1
    ):
        raise InputError(
            f"{square[0]!r} has shape {list(arrays[square[0]].shape)}: as many times as points, and the file does not say which "
            "axis is time; save it as npz with the axes [T, nx]",
            str(path),
        )
    yield from read_named(arrays, path, options)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of numbers in the file by its name, two-dimensional as MATLAB has them; ``InputError`` for what is
    no such file."""
    import h5py
    import scipy.io

    if path.stat().st_size == 0:
        raise InputError("the file is empty", str(path))
    if h5py.is_hdf5(path):  # behind a block of text of 512 bytes, as a rule
        return _load_hdf5(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy's, about variables of kinds that are not read anyway
            content = scipy.io.loadmat(str(path), squeeze_me=False)
    except MemoryError:
        raise InputError("asks for more memory than there is; is it whole?", str(path)) from None
    except Exception as error:  # a file from elsewhere makes scipy's reader raise almost anything
        text = " ".join(str(error).split())[:100]
        raise InputError(
            f"is not a MATLAB file, or not a whole one ({type(error).__name__} {text})", str(path)
        ) from None
    return {k: v for k, v in content.items() if not k.startswith("__") and _is_numeric(v)}


def _load_hdf5(path: Path) -> dict[str, np.ndarray]:
    import h5py

    arrays = {}
    with open_hdf5(path) as file:
        for name, item in file.items():
            if isinstance(item, h5py.Dataset):
                value = np.asarray(item[()])
                if value.dtype.names == ("real", "imag"):
                    value = value["real"] + 1j * value["imag"]
                if _is_numeric(value):
                    arrays[name] = value.T
    return arrays


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiubc" and value.size > 0


def _line(value: np.ndarray) -> np.ndarray:
    """A row or column as a line, one number as a scalar."""
    if value.ndim == 2 and 1 in value.shape:
        value = value.reshape(-1) if value.size > 1 else value.reshape(())
    return value

"""Files in PDEBench's layouts, after ``data_gen`` and ``models/fno/utils.py`` of github.com/pdebench/PDEBench."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

K, T, X, Y, Z = 3, 4, 6, 5, 4


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def _centres(n: int) -> np.ndarray:
    return ((np.arange(n) + 0.5) / n).astype(np.float32)


def write_scalar(path: Path) -> dict[str, np.ndarray]:
    """1D advection, Burgers, ...: ``tensor``, with one time too many."""
    arrays = {
        "tensor": _random(K, T, X),
        "x-coordinate": _centres(X),
        "t-coordinate": np.arange(T + 1) * 0.05,
    }
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value
        file.attrs["Nu"] = 0.01
    return arrays


def write_flow(path: Path, dims: int) -> dict[str, np.ndarray]:
    """Compressible flow in 1, 2 or 3 dimensions."""
    shape = (K, T, *(X, Y, Z)[:dims])
    names = ["density", "pressure", "Vx", "Vy", "Vz"][: 2 + dims]
    arrays = {name: _random(*shape) + i for i, name in enumerate(names)}
    arrays |= {f"{d}-coordinate": _centres(n) for d, n in zip("xyz"[:dims], (X, Y, Z), strict=False)}
    arrays["t-coordinate"] = np.arange(T + 1, dtype=np.float32) * 0.1
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value
        file.attrs.update({"eta": 0.1, "zeta": 0.2, "M": 1.0})
    return arrays


def write_darcy(path: Path) -> dict[str, np.ndarray]:
    """``nu`` -> ``tensor``, steady."""
    arrays = {
        "tensor": _random(K, 1, X, Y),
        "nu": _random(K, X, Y),
        "x-coordinate": _centres(X),
        "y-coordinate": _centres(Y),
    }
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value
        file.attrs["beta"] = 1.0
    return arrays


def write_seeded(path: Path, channels: int, dims: int = 2) -> np.ndarray:
    """A group per seed: ``0000/data [T, nx(, ny), C]``; all data ``[K, T, ...]`` come back."""
    shape = (X, Y)[:dims]
    data = _random(K, T, *shape, channels)
    with h5py.File(path, "w") as file:
        for k in range(K):
            group = file.create_group(f"{k:04d}")
            group["data"] = data[k]
            group["grid/t"] = np.arange(T) * 0.05
            for d, n in zip("xy", shape, strict=False):
                group[f"grid/{d}"] = _centres(n)
            group.attrs["config"] = "sim:\n  n: 1\n"
    return data


def write_incompressible(path: Path) -> dict[str, np.ndarray]:
    """Velocity, particles and a body force on the unit square."""
    arrays = {
        "velocity": _random(K, T, X, Y, 2),
        "particles": _random(K, T, X, Y, 1),
        "force": _random(K, X, Y, 2),
    }
    arrays["t"] = np.tile(np.arange(T, dtype=np.float32) * 0.5, (K, 1))
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value
        file.attrs["latestIndex"] = T - 1
        file.attrs["config"] = "n_steps: 1\n"
    return arrays

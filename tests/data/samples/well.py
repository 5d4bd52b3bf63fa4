"""A file in The Well's layout, after ``docs/data_format.md`` of github.com/PolymathicAI/the_well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

B, T, W, H = 2, 3, 4, 5
"""Trajectories, times, points along x and y."""


def well_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """What :func:`write_well` puts into the file, by name."""
    rng = np.random.default_rng(seed)
    tensor = rng.normal(size=(B, T, W, H, 2, 2))
    return {
        "density": rng.normal(size=(B, T, W, H)),
        "mask_field": rng.normal(size=(W, H)),
        "profile": rng.normal(size=(B, T, H)),
        "velocity": rng.normal(size=(B, T, W, H, 2)),
        "strain": tensor + np.swapaxes(tensor, -1, -2),
        "gradient": rng.normal(size=(T, W, H, 2, 2)),
        "viscosity": np.array([0.1, 0.2]),
        "Mach": np.array(0.7),
        "forcing": rng.normal(size=T),
        "time": np.array([0.0, 0.5, 1.5]),
        "x": np.arange(W) * 0.25,
        "y": np.array([0.0, 0.1, 0.4, 0.9, 1.0]),
        "walls": np.array([1.0, 2.0]),
    }


def write_well(path: Path, arrays: dict[str, np.ndarray] | None = None) -> Path:
    """Periodic in x; walls with values at both ends of y; an open patch in the middle of the lower wall's neighbours."""
    arrays = {k: v.astype(np.float32) for k, v in (arrays or well_arrays()).items()}
    with h5py.File(path, "w") as file:
        file.attrs.update(
            {"dataset_name": "made", "grid_type": "cartesian", "n_spatial_dims": 2, "n_trajectories": B}
        )
        file.attrs["simulation_parameters"] = ["Mach"]
        file.attrs["Mach"] = 0.7
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = ["x", "y"]
        _put(dimensions, "time", arrays["time"], sample_varying=False)
        for name in "xy":
            _put(dimensions, name, arrays[name], sample_varying=False, time_varying=False)
        t0, t1, t2 = (file.create_group(f"t{i}_fields") for i in range(3))
        t0.attrs["field_names"] = ["density", "mask_field", "profile"]
        t1.attrs["field_names"] = ["velocity"]
        t2.attrs["field_names"] = ["strain", "gradient"]
        both = {"dim_varying": [True, True]}
        _put(t0, "density", arrays["density"], sample_varying=True, time_varying=True, **both)
        _put(t0, "mask_field", arrays["mask_field"], sample_varying=False, time_varying=False, **both)
        _put(
            t0,
            "profile",
            arrays["profile"],
            sample_varying=True,
            time_varying=True,
            dim_varying=[False, True],
        )
        _put(t1, "velocity", arrays["velocity"], sample_varying=True, time_varying=True, **both)
        kind = {"symmetric": True, "antisymmetric": False}
        _put(t2, "strain", arrays["strain"], sample_varying=True, time_varying=True, **both, **kind)
        kind = {"symmetric": False, "antisymmetric": False}
        _put(t2, "gradient", arrays["gradient"], sample_varying=False, time_varying=True, **both, **kind)
        scalars = file.create_group("scalars")
        scalars.attrs["field_names"] = ["viscosity", "Mach", "forcing"]
        _put(scalars, "viscosity", arrays["viscosity"], sample_varying=True, time_varying=False)
        _put(scalars, "Mach", arrays["Mach"], sample_varying=False, time_varying=False)
        _put(scalars, "forcing", arrays["forcing"], sample_varying=False, time_varying=True)
        boundary = file.create_group("boundary_conditions")
        _boundary(boundary, "x_periodic", "periodic", ["x"], np.isin(np.arange(W), [0, W - 1]))
        _boundary(boundary, "y_wall", "wall", ["y"], np.isin(np.arange(H), [0, H - 1]), arrays["walls"])
        patch = np.zeros((H, W), dtype=bool)
        patch[1, 2] = patch[0, 0] = True
        _boundary(boundary, "xy_open", "open", ["y", "x"], patch)
    return path


def _put(group: Any, name: str, values: np.ndarray, **attributes: Any) -> None:
    group[name] = values
    for key, value in attributes.items():
        group[name].attrs[key] = value


def _boundary(
    group: Any, name: str, kind: str, dims: list[str], mask: np.ndarray, values: np.ndarray | None = None
) -> None:
    entry = group.create_group(name)
    entry.attrs.update(
        {"bc_type": kind, "associated_dims": dims, "sample_varying": False, "time_varying": False}
    )
    entry.attrs["associated_fields"] = [] if values is None else ["density"]
    entry["mask"] = mask
    entry["values"] = np.zeros(0, np.float32) if values is None else values

"""Fields on a sphere or in a shell: polar angle ``theta`` from the z axis, azimuth ``phi``, radius ``r`` (1 if there is none).

Positions become Cartesian, and components along the unit vectors e_r, e_theta, e_phi become Cartesian components, since a
record's vectors rotate with its points.
"""

from __future__ import annotations

import numpy as np
import torch

from atomfield.data.graph import Edges
from atomfield.data.neighbors import grid_edges, mean_spacing

from .frame import Frame

_NAMES = ({"theta", "phi"}, {"r", "theta", "phi"})


def is_sphere(dims: tuple[str, ...]) -> bool:
    """Whether axes of these names are those of a sphere or shell."""
    return {d.lower() for d in dims} in _NAMES and len(dims) == len({d.lower() for d in dims})


def _coordinates(axes: list[np.ndarray], dims: tuple[str, ...]) -> dict[str, np.ndarray]:
    full = np.meshgrid(*axes, indexing="ij")
    found = {d.lower(): x.reshape(-1) for d, x in zip(dims, full, strict=True)}
    return {"r": np.ones(full[0].size), **found}


def on_sphere(axes: list[np.ndarray], dims: tuple[str, ...]) -> Frame:
    """Points ``[N, 3]`` in the C order of the axes. The azimuth closes on itself where it goes once round (without repeating
    its first point); nodes on a pole, of which there is one per azimuth, are joined like the others."""
    shape = tuple(len(a) for a in axes)
    c = _coordinates(axes, dims)
    sine = np.sin(c["theta"])
    points = (
        np.stack([sine * np.cos(c["phi"]), sine * np.sin(c["phi"]), np.cos(c["theta"])], -1) * c["r"][:, None]
    )
    names = [d.lower() for d in dims]
    phi = axes[names.index("phi")]
    round_ = abs(len(phi) * float(np.diff(phi).mean()) - 2 * np.pi) < 1e-3
    edges = grid_edges(shape, tuple(round_ and n == "phi" for n in names))
    sender, receiver = edges.index
    apart = (torch.from_numpy(points)[sender] - torch.from_numpy(points)[receiver]).norm(dim=1)
    edges = Edges(
        edges.index[:, apart > 1e-9 * float(np.abs(points).max())], torch.zeros(0, 3, dtype=torch.int64)
    )
    edges = Edges(edges.index, torch.zeros(edges.num_edges, 3, dtype=torch.int64))
    widths = np.ones(1)
    for name, axis in zip(names, axes, strict=True):
        step = np.diff(axis)
        whole = name == "phi" and round_
        widths = np.multiply.outer(
            widths, np.full(len(axis), step.mean()) if whole else np.convolve(step, [0.5, 0.5])
        )
    power = 2 if "r" in names else 0
    volume = widths.reshape(-1) * np.maximum(sine, 1e-12) * c["r"] ** power
    positions = torch.from_numpy(points)
    spacing = mean_spacing(positions, edges, torch.zeros(3, 3, dtype=torch.float64))
    return Frame(positions, {"mesh": edges}, spacing, 3, shape, torch.from_numpy(volume))


def turned(values: np.ndarray, axes: list[np.ndarray], dims: tuple[str, ...], order: int) -> np.ndarray:
    """Vectors ``[..., N, 3]`` (order 1) or tensors ``[..., N, 3, 3]`` (order 2), whose components are those along ``dims`` in
    their order (padded with zeros), as Cartesian ones."""
    c = _coordinates(axes, dims)
    st, ct, sp, cp = np.sin(c["theta"]), np.cos(c["theta"]), np.sin(c["phi"]), np.cos(c["phi"])
    unit = {
        "r": np.stack([st * cp, st * sp, ct], -1),
        "theta": np.stack([ct * cp, ct * sp, -st], -1),
        "phi": np.stack([-sp, cp, np.zeros_like(sp)], -1),
    }
    names = [d.lower() for d in dims]
    names += [n for n in unit if n not in names]
    basis = np.stack([unit[n] for n in names], axis=1).astype(values.dtype)
    if order == 1:
        return np.einsum("...ni,nij->...nj", values, basis)
    return np.einsum("...nik,nij,nkl->...njl", values, basis, basis)

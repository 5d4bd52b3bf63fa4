"""Messages through Fourier space: the convolution of ``convolution.py`` with wave vectors in the place of edges.

A field f with degrees l on points of a periodic box is convolved with a kernel G(r) = sum_L g_L(|r|) Y_L(r), whose transform
is (-i)^L g_L(|k|) Y_L(k): at each wave vector a map that commutes with rotations about k, parity included. So the frame of an
edge becomes the frame of k, and the distance |k|:

    f(k) = sum_x w_x f(x) exp(-i k x),   g(k) = i^-l' W(|k|, conditions) i^l f(k),   g(x) = (1/V) sum_k g(k) exp(i k x)

with W an SO(2) convolution of real weights and l + 1 for l in the unnatural class; then g is real, since W(-k) is W(k) seen in
the frame turned about. The Leray projection of flows, derivatives and exact viscosity are of this form, and so is a Fourier
neural operator (Li et al., arXiv:2010.08895), which lets W depend on the axes. Weights are functions of |k| in the network's
unit of length, not of mode numbers.

Where: regular grids, by fast Fourier transform; directions that are not periodic are padded with zeros by a quarter. Elsewhere
(atoms, meshes, scattered points) it adds nothing. k = 0 has no direction: there the map is a number per degree and channel.
Modes at the Nyquist frequency are left out. The order of a grid's points is part of the record: a permuted grid is none.

Legend: ``N`` nodes, ``G`` graphs, ``P`` wave vectors, ``M`` = (lmax+1)^2, ``K`` channels, ``B`` bases, ``H`` hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atomfield.data.graph import GraphBatch

from .config import NetworkConfig
from .layers import degrees
from .rotation import FrameRotation, edge_frames

PADDING = 1.25
"""Length of the box over that of the points, where they do not repeat."""
NUM_BASES = 16
LARGEST_CACHE = 64


@dataclass(frozen=True)
class Grid:
    """What the waves of a regular grid follow from: hashable, so that frames are made once.

    step: rows of the vectors between neighbouring points along each axis, in the network's unit.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    step: tuple[tuple[float, float, float], ...]

    @property
    def padded(self) -> tuple[int, ...]:
        return tuple(n if p else _smooth(n) for n, p in zip(self.shape, self.periodic, strict=True))


def _smooth(n: int) -> int:
    """The next even number with factors 2, 3 and 5 alone that holds ``PADDING`` times ``n`` points."""
    size = 2 * math.ceil(PADDING * n / 2)
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


@dataclass
class Waves:
    """The wave vectors of one grid: place ``[P]`` in the flat half spectrum, bases ``[P, B]`` of |k|, frames ``[P, M, M]``."""

    grid: Grid
    graphs: Tensor
    place_P: Tensor
    basis_PB: Tensor
    frame_PMM: Tensor


class WaveGeometry(nn.Module):
    """Finds the grids of a batch and keeps what follows from them; shared by all layers."""

    def __init__(self, config: NetworkConfig, rotation: FrameRotation):
        super().__init__()
        self.field_spacing, self.cutoff = config.field_spacing, config.cutoff
        self.rotation = rotation
        self._kept: dict[tuple[Grid, torch.dtype, torch.device], tuple[Tensor, Tensor, Tensor]] = {}

    def forward(self, batch: GraphBatch, dtype: torch.dtype) -> list[Waves]:
        """One entry per grid in the batch; graphs without one are left out."""
        found: dict[Grid, list[int]] = {}
        if batch.world != "field":
            return []
        starts = [0, *batch.nodes_per_graph().cumsum(0).tolist()]
        for graph, shape in enumerate(batch.grid_shapes):
            if shape is None:
                continue
            grid = self._grid(batch, graph, starts[graph], shape)
            if grid is not None:
                found.setdefault(grid, []).append(graph)
        device = batch.positions.device
        return [
            Waves(grid, torch.tensor(graphs, device=device), *self._made(grid, dtype, device))
            for grid, graphs in found.items()
        ]

    def _grid(self, batch: GraphBatch, graph: int, start: int, shape: Sequence[int]) -> Grid | None:
        """None where the points are no regular grid (a curvilinear one, say)."""
        points = batch.positions[start : start + math.prod(shape)].reshape(*shape, 3)
        unit = self.field_spacing / float(batch.spacing[graph])
        steps, expected = [], points[(0,) * len(shape)].expand_as(points)
        for axis, n in enumerate(shape):
            periodic = bool(batch.pbc[graph, axis])
            step = batch.cell[graph, axis] / n if periodic else points.select(axis, 1).reshape(-1, 3)[0]
            if not periodic:
                step = step - points.reshape(-1, 3)[0]
            view = [1] * len(shape) + [1]
            view[axis] = n
            expected = expected + torch.arange(n, device=points.device).view(view) * step
            steps.append(step * unit)
        scale = max(float(s.norm()) for s in steps) / unit
        if float((points - expected).abs().max()) > 1e-4 * scale:
            return None
        rows = tuple(tuple(float(x) for x in s) for s in steps)
        periodic_axes = tuple(bool(batch.pbc[graph, axis]) for axis in range(len(shape)))
        return Grid(tuple(shape), periodic_axes, rows)  # type: ignore[arg-type]

    def _made(self, grid: Grid, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        key = (grid, dtype, device)
        if key not in self._kept:
            if len(self._kept) >= LARGEST_CACHE:
                self._kept.clear()
            place, waves = _wave_vectors(grid)
            length = waves.norm(dim=1)
            direction = (waves / length[:, None]).to(device)
            frame = self.rotation(edge_frames(direction)).to(dtype)
            self._kept[key] = place.to(device), wave_basis(length).to(device, dtype), frame
        return self._kept[key]


def _wave_vectors(grid: Grid) -> tuple[Tensor, Tensor]:
    """Flat places ``[P]`` in the half spectrum and vectors ``[P, 3]`` (network units) of all modes but 0 and the Nyquist ones."""
    padded = grid.padded
    step = torch.tensor(grid.step, dtype=torch.float64)
    rows = step * torch.tensor(padded, dtype=torch.float64)[:, None]
    # the reciprocal rows within the span of the grid: b_i . a_j = 2 pi delta_ij
    reciprocal = 2 * math.pi * torch.linalg.pinv(rows).T
    last = len(padded) - 1
    numbers = [
        torch.fft.rfftfreq(n, 1 / n, dtype=torch.float64)
        if axis == last
        else torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
        for axis, n in enumerate(padded)
    ]
    mesh = torch.stack(torch.meshgrid(*numbers, indexing="ij"), -1).reshape(-1, len(padded))
    size = torch.tensor(padded, dtype=torch.float64)
    kept = (2 * mesh.abs() < size - 1e-9).all(1) & (mesh != 0).any(1)
    place = torch.nonzero(kept)[:, 0]
    return place, mesh[place] @ reciprocal


def wave_basis(length_P: Tensor) -> Tensor:
    """``[P, B]`` Gaussians: half evenly spaced in |k| (network units) up to beyond the Nyquist frequency of a grid, half in its
    logarithm, for what is long."""
    half = NUM_BASES // 2
    linear = torch.linspace(0, 3, half, dtype=length_P.dtype, device=length_P.device)
    decades = torch.linspace(
        math.log(0.02), math.log(3.0), half, dtype=length_P.dtype, device=length_P.device
    )
    a = torch.exp(-0.5 * ((length_P[:, None] - linear) / (linear[1] - linear[0])).square())
    b = torch.exp(-0.5 * ((length_P.log()[:, None] - decades) / (decades[1] - decades[0])).square())
    return torch.cat([a, b], 1)


class FourierConvolution(nn.Module):
    """``[N, M, K]`` from the features of all points of each graph's grid; zero for graphs without one."""

    turns: Tensor
    degree_of_component: Tensor

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.lmax, self.channels, self.unnatural = config.lmax, config.channels, config.channels_unnatural
        self.width = config.width
        self.sizes = [config.lmax + 1 - m for m in range(config.lmax + 1)]
        self.rows = [self.sizes[0], *(2 * n for n in self.sizes[1:])]
        hidden = config.radial_hidden
        self.basis = nn.Linear(NUM_BASES, hidden)
        self.condition = nn.Linear(config.channels, hidden, bias=False)
        gain = 1 / math.sqrt(hidden)
        self.same = nn.Parameter(torch.randn(hidden, sum(n * n for n in self.sizes), self.width) * gain)
        self.cross = nn.Parameter(
            torch.randn(hidden, sum(n * n for n in self.sizes[1:]), 2 * self.unnatural) * gain
        )
        self.mean = nn.Parameter(torch.zeros(config.lmax + 1, self.width))
        degree = degrees(config.lmax)
        quarter = degree[:, None] + torch.cat([torch.zeros(self.channels), torch.ones(self.unnatural)])
        self.register_buffer("turns", quarter.long() % 4)
        """Quarter turns of the phase, ``[M, K]``: l, and l + 1 in the unnatural class."""
        self.register_buffer("degree_of_component", degree)

    def forward(self, x_NMK: Tensor, waves: list[Waves], condition_NC: Tensor, starts_G: Tensor) -> Tensor:
        """``starts_G``: first node of each graph."""
        out = torch.zeros_like(x_NMK)
        for group in waves:
            points = math.prod(group.grid.shape)
            nodes = (starts_G[group.graphs, None] + torch.arange(points, device=x_NMK.device)).flatten()
            whole = len(nodes) == len(x_NMK)
            x = x_NMK if whole else x_NMK[nodes]
            condition = condition_NC[starts_G[group.graphs]]
            found = self._grid(x.reshape(len(group.graphs), *group.grid.shape, -1), group, condition)
            found = found.reshape(-1, *x_NMK.shape[1:])
            out = found if whole else out.index_add(0, nodes, found)
        return out

    def _grid(self, x: Tensor, group: Waves, condition_GC: Tensor) -> Tensor:
        """``x [G, *shape, M K]`` -> the same shape."""
        grid, size = group.grid, (self.lmax + 1) ** 2
        dims, padded = tuple(range(1, 1 + len(grid.shape))), grid.padded
        modes = torch.fft.rfftn(x, s=padded, dim=dims)
        half = modes.shape[1:-1]
        flat = modes.reshape(len(x), -1, size, self.width)
        mapped = self._map(flat[:, group.place_P], group, condition_GC)
        zero = flat[:, :1] * self.mean[self.degree_of_component]
        spectrum = (
            torch.zeros_like(flat)
            .index_copy(1, group.place_P, mapped)
            .index_add(1, torch.zeros(1, dtype=torch.int64, device=x.device), zero)
        )
        back = torch.fft.irfftn(spectrum.reshape(len(x), *half, -1), s=padded, dim=dims)
        for axis, n in zip(dims, grid.shape, strict=True):
            back = back.narrow(axis, 0, n)
        return back

    def _map(self, modes_GPMK: Tensor, group: Waves, condition_GC: Tensor) -> Tensor:
        """The SO(2) convolution of complex modes, phases included."""
        graphs, waves = modes_GPMK.shape[:2]
        # [P, M, G * 2 * K]: real and imaginary parts go the same way
        real = (
            self._turned(torch.view_as_real(modes_GPMK), 1)
            .permute(1, 2, 0, 4, 3)
            .reshape(waves, len(self.turns), -1)
        )
        aligned = (group.frame_PMM @ real).view(waves, len(self.turns), graphs, 2, self.width)
        hidden = F.silu(self.basis(group.basis_PB)[:, None] + self.condition(condition_GC))
        same = (hidden @ self.same.flatten(1)).view(waves, graphs, -1, self.width)
        cross = (hidden @ self.cross.flatten(1)).view(waves, graphs, self.cross.shape[1], 2 * self.unnatural)
        same_m = same.split([n * n for n in self.sizes], dim=2)
        cross_m = cross.split([n * n for n in self.sizes[1:]], dim=2)
        parts = []
        for m, (size, z) in enumerate(zip(self.sizes, aligned.split(self.rows, dim=1), strict=True)):
            # [P, out, in, G, 1, K] times [P, 1, in, G, 2, K]
            weight = same_m[m].view(waves, graphs, size, size, self.width).permute(0, 2, 3, 1, 4).unsqueeze(4)
            if m == 0:
                parts.append((weight * z.unsqueeze(1)).sum(2))
                continue
            z = z.view(waves, size, 2, graphs, 2, self.width)
            out = (weight.unsqueeze(3) * z.unsqueeze(1)).sum(2)
            if self.unnatural:
                other = cross_m[m - 1].view(waves, graphs, size, size, 2 * self.unnatural)
                out = self._add_cross(out, z, other.permute(0, 2, 3, 1, 4)[:, :, :, None, :, None])
            parts.append(out.flatten(1, 2))
        mixed = torch.cat(parts, dim=1).reshape(waves, len(self.turns), -1)
        back = (group.frame_PMM.transpose(1, 2) @ mixed).view(waves, len(self.turns), graphs, 2, self.width)
        turned = self._turned(back.permute(2, 0, 1, 4, 3), -1)
        return torch.view_as_complex(turned.contiguous())

    def _turned(self, x_2: Tensor, sign: int) -> Tensor:
        """Complex numbers as pairs ``[..., M, K, 2]`` times i^(sign * turns)."""
        turns = (sign * self.turns) % 4
        cosine = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=x_2.dtype, device=x_2.device)[turns][..., None]
        sine = torch.tensor([0.0, 1.0, 0.0, -1.0], dtype=x_2.dtype, device=x_2.device)[turns][..., None]
        other = torch.stack([-x_2[..., 1], x_2[..., 0]], -1)
        return x_2 * cosine + other * sine

    def _add_cross(self, out: Tensor, z: Tensor, weight: Tensor) -> Tensor:
        """As in ``convolution.py``; ``out`` and ``z`` are ``[P, size, 2, G, 2, K]``."""
        c, u = self.channels, self.unnatural
        turned = torch.stack([-z[:, :, 1], z[:, :, 0]], dim=2)
        other = torch.cat([turned[..., c:], turned[..., :u]], dim=-1)
        mixed = (weight * other.unsqueeze(1)).sum(2)
        return torch.cat(
            [out[..., :u] + mixed[..., :u], out[..., u:c], out[..., c:] + mixed[..., u:]], dim=-1
        )

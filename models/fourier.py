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
from .convolution import EdgeConvolution, EdgeGeometry
from .fused import EdgeList
from .layers import degrees
from .rotation import FrameRotation

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
        return tuple(padded_size(n, p) for n, p in zip(self.shape, self.periodic, strict=True))


def padded_size(n: int, periodic: bool) -> int:
    """Points along an axis that are transformed."""
    return n if periodic else _smooth(n)


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
    """The wave vectors of one grid: place ``[P]`` in the flat half spectrum, bases ``[P, B]`` of |k|, directions ``[P, 3]``."""

    grid: Grid
    nodes: Tensor
    """Of all its graphs, one after another."""
    first_G: Tensor
    """The first node of each."""
    place_P: Tensor
    geometry: EdgeGeometry
    """Of real and imaginary parts, graphs and wave vectors, in this order: each the only neighbour of itself."""


class WaveGeometry(nn.Module):
    """Finds the grids of a batch and keeps what follows from them; shared by all layers."""

    def __init__(self, config: NetworkConfig, rotation: FrameRotation):
        super().__init__()
        self.field_spacing = config.field_spacing
        self.rotation = rotation
        self._kept: dict[tuple[Grid, int, torch.dtype, torch.device], tuple[Tensor, EdgeGeometry]] = {}

    def forward(self, batch: GraphBatch, dtype: torch.dtype) -> list[Waves]:
        """One entry per grid in the batch; graphs without one are left out."""
        if batch.world != "field":
            return []
        starts = [0, *batch.nodes_per_graph().cumsum(0).tolist()]
        found: dict[Grid, list[int]] = {}
        for graph, grid in sorted(self._grids(batch, starts).items()):
            found.setdefault(grid, []).append(starts[graph])
        device = batch.positions.device
        groups = []
        for grid, its_starts in found.items():
            first = torch.tensor(its_starts, device=device)
            nodes = (first[:, None] + torch.arange(math.prod(grid.shape), device=device)).flatten()
            groups.append(Waves(grid, nodes, first, *self._made(grid, len(first), dtype, device)))
        return groups

    def _grids(self, batch: GraphBatch, starts: Sequence[int]) -> dict[int, Grid]:
        """The grid of each graph that has one; graphs whose points are no regular grid (a curvilinear one, say) are left out. All
        graphs of a shape at once: on a GPU every number that is read waits for it."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for graph, shape in enumerate(batch.grid_shapes):
            if shape is not None:
                alike.setdefault(tuple(shape), []).append(graph)
        found: dict[int, Grid] = {}
        device = batch.positions.device
        for shape, graphs in alike.items():
            axes, which = len(shape), torch.tensor(graphs, device=device)
            first = torch.tensor([starts[graph] for graph in graphs], device=device)
            nodes = first[:, None] + torch.arange(math.prod(shape), device=device)
            points = batch.positions[nodes].reshape(len(graphs), *shape, 3)
            unit, periodic = (
                self.field_spacing / batch.spacing[which].double(),
                batch.pbc[which, :axes].bool(),
            )
            origin = points.reshape(len(graphs), -1, 3)[:, 0]
            expected, rows = origin.view(-1, *[1] * axes, 3), []
            for axis, n in enumerate(shape):
                own = points.select(axis + 1, min(1, n - 1)).reshape(len(graphs), -1, 3)[:, 0] - origin
                step = torch.where(periodic[:, axis, None], batch.cell[which, axis] / n, own)
                view = [1] * (axes + 2)
                view[axis + 1] = n
                expected = expected + torch.arange(n, device=device).view(view) * step.view(
                    -1, *[1] * axes, 3
                )
                rows.append(step * unit[:, None])
            steps = torch.stack(rows, 1)
            scale = steps.norm(dim=2).amax(1) / unit
            regular = (points - expected).abs().flatten(1).amax(1) <= 1e-4 * scale
            read = torch.cat([steps.flatten(1), periodic.to(steps), regular[:, None].to(steps)], 1).tolist()
            for graph, numbers in zip(graphs, read, strict=True):
                if numbers[-1]:
                    own_rows = tuple(tuple(numbers[3 * axis : 3 * axis + 3]) for axis in range(axes))
                    wraps = tuple(bool(x) for x in numbers[3 * axes : -1])
                    found[graph] = Grid(shape, wraps, own_rows)
        return found

    def _made(
        self, grid: Grid, graphs: int, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, EdgeGeometry]:
        key = (grid, graphs, dtype, device)
        if key not in self._kept:
            if len(self._kept) >= LARGEST_CACHE:
                self._kept.clear()
            place, waves = _wave_vectors(grid)
            length = waves.norm(dim=1)
            count = 2 * graphs * len(place)
            itself = torch.arange(count, device=device)
            self._kept[key] = (
                place.to(device),
                EdgeGeometry(
                    edges=EdgeList(itself, itself, count),
                    basis_EB=wave_basis(length).to(device, dtype).repeat(2 * graphs, 1),
                    envelope_E=torch.ones(count, dtype=dtype, device=device),
                    direction_E3=(waves / length[:, None]).to(device, dtype).repeat(2 * graphs, 1),
                    rotation=self.rotation,
                ),
            )
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

    cosine: Tensor
    sine: Tensor
    degree_of_component: Tensor

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.width = config.width
        self.size = (config.lmax + 1) ** 2
        self.convolution = EdgeConvolution(config, wave_bases=NUM_BASES)
        self.condition = nn.Linear(config.channels, config.radial_hidden, bias=False)
        self.mean = nn.Parameter(torch.zeros(config.lmax + 1, config.width))
        degree = degrees(config.lmax)
        unnatural = torch.cat([torch.zeros(config.channels), torch.ones(config.channels_unnatural)])
        turns = (degree[:, None] + unnatural).long() % 4
        self.register_buffer("cosine", torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=torch.float64)[turns])
        self.register_buffer("sine", torch.tensor([0.0, 1.0, 0.0, -1.0], dtype=torch.float64)[turns])
        """i^l, and i^(l+1) in the unnatural class: ``[M, K]`` each."""
        self.register_buffer("degree_of_component", degree)

    def forward(self, x_NMK: Tensor, waves: Sequence[Waves], condition_NC: Tensor) -> Tensor:
        """Without waves: zero, with a gradient of zero to all that waves would use (see ``Backbone.in_step``)."""
        out = torch.zeros_like(x_NMK)
        if not waves:
            return out + sum(used.flatten()[:0].sum() for used in (x_NMK, condition_NC, *self._weights()))
        for group in waves:
            whole = len(group.nodes) == len(x_NMK)
            x = x_NMK if whole else x_NMK[group.nodes]
            found = self._grid(x.reshape(len(group.first_G), *group.grid.shape, -1), group, condition_NC)
            found = found.reshape(-1, *x_NMK.shape[1:])
            if whole:
                return found
            out = out.index_add(0, group.nodes, found)
        return out

    def _weights(self) -> tuple[Tensor, ...]:
        """All weights, in the order in which waves use them."""
        own = self.convolution
        return self.mean, self.condition.weight, own.basis.bias, own.basis.weight, own.same, own.cross

    def _grid(self, x: Tensor, group: Waves, condition_NC: Tensor) -> Tensor:
        """``x [G, *shape, M K]`` -> the same shape."""
        grid, graphs, count = group.grid, len(x), len(group.place_P)
        dims, padded = tuple(range(1, 1 + len(grid.shape))), grid.padded
        modes = torch.fft.rfftn(x, s=padded, dim=dims)
        half = modes.shape[1:-1]
        flat = modes.reshape(graphs, -1, self.size, self.width)
        given = flat[:, group.place_P]
        real, imaginary = self._turned(given.real, given.imag, 1)
        parts = torch.stack([real, imaginary]).reshape(-1, self.size, self.width)
        # no call of a module, which ZeRO 3 would count: ranks may have unequal numbers of grids
        sender = F.linear(condition_NC[group.first_G], self.condition.weight)[None, :, None].expand(
            2, -1, count, -1
        )
        sender = sender.reshape(len(parts), -1)
        bias = self.convolution.basis.bias.expand(len(parts), -1)
        mapped = self.convolution.messages(parts, sender, bias, group.geometry, scalars_only=False)
        parts = mapped.reshape(2, graphs, count, self.size, self.width)
        real, imaginary = self._turned(parts[0], parts[1], -1)
        zero = flat[:, :1] * self.mean[self.degree_of_component]
        spectrum = torch.zeros_like(flat)
        spectrum = spectrum.index_copy(1, group.place_P, torch.complex(real, imaginary))
        spectrum = spectrum.index_copy(1, torch.zeros(1, dtype=torch.int64, device=x.device), zero)
        back = torch.fft.irfftn(spectrum.reshape(graphs, *half, -1), s=padded, dim=dims)
        for axis, n in zip(dims, grid.shape, strict=True):
            back = back.narrow(axis, 0, n)
        return back

    def _turned(self, real: Tensor, imaginary: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        """``[..., M, K]`` times i^(sign turns)."""
        cosine, sine = self.cosine.to(real.dtype), (sign * self.sine).to(real.dtype)
        return real * cosine - imaginary * sine, real * sine + imaginary * cosine

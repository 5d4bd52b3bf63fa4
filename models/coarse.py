"""Coarse graph levels between layers: up to clusters of nodes, a convolution there, and back down.

    up:     x'_K = [mean over members of W x; in the vectors also of (offset x scalars)] + the level's own convolution and update
    down:   x_N += W [x' of the cluster; in the scalars also offset . vectors]

Each level sees its own spacing as the unit of length, so one step couples what many layers of the finer graph would have to
pass on (pressure, the shape of a large molecule). Everything commutes with rotations and reflections; clusters come from
``data/coarse.py``, found from distances alone. What is equal by symmetry, the points of a grid, is told apart by order there,
so a grid moved by one point is only approximately the same; and where points move, clusters change at once: with coarse levels
an energy is conservative between such events only. They are meant for fields on fixed points and for properties of large
molecules.

Legend: ``N`` fine and ``K`` coarse nodes, ``M`` components, ``C`` natural channels; feature tensors are ``[nodes, M,
channels]``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from atomfield.data.coarse import CoarseLevel, Coarsening, with_coarse
from atomfield.data.graph import GraphBatch

from .config import NetworkConfig
from .control import directed_basis
from .convolution import EdgeConvolution, EdgeGeometry
from .fused import EdgeList
from .layers import BOUND_EPS, EquivariantLinear, EquivariantNorm, GatedUpdate
from .long_range import Space
from .radial import bessel_basis, polynomial_envelope
from .rotation import FrameRotation

LEVELS = 2
TOUCHING = 0.05
"""Clusters nearer than about this part of the spacing (or cutoff) lose their message: their direction means nothing."""


class Transfer(nn.Module):
    """Maps up and down; offsets from a node to its cluster, in units of the spacing, turn scalars into vectors and back."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.channels, self.lmax = config.channels, config.lmax
        self.linear = EquivariantLinear(config)
        if config.lmax > 0:
            self.weight = nn.Parameter(
                torch.randn(config.channels, config.channels) / math.sqrt(config.channels)
            )

    def up(self, x_NMK: Tensor, offset_N3: Tensor) -> Tensor:
        """What a node gives to its cluster, of which the mean is taken."""
        out = self.linear(x_NMK)
        if self.lmax == 0:
            return out
        moment = offset_N3.unsqueeze(2) * (x_NMK[:, 0, : self.channels] @ self.weight).unsqueeze(1)
        return _added(out, moment, slice(1, 4))

    def down(self, x_NMK: Tensor, offset_N3: Tensor) -> Tensor:
        """What a node takes from its cluster, whose features are at each member already."""
        out = self.linear(x_NMK)
        if self.lmax == 0:
            return out
        along = torch.einsum("nd,ndc->nc", offset_N3, x_NMK[:, 1:4, : self.channels]) @ self.weight
        return _added(out, along.unsqueeze(1), slice(0, 1))


def _added(x_NMK: Tensor, part: Tensor, rows: slice) -> Tensor:
    """``x`` with ``part`` added to the natural channels of some components."""
    size, width = x_NMK.shape[1:]
    return x_NMK + nn.functional.pad(part, (0, width - part.shape[2], rows.start, size - rows.stop))


class Level(nn.Module):
    """One level: what comes up, its convolution and update, what goes down."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.norm = EquivariantNorm(config)
        self.rise, self.fall = Transfer(config), Transfer(config)
        self.convolution = EdgeConvolution(config)
        self.neighbors = EquivariantLinear(config)
        self.update = GatedUpdate(config)
        self.bound = EquivariantNorm(config, BOUND_EPS)


class CoarseLevels(nn.Module):
    """Adds what ``LEVELS`` levels of clusters make of the features ``[N, M, K]``; starts by adding nothing."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.levels = nn.ModuleList(Level(config) for _ in range(LEVELS))
        self.rotation = FrameRotation(config.lmax)
        with torch.no_grad():
            for parameter in self._stack()[0].fall.parameters():
                parameter.zero_()

    def _stack(self) -> list[Level]:
        return [level for level in self.levels if isinstance(level, Level)]

    def forward(self, x_NMK: Tensor, batch: GraphBatch, space: Space, condition_NC: Tensor) -> Tensor:
        found = coarse_levels(batch)
        positions, cell, condition = space.positions, space.cell, condition_NC
        stack = [x_NMK]
        offsets = []
        for module, level in zip(self._stack(), found, strict=True):
            scale = self._scale(level, batch, space)
            coarse = level.pool_positions(positions, cell)
            condition = level.pool(condition)
            offset = level.offsets(positions, coarse, cell) * scale[level.graph_index[level.assignment]]
            offset = (offset / self.config.field_spacing).to(x_NMK.dtype)
            h = level.pool(module.rise.up(module.norm(stack[-1]), offset))
            geometry = self._geometry(level, coarse, cell, scale)
            h = h + module.neighbors(module.convolution(h, geometry, scalars_only=False))
            stack.append(module.update(h, condition))
            offsets.append(offset)
            positions = coarse
        for module, level, offset in list(zip(self._stack(), found, offsets, strict=True))[::-1]:
            above = stack.pop()
            stack[-1] = stack[-1] + module.bound(module.fall.down(level.spread(above), offset))
        return stack[0]

    def _scale(self, level: CoarseLevel, batch: GraphBatch, space: Space) -> Tensor:
        """``[G, 1]`` units of the network per unit of ``space``: the level's cutoff becomes the network's, or its spacing that of
        the points of a field."""
        if math.isfinite(level.cutoff):
            return torch.full_like(level.spacing, self.config.cutoff / level.cutoff).unsqueeze(1)
        return (self.config.field_spacing / (level.spacing * space.unit)).unsqueeze(1)

    def _geometry(
        self, level: CoarseLevel, positions_K3: Tensor, cell: Tensor, scale_G1: Tensor
    ) -> EdgeGeometry:
        config = self.config
        sender, receiver = level.edge_index
        graph = level.graph_index[receiver]
        lattice = torch.einsum("es,esd->ed", level.edge_shift.to(cell), cell[graph])
        vector = (positions_K3[sender] - positions_K3[receiver] + lattice) * scale_G1[graph]
        square = vector.square().sum(1)
        distance = (square + 1e-12).sqrt()
        apart = square / (square + TOUCHING**2)
        if math.isfinite(level.cutoff):
            apart, within = apart * polynomial_envelope(distance, config.cutoff), distance
        else:
            within = config.cutoff * torch.tanh(distance / config.cutoff)
        direction = vector / distance.unsqueeze(1)
        basis = bessel_basis(within, config.cutoff, config.num_radial)
        if config.symmetry == "none":
            basis = directed_basis(basis, direction)
        dtype = self._stack()[0].bound.scale.dtype
        return EdgeGeometry(
            edges=EdgeList(sender, receiver, level.num_nodes),
            basis_EB=basis.to(dtype),
            envelope_E=apart.to(dtype),
            direction_E3=direction.to(dtype),
            rotation=self.rotation,
        )


def coarse_levels(batch: GraphBatch) -> tuple[CoarseLevel, ...]:
    """The levels that came with the batch, or those found now (on the CPU, N log N)."""
    levels = batch.coarse or with_coarse(batch).coarse
    assert len(levels) == LEVELS == Coarsening().levels
    return levels

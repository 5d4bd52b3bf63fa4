"""Equivariant building blocks that act node by node.

Legend: ``N`` nodes, ``M`` = (lmax+1)^2 components, ``K`` = ``C`` natural + ``U`` unnatural channels. Feature tensors are
``[N, M, K]``: at degree l the first C channels have parity (-1)^l, the last U have -(-1)^l.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import NetworkConfig

NORM_EPS, BOUND_EPS = 1e-3, 1.0
"""See :class:`EquivariantNorm`: to normalise, and to bound the factors of products."""


def degree_slices(lmax: int) -> list[slice]:
    """Components of each degree within M."""
    return [slice(l * l, (l + 1) ** 2) for l in range(lmax + 1)]


def degrees(lmax: int) -> Tensor:
    """Degree l of each of the M components."""
    return torch.cat([torch.full((2 * l + 1,), l) for l in range(lmax + 1)])


def placements(irreps: str) -> list[tuple[int, int, bool]]:
    """(first component, end, natural?) of each irrep of a quantity within M."""
    match irreps:
        case "0e":
            return [(0, 1, True)]
        case "0o":
            return [(0, 1, False)]
        case "1o":
            return [(1, 4, True)]
        case "1e":
            return [(1, 4, False)]
        case "0e+2e":
            return [(0, 1, True), (4, 9, True)]
    raise AssertionError(irreps)


class EquivariantLinear(nn.Module):
    """Channel mixing within each degree and parity class; no bias, so that zero stays zero."""

    degree_of_component: Tensor

    def __init__(self, config: NetworkConfig, gain: float = 1.0):
        super().__init__()
        c, u = config.channels, config.channels_unnatural
        self.natural = nn.Parameter(torch.randn(config.lmax + 1, c, c) * gain / math.sqrt(c))
        self.unnatural = nn.Parameter(torch.randn(config.lmax + 1, u, u) * gain / math.sqrt(max(u, 1)))
        self.register_buffer("degree_of_component", degrees(config.lmax))

    def forward(self, x_NMK: Tensor) -> Tensor:
        c, u = self.natural.shape[1], self.unnatural.shape[1]
        # one block-diagonal matrix per component and one batched product: fewer, larger operations
        weight = F.pad(self.natural, (0, u, 0, u)) + F.pad(self.unnatural, (c, 0, c, 0))
        return torch.bmm(x_NMK.transpose(0, 1), weight[self.degree_of_component]).transpose(0, 1)


class EquivariantNorm(nn.Module):
    """Divide each node's features by ``sqrt(eps + mean square over degrees and channels)``; scale per degree and channel.

    A small ``eps`` normalises; ``eps`` of one leaves small features alone and bounds large ones, smoothly through zero.
    """

    degree_of_component: Tensor
    degree_weights: Tensor

    def __init__(self, config: NetworkConfig, eps: float = NORM_EPS):
        super().__init__()
        self.eps = eps
        lmax = config.lmax
        weights = 1 / ((2 * degrees(lmax).double() + 1) * (lmax + 1))
        self.register_buffer("degree_weights", weights)
        self.register_buffer("degree_of_component", degrees(lmax))
        self.scale = nn.Parameter(torch.ones(lmax + 1, config.width))

    def forward(self, x_NMK: Tensor) -> Tensor:
        weights = self.degree_weights.to(x_NMK.dtype)
        mean_square = (x_NMK.square().mean(dim=2) * weights).sum(dim=1)
        return (
            x_NMK * torch.rsqrt(mean_square + self.eps)[:, None, None] * self.scale[self.degree_of_component]
        )


class GatedUpdate(nn.Module):
    """Scalars pass through an MLP that also sees the conditions; features of every degree are gated by it."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.channels, self.lmax, self.width = config.channels, config.lmax, config.width
        hidden = 2 * config.channels
        self.up = nn.Linear(config.channels, hidden)
        self.condition = nn.Linear(config.channels, hidden, bias=False)
        self.down = nn.Linear(hidden, config.channels)
        num_gates = config.width * config.lmax + config.channels_unnatural
        self.gates = nn.Linear(hidden, num_gates) if num_gates else None
        if self.gates is not None:
            nn.init.zeros_(self.gates.weight)
            nn.init.zeros_(self.gates.bias)

    def forward(self, x_NMK: Tensor, condition_NC: Tensor) -> Tensor:
        c = self.channels
        hidden = F.silu(self.up(x_NMK[:, 0, :c]) + self.condition(condition_NC))
        scalars = x_NMK[:, 0, :c] + self.down(hidden)
        if self.gates is None:
            return scalars.unsqueeze(1)
        gates = 2 * torch.sigmoid(self.gates(hidden))
        pseudo = x_NMK[:, 0, c:] * gates[:, self.width * self.lmax :]
        parts = [torch.cat([scalars, pseudo], dim=1).unsqueeze(1)]
        for l, s in enumerate(degree_slices(self.lmax)[1:]):
            parts.append(x_NMK[:, s] * gates[:, None, l * self.width : (l + 1) * self.width])
        return torch.cat(parts, dim=1)

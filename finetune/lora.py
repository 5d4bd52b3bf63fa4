"""Low-rank adapters on the equivariant linears: per degree l and parity class ``W_l + down_l @ up_l``, merged exactly afterwards.

Mixing channels within a degree and a class commutes with every rotation and reflection whatever its matrix is, so an adapted
network obeys the same laws. Reference: Hu et al., arXiv:2106.09685 (there for a single matrix).

Legend: ``D`` degrees, ``n`` channels of a class, ``r`` rank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from atomfield.models.layers import EquivariantLinear
from atomfield.models.network import AtomFieldNet

CLASSES = ("natural", "unnatural")
MAX_SHARE = 0.05
"""Of the network's weights, which adapters whose rank is not given stay below (where rank 1 does)."""


class LowRank(nn.Module):
    """``W [D, n, n]`` to ``W + down @ up``; ``up`` starts at zero, so the network starts as it was."""

    def __init__(self, weight_Dnn: Tensor, rank: int):
        super().__init__()
        degrees, channels, _ = weight_Dnn.shape
        rank = min(rank, channels)
        self.down = nn.Parameter(torch.randn(degrees, channels, rank).to(weight_Dnn) / math.sqrt(channels))
        self.up = nn.Parameter(weight_Dnn.new_zeros(degrees, rank, channels))

    def forward(self, weight_Dnn: Tensor) -> Tensor:
        return weight_Dnn + torch.bmm(self.down, self.up)


def linears(net: AtomFieldNet) -> dict[str, EquivariantLinear]:
    """The equivariant linears of the backbone by name."""
    return {k: m for k, m in net.backbone.named_modules() if isinstance(m, EquivariantLinear)}


def adapt(net: AtomFieldNet, rank: int) -> None:
    """Put adapters of ``rank`` (at most the number of channels) beside every equivariant linear of the backbone."""
    for linear in linears(net).values():
        for name in CLASSES:
            weight = getattr(linear, name)
            if weight.numel():
                parametrize.register_parametrization(linear, name, LowRank(weight, rank))


def adapters(net: AtomFieldNet) -> list[LowRank]:
    """The adapters in place."""
    return [m for m in net.modules() if isinstance(m, LowRank)]


@torch.no_grad()
def merge(net: AtomFieldNet, *, keep: bool = True) -> None:
    """Write the adapted weights into the linears (``keep=False``: those from before the adapters) and take the adapters away:
    afterwards the network is an ordinary one, and its file too."""
    for linear in linears(net).values():
        for name in CLASSES:
            if parametrize.is_parametrized(linear, name):
                parametrize.remove_parametrizations(linear, name, leave_parametrized=keep)
                linear.get_parameter(name).requires_grad_(True)


def adapter_weights(net: AtomFieldNet, rank: int) -> int:
    """Number of weights of adapters of ``rank``."""
    total = 0
    for linear in linears(net).values():
        for name in CLASSES:
            degrees, channels, _ = getattr(linear, name).shape
            total += 2 * degrees * channels * min(rank, channels)
    return total


def rank_for(net: AtomFieldNet) -> int:
    """The largest rank whose adapters are below :data:`MAX_SHARE` of the weights, 1 at least."""
    total = sum(p.numel() for p in net.parameters())
    rank = 1
    while rank < net.config.channels and adapter_weights(net, rank + 1) < MAX_SHARE * total:
        rank += 1
    return rank

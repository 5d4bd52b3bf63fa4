"""Body-order products at nodes: channel-wise Clebsch-Gordan products of aggregated features (the idea of ACE and MACE).

Legend: ``N`` nodes, ``M`` = (lmax+1)^2, ``C`` natural and ``U`` unnatural channels, ``P`` paths.
Reference: Drautz, Phys. Rev. B 99,
014104 (2019); Batatia et al., arXiv:2206.07697. Channels that exist in both parity classes are multiplied in the doubled space
(natural, unnatural) with every parity-allowed path; the others in the natural class alone (l1 + l2 + l3 even).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .clebsch import clebsch_gordan
from .config import NetworkConfig


class _ChannelwiseProduct(nn.Module):
    """Bilinear product of ``[C, N, D]`` tensors with learned path weights per channel; D = M or 2M (both classes)."""

    index: Tensor
    path: Tensor
    value: Tensor

    def __init__(self, lmax: int, channels: int, both_classes: bool):
        super().__init__()
        size = (lmax + 1) ** 2
        self.dim = 2 * size if both_classes else size
        index, path, value, fan_in = [], [], [], []
        classes = (0, 1) if both_classes else (0,)
        inputs = [(k, l) for k in classes for l in range(lmax + 1)]
        num_paths = 0
        for k1, l1 in inputs:
            for k2, l2 in inputs:
                for l3 in range(abs(l1 - l2), min(lmax, l1 + l2) + 1):
                    k3 = (k1 + k2 + l1 + l2 + l3) % 2
                    if k3 not in classes:
                        continue
                    table = clebsch_gordan(l1, l2, l3) * (2 * l3 + 1) ** 0.5
                    nonzero = (table.abs() > 1e-12).nonzero()
                    i, j, k = (
                        nonzero
                        + torch.tensor([k1 * size + l1 * l1, k2 * size + l2 * l2, k3 * size + l3 * l3])
                    ).T
                    index.append((i * self.dim + j) * self.dim + k)
                    value.append(table[tuple(nonzero.T)])
                    path.append(torch.full((len(nonzero),), num_paths))
                    fan_in.append((k3, l3))
                    num_paths += 1
        self.register_buffer("index", torch.cat(index))
        self.register_buffer("path", torch.cat(path))
        self.register_buffer("value", torch.cat(value).double())
        gain = torch.tensor([fan_in.count(f) ** -0.5 for f in fan_in])
        self.weight = nn.Parameter(torch.randn(num_paths, channels) * gain[:, None])

    def forward(self, a_CND: Tensor, b_CND: Tensor) -> Tensor:
        channels, num_nodes, dim = a_CND.shape
        entries = self.value.to(a_CND.dtype)[:, None] * self.weight[self.path]
        kernel = torch.zeros(dim**3, channels, dtype=a_CND.dtype, device=a_CND.device).index_add(
            0, self.index, entries
        )
        pairs = (a_CND.unsqueeze(3) * b_CND.unsqueeze(2)).view(channels, num_nodes, dim * dim)
        return torch.bmm(pairs, kernel.T.reshape(channels, dim * dim, dim))


class NodeProduct(nn.Module):
    """Product of two feature tensors ``[N, M, K]`` into a third."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.channels, self.unnatural = config.channels, config.channels_unnatural
        self.doubled = _ChannelwiseProduct(config.lmax, self.unnatural, True) if self.unnatural else None
        rest = self.channels - self.unnatural
        self.natural = _ChannelwiseProduct(config.lmax, rest, False) if rest else None

    def forward(self, a_NMK: Tensor, b_NMK: Tensor) -> Tensor:
        c, u = self.channels, self.unnatural
        a, b = a_NMK.permute(2, 0, 1), b_NMK.permute(2, 0, 1)
        parts = []
        tail = None
        if self.doubled is not None:
            both = self.doubled(torch.cat([a[:u], a[c:]], dim=2), torch.cat([b[:u], b[c:]], dim=2))
            head, tail = both.chunk(2, dim=2)
            parts.append(head)
        if self.natural is not None:
            parts.append(self.natural(a[u:c], b[u:c]))
        if tail is not None:
            parts.append(tail)
        return torch.cat(parts).permute(1, 2, 0)

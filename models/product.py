"""Body-order products at nodes: channel-wise Clebsch-Gordan products of aggregated features (the idea of ACE and MACE).

Legend: ``N`` nodes, ``M`` = (lmax+1)^2, ``C`` natural and ``U`` unnatural channels, ``P`` paths.
Reference: Drautz, Phys. Rev. B 99,
014104 (2019); Batatia et al., arXiv:2206.07697. Channels that exist in both parity classes are multiplied in the doubled space
(natural, unnatural) with every parity-allowed path; the others in the natural class alone (l1 + l2 + l3 even).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import NetworkConfig
from .fused import paths


class _ChannelwiseProduct(nn.Module):
    """Bilinear product of ``[C, N, D]`` tensors with learned path weights per channel; D = M or 2M (both classes)."""

    index: Tensor
    path: Tensor
    value: Tensor

    def __init__(self, lmax: int, channels: int, both_classes: bool):
        super().__init__()
        self.dim = (2 if both_classes else 1) * (lmax + 1) ** 2
        known = paths(lmax, both_classes)
        terms = [(number, *term) for number, path in enumerate(known) for term in path.terms]
        index = [(i * self.dim + j) * self.dim + k for _, i, j, k, _ in terms]
        self.register_buffer("index", torch.tensor(index))
        self.register_buffer("path", torch.tensor([number for number, *_ in terms]))
        self.register_buffer("value", torch.tensor([value for *_, value in terms], dtype=torch.float64))
        targets = [path.target for path in known]
        gain = torch.tensor([targets.count(target) ** -0.5 for target in targets])
        self.weight = nn.Parameter(torch.randn(len(known), channels) * gain[:, None])

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

    def doubled_of(self, a_NMK: Tensor, b_NMK: Tensor) -> Tensor:
        """Of the channels in both classes alone: factors and product are ``[N, M, 2 U]``, natural ones first."""
        assert self.doubled is not None
        a, b = (torch.cat(t.chunk(2, dim=2), dim=1).permute(2, 0, 1) for t in (a_NMK, b_NMK))
        return torch.cat(self.doubled(a, b).permute(1, 2, 0).chunk(2, dim=1), dim=2)

    def flat_weights(self) -> list[Tensor]:
        """As the compiled kernels take them: of the channels in both classes, then of the others."""
        return [product.weight.flatten() for product in (self.doubled, self.natural) if product is not None]

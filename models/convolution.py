"""Messages along edges: O(3)-equivariant SO(2) convolutions, depthwise in channels.

Legend: ``N`` nodes, ``E`` edges, ``M`` = (lmax+1)^2, ``K`` = C natural + U unnatural channels, ``B`` radial bases, ``H`` hidden.

In the frame of an edge the stabiliser of the direction is O(2). An equivariant map between degrees l and
l' is then one number per
|m| and channel. Within a parity class (natural to natural, unnatural to unnatural) it acts alike on the +m and -m parts; across
classes it is the quarter turn (a, b) -> (-b, a) of the pair (-m, +m), m >= 1 only. The rule is that of e3nn-jax's
``linear_shtp`` (M. Geiger) and cuEquivariance's ``escn_tp``; SO(2) convolutions are from Passaro & Zitnick, arXiv:2302.03655.
Together these are all parity-allowed paths of the full tensor product with spherical harmonics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import NetworkConfig
from .fused import EdgeList, Radial, Shape, available, convolve
from .gpu import convolution_available, convolved_on_gpu, rows_of
from .rotation import FrameRotation, edge_frames


@dataclass
class EdgeGeometry:
    """What every layer shares about the edges: ``basis_EB``, ``envelope_E`` and unit vectors ``direction_E3``."""

    edges: EdgeList
    basis_EB: Tensor
    envelope_E: Tensor
    direction_E3: Tensor
    rotation: FrameRotation

    @cached_property
    def frame_EMM(self) -> Tensor:
        """Rotation into the frame of the edge; rows by |m|: m = 0 of every degree, then (-1, +1) of every degree, ..."""
        # not a call of the module, which ZeRO 3 would count: frames of waves are kept, so ranks make them at different times
        return self.rotation.forward(edge_frames(self.direction_E3))


class EdgeConvolution(nn.Module):
    """Sum over neighbours of rotated, radially weighted features, divided by sqrt(average number of neighbours).

    wave_bases: for wave vectors (``fourier.py``), each its own and only neighbour: so many functions of |k| in the place of those
    of the distance, and hidden units that :meth:`messages` is given, since modes have no scalars to read.
    """

    def __init__(self, config: NetworkConfig, *, wave_bases: int = 0):
        super().__init__()
        self.lmax, self.channels, self.unnatural = config.lmax, config.channels, config.channels_unnatural
        self.width = config.width
        self.norm = 1.0 if wave_bases else 1 / math.sqrt(config.average_neighbors)
        self.fused = True
        """Use compiled kernels where there are any; False is the reference."""
        self.sizes = [config.lmax + 1 - m for m in range(config.lmax + 1)]
        """Degrees that have a component of each |m|."""
        self.rows = [self.sizes[0], *(2 * n for n in self.sizes[1:])]
        self.num_same = sum(n * n for n in self.sizes)
        self.num_cross = sum(n * n for n in self.sizes[1:])
        hidden = config.radial_hidden
        self.basis = nn.Linear(wave_bases or config.num_edge_features, hidden)
        if not wave_bases:
            self.sender = nn.Linear(config.channels, hidden, bias=False)
            self.receiver = nn.Linear(config.channels, hidden, bias=False)
        gain = 1 / math.sqrt(hidden)
        self.same = nn.Parameter(torch.randn(hidden, self.num_same, self.width) * gain)
        self.cross = nn.Parameter(torch.randn(hidden, self.num_cross, 2 * self.unnatural) * gain)

    def forward(self, x_NMK: Tensor, geometry: EdgeGeometry, *, scalars_only: bool) -> Tensor:
        """``scalars_only``: the input is zero beyond natural l=0 (first layer on atoms), which is far cheaper."""
        scalars = x_NMK[:, 0, : self.channels]
        sender, receiver = self.sender(scalars), F.linear(scalars, self.receiver.weight, self.basis.bias)
        return self.messages(x_NMK, sender, receiver, geometry, scalars_only=scalars_only)

    def messages(
        self,
        x_NMK: Tensor,
        sender_NH: Tensor,
        receiver_NH: Tensor,
        geometry: EdgeGeometry,
        *,
        scalars_only: bool,
    ) -> Tensor:
        """With the hidden units of senders and receivers (the bias of ``basis`` among them) given."""
        scalars = x_NMK[:, 0, : self.channels]
        if self.fused and self.compiled(x_NMK, scalars_only):
            features = scalars if scalars_only else x_NMK
            return self.convolve(features, sender_NH, receiver_NH, geometry, scalars_only=scalars_only)
        edges = geometry.edges
        hidden = F.linear(geometry.basis_EB, self.basis.weight)
        if self.fused:
            hidden = hidden + rows_of(sender_NH, edges.sender_E, edges, senders=True)
            hidden = hidden + rows_of(receiver_NH, edges.receiver_E, edges, senders=False)
        else:
            hidden = hidden + sender_NH[edges.sender_E] + receiver_NH[edges.receiver_E]
        # the envelope comes after the last non-linearity, so a message and two derivatives vanish at the cutoff
        hidden = F.silu(hidden) * (geometry.envelope_E * self.norm).unsqueeze(1)
        if self.fused and convolution_available(x_NMK):
            return self._on_gpu(scalars if scalars_only else x_NMK, hidden, geometry, scalars_only)
        message = (
            self._from_scalars(scalars, hidden, geometry)
            if scalars_only
            else self._full(x_NMK, hidden, geometry)
        )
        return torch.zeros_like(x_NMK).index_add(0, edges.receiver_E, message)

    def shape(self, scalars_only: bool) -> Shape:
        """What the kernels are made for."""
        return Shape(
            self.lmax,
            self.channels,
            self.unnatural,
            scalars_only,
            self.basis.in_features,
            self.basis.out_features,
        )

    def compiled(self, x: Tensor, scalars_only: bool) -> bool:
        """Whether there are kernels for these features."""
        return available(x, self.shape(scalars_only))

    def convolve(
        self, x: Tensor, sender_NH: Tensor, receiver_NH: Tensor, geometry: EdgeGeometry, *, scalars_only: bool
    ) -> Tensor:
        """With compiled kernels. ``x``: ``[N, C]`` with ``scalars_only``; the others enter the radial network, bias included."""
        radial = Radial(
            sender_NH,
            receiver_NH,
            geometry.basis_EB,
            geometry.envelope_E,
            *self.radial_weights(scalars_only),
        )
        shape = self.shape(scalars_only)
        # in the first layer of atoms node features follow from weights alone
        out = convolve(x, radial, geometry.direction_E3, geometry.edges, shape, fixed=scalars_only)
        return F.pad(out, (0, self.unnatural)) if scalars_only and self.unnatural else out

    def _on_gpu(self, x: Tensor, hidden_EH: Tensor, geometry: EdgeGeometry, scalars_only: bool) -> Tensor:
        """With the kernels for GPUs; ``x``: ``[N, C]`` with ``scalars_only``."""
        # in the first layer of atoms node features follow from weights alone
        out = convolved_on_gpu(
            x,
            self.edge_weights(hidden_EH, scalars_only),
            geometry.direction_E3,
            geometry.edges,
            self.shape(scalars_only),
            fixed=scalars_only,
        )
        return F.pad(out, (0, self.unnatural)) if scalars_only and self.unnatural else out

    def edge_weights(self, hidden_EH: Tensor, scalars_only: bool) -> Tensor:
        """``[E, P]``."""
        return hidden_EH @ self._second_weights(scalars_only)

    def radial_weights(self, scalars_only: bool) -> tuple[Tensor, Tensor]:
        """``[B, H]`` and ``[H, P]``, as the kernels take them: the second with the norm over neighbours."""
        return self.basis.weight.T, self._second_weights(scalars_only) * self.norm

    def _second_weights(self, scalars_only: bool) -> Tensor:
        """``[H, P]``."""
        if scalars_only:
            return self._scalar_weight()
        return torch.cat([self.same.flatten(1), self.cross.flatten(1)], 1)

    def _scalar_weight(self) -> Tensor:
        """``[H, (lmax + 1) C]``: the maps from degree 0 to every degree at m = 0."""
        size = self.lmax + 1
        return self.same[:, 0 : size * size : size, : self.channels].flatten(1)

    def _from_scalars(self, scalars_NC: Tensor, hidden_EH: Tensor, geometry: EdgeGeometry) -> Tensor:
        """Only m = 0 survives and the rotation back is a spherical harmonic: row m = 0 of the Wigner matrix."""
        size = self.lmax + 1
        radial = (hidden_EH @ self._scalar_weight()).view(-1, size, self.channels)
        radial = radial * scalars_NC[geometry.edges.sender_E].unsqueeze(1)
        return F.pad(geometry.frame_EMM[:, :size].transpose(1, 2) @ radial, (0, self.unnatural))

    def _full(self, x_NMK: Tensor, hidden_EH: Tensor, geometry: EdgeGeometry) -> Tensor:
        num_edges = hidden_EH.shape[0]
        aligned = geometry.frame_EMM @ x_NMK[geometry.edges.sender_E]
        same = (hidden_EH @ self.same.flatten(1)).view(num_edges, self.num_same, self.width)
        cross = (hidden_EH @ self.cross.flatten(1)).view(num_edges, self.num_cross, 2 * self.unnatural)
        same_m = same.split([n * n for n in self.sizes], dim=1)
        cross_m = cross.split([n * n for n in self.sizes[1:]], dim=1)
        parts = []
        for m, (size, z) in enumerate(zip(self.sizes, aligned.split(self.rows, dim=1), strict=True)):
            if m == 0:
                parts.append((same_m[0].view(num_edges, size, size, self.width) * z.unsqueeze(1)).sum(2))
                continue
            z = z.view(num_edges, size, 2, self.width)
            out = (same_m[m].view(num_edges, size, size, 1, self.width) * z.unsqueeze(1)).sum(2)
            if self.unnatural:
                out = self._add_cross(
                    out, z, cross_m[m - 1].view(num_edges, size, size, 1, 2 * self.unnatural)
                )
            parts.append(out.flatten(1, 2))
        return geometry.frame_EMM.transpose(1, 2) @ torch.cat(parts, dim=1)

    def _add_cross(self, out: Tensor, z: Tensor, weight: Tensor) -> Tensor:
        """Quarter turns between the classes; ``out`` and ``z`` are ``[E, size, 2, K]``."""
        c, u = self.channels, self.unnatural
        turned = torch.stack([-z[:, :, 1], z[:, :, 0]], dim=2)
        other = torch.cat([turned[..., c:], turned[..., :u]], dim=-1)
        mixed = (weight * other.unsqueeze(1)).sum(2)
        return torch.cat(
            [out[..., :u] + mixed[..., :u], out[..., u:c], out[..., c:] + mixed[..., u:]], dim=-1
        )

"""The full tensor product of e3nn, and the linear map between its path weights and the weights of an SO(2) convolution.

Along the polar axis the harmonics of an edge have m2 = 0 alone (Passaro & Zitnick, arXiv:2302.03655; e3nn-jax's
``linear_shtp``). A path ``l1 x l2 -> l3`` with weight w is then, in the frame of the edge, the matrix
``w * C[m1, 0, m3]`` where C is the real Wigner 3j tensor (unit Frobenius norm) and the harmonic is 1 at the pole
("norm" normalisation):

* l1 + l2 + l3 even (parity class kept): only m3 = m1, and C[-m, 0, -m] = C[m, 0, m];
* l1 + l2 + l3 odd (class changed): only m3 = -m1, and C[m, 0, -m] = -C[-m, 0, m].

So the weights of |m| between degrees l1 and l3, with m from 0 or 1 to min(l1, l3), are

    same[m]  = sum over l2 with even l1 + l2 + l3 of  C[m, 0, m]  * w[l2]
    cross[m] = sum over l2 with odd  l1 + l2 + l3 of  C[-m, 0, m] * w[l2]

(``cross``: out[+m] = cross * in[-m], out[-m] = -cross * in[+m]). The 3j tensors of different l2 are orthogonal, the sum over
m1 and m3 of C[m1, 0, m3] C'[m1, 0, m3] being delta / (2 l2 + 1), hence backwards

    w[l2] = (2 l2 + 1) * sum over m >= 0 of (1 if m = 0 else 2) * C * (same or cross)[m].

There are min(l1, l3) + 1 or min(l1, l3) values of l2, as many as of m: the map is square and no path is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from e3nn import o3
from torch import Tensor

from atomfield.models.clebsch import clebsch_gordan
from atomfield.models.convolution import EdgeConvolution


@dataclass(frozen=True)
class Block:
    """All paths of one pair of degrees: between the same classes (``cross`` False) or across them.

    ``rows``: places of the weights of each |m| on the path axis of ``EdgeConvolution.same`` or ``.cross``.
    ``table [len(rows), len(degrees)]``: from path weights to weights of |m|; ``inverse``: back.
    """

    l1: int
    l3: int
    cross: bool
    degrees: tuple[int, ...]
    rows: tuple[int, ...]
    table: Tensor
    inverse: Tensor


def blocks(lmax: int) -> list[Block]:
    """Every pair of degrees, first within the classes, then across them."""
    out = []
    for cross in (False, True):
        first_m = 1 if cross else 0
        for l1 in range(lmax + 1):
            for l3 in range(lmax + 1):
                low = min(l1, l3)
                l2s = tuple(l for l in range(abs(l1 - l3), l1 + l3 + 1) if (l1 + l + l3) % 2 == cross)
                ms = range(first_m, low + 1)
                if not l2s:
                    continue
                entries = [[_entry(l1, l2, l3, m, cross) for l2 in l2s] for m in ms]
                table = torch.tensor(entries, dtype=torch.float64)
                twice = torch.tensor([1.0 if m == 0 else 2.0 for m in ms], dtype=torch.float64)
                size = torch.tensor([2.0 * l2 + 1 for l2 in l2s], dtype=torch.float64)
                inverse = size[:, None] * table.T * twice
                rows = tuple(_row(lmax, m, l1, l3, first_m) for m in ms)
                out.append(Block(l1, l3, cross, l2s, rows, table, inverse))
    return out


def _entry(l1: int, l2: int, l3: int, m: int, cross: bool) -> float:
    return float(clebsch_gordan(l1, l2, l3)[l1 + (-m if cross else m), l2, l3 + m])


def _row(lmax: int, m: int, l1: int, l3: int, first_m: int) -> int:
    """Weights are ordered by |m|, then by output degree, then by input degree."""
    before = sum((lmax + 1 - k) ** 2 for k in range(first_m, m))
    return before + (l3 - m) * (lmax + 1 - m) + (l1 - m)


class FullTensorProduct:
    """``o3.TensorProduct`` of the features of ``layer``'s senders with harmonics up to 2 * lmax, depthwise ("uvu"), in float64.

    Channels come in three groups, as in ``EdgeConvolution``: natural with an unnatural partner, the partners, natural without.
    """

    def __init__(self, layer: EdgeConvolution):
        self.lmax, self.natural, self.unnatural = layer.lmax, layer.channels, layer.unnatural
        c, u = self.natural, self.unnatural
        self.groups = [g for g in ((0, u, 1), (c, c + u, -1), (u, c, 1)) if g[0] < g[1]]
        """First channel, end, and 1 for natural parity."""
        self.irreps = o3.Irreps(
            [(b - a, (l, sign * (-1) ** l)) for a, b, sign in self.groups for l in range(self.lmax + 1)]
        )
        self.harmonics = o3.Irreps.spherical_harmonics(2 * self.lmax)
        self.paths: list[tuple[Block, int, int, int]] = []
        """(block, number of l2 within it, group of the input, group of the output)."""
        instructions = []
        for block in blocks(self.lmax):
            for i, (a, b, sign) in enumerate(self.groups):
                for j, (a2, b2, sign2) in enumerate(self.groups):
                    partners = {a, a2} == {0, c} and u > 0
                    if not (partners and sign != sign2 if block.cross else i == j):
                        continue
                    assert b - a == b2 - a2
                    for k, l2 in enumerate(block.degrees):
                        size = self.lmax + 1
                        instructions.append((i * size + block.l1, l2, j * size + block.l3, "uvu", True))
                        self.paths.append((block, k, i, j))
        self.product = _exact(
            o3.TensorProduct(
                self.irreps,
                self.harmonics,
                self.irreps,
                instructions,
                irrep_normalization="none",
                path_normalization="none",
                shared_weights=False,
                internal_weights=False,
            )
        )

    def num_allowed_paths(self) -> int:
        """Counted from the parities alone, for channels of both classes."""
        both = [(l, p) for l in range(self.lmax + 1) for p in (1, -1)]
        return sum(
            abs(l1 - ir.l) <= l3 <= l1 + ir.l and p1 * ir.p == p3
            for l1, p1 in both
            for _, ir in self.harmonics
            for l3, p3 in both
        )

    def __call__(self, x_EMK: Tensor, direction_E3: Tensor, weights_EP: Tensor) -> Tensor:
        """Messages ``[E, M, K]``; ``weights_EP`` as :meth:`from_edges` makes them."""
        harmonics = o3.spherical_harmonics(
            self.harmonics, direction_E3, normalize=False, normalization="norm"
        )
        return self._unpack(self.product(self._pack(x_EMK), harmonics, weights_EP))

    def from_edges(self, same_HPK: Tensor, cross_HPK: Tensor) -> Tensor:
        """Path weights ``[H, P]`` from those of |m|: ``same [H, num_same, C + U]``, ``cross [H, num_cross, 2 U]``."""
        parts = []
        for block, k, _, j in self.paths:
            source, channels = self._place(block, j, same_HPK, cross_HPK)
            parts.append((block.inverse[k, :, None] * source[:, list(block.rows), channels]).sum(1))
        return torch.cat(parts, dim=1)

    def to_edges(self, weights_HP: Tensor, layer: EdgeConvolution) -> tuple[Tensor, Tensor]:
        """The inverse: weights of |m| from path weights."""
        count = len(weights_HP)
        same = weights_HP.new_zeros(count, layer.num_same, self.natural + self.unnatural)
        cross = weights_HP.new_zeros(count, layer.num_cross, 2 * self.unnatural)
        sizes = [self.groups[j][1] - self.groups[j][0] for _, _, _, j in self.paths]
        for (block, k, _, j), weight in zip(self.paths, weights_HP.split(sizes, dim=1), strict=True):
            target, channels = self._place(block, j, same, cross)
            for row, factor in zip(block.rows, block.table[:, k], strict=True):
                target[:, row, channels] += factor * weight
        return same, cross

    def _place(self, block: Block, j: int, same: Tensor, cross: Tensor) -> tuple[Tensor, slice]:
        """The tensor that holds the weights of a block, and the channels of output group ``j`` in it."""
        a, b, sign = self.groups[j]
        if not block.cross:
            return same, slice(a, b)
        return cross, slice(0, self.unnatural) if sign == 1 else slice(self.unnatural, 2 * self.unnatural)

    def _pack(self, x_EMK: Tensor) -> Tensor:
        """To e3nn's layout: irreps one after another, channels before components."""
        return torch.cat(
            [
                x_EMK[:, l * l : (l + 1) ** 2, a:b].transpose(1, 2).flatten(1)
                for a, b, _ in self.groups
                for l in range(self.lmax + 1)
            ],
            dim=1,
        )

    def _unpack(self, flat: Tensor) -> Tensor:
        out = flat.new_zeros(len(flat), (self.lmax + 1) ** 2, self.natural + self.unnatural)
        places = [(a, b, l) for a, b, _ in self.groups for l in range(self.lmax + 1)]
        sizes = [(b - a) * (2 * l + 1) for a, b, l in places]
        for (a, b, l), part in zip(places, flat.split(sizes, dim=1), strict=True):
            out[:, l * l : (l + 1) ** 2, a:b] = part.view(-1, b - a, 2 * l + 1).transpose(1, 2)
        return out


def _exact(product: o3.TensorProduct) -> o3.TensorProduct:
    """e3nn rounds its tables when a module is built in float32: cast, then write the float64 ones over them."""
    product = product.double()
    for name, buffer in product.named_buffers():
        if "_w3j_" in name:
            l1, l2, l3 = (int(part) for part in name.split("_w3j_")[1].split("_"))
            buffer.copy_(clebsch_gordan(l1, l2, l3).reshape(buffer.shape))
    return product

"""Bodies that act on each other through a learnt energy of pairs: momentum and angular momentum hold by construction.

    H = sum_i |p_i|^2 / 2 m_i + sum over pairs V(|r_i - r_j|, attributes of i and j)

V sees distances only, and both orders of a pair, so H does not change when all bodies are moved or turned, and
Noether's theorem gives
sum p and sum r x p constant; in discrete time too, since every kick is a sum of opposite central forces and every
drift is along p (Hairer, Lubich
and Wanner, *Geometric Numerical Integration*, ch. VI). Works in any dimension. Units: any consistent set.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BodyGraph(nn.Module):
    """``pair_energy(distance [E, 1], own [E, K], other [E, K]) -> [E, 1]``: any module; softened distance sqrt(r^2 + soft^2)."""

    def __init__(self, pair_energy: nn.Module, softening: float = 0.0):
        super().__init__()
        self.pair_energy, self.softening = pair_energy, softening

    def potential(self, positions: Tensor, attributes: Tensor, edges: tuple[Tensor, Tensor]) -> Tensor:
        """V ``[]`` of ``positions [..., N, d]`` (summed over leading axes), ``attributes [N, K]`` and each pair once
        in ``edges`` ``([E], [E])``."""
        i, j = edges
        apart = positions[..., i, :] - positions[..., j, :]
        distance = (apart.square().sum(-1, keepdim=True) + self.softening**2).sqrt()
        own, other = (attributes[k].expand(*distance.shape[:-1], -1) for k in (i, j))
        both = self.pair_energy(distance, own, other) + self.pair_energy(distance, other, own)
        return both.sum() / 2

    def forces(self, positions: Tensor, attributes: Tensor, edges: tuple[Tensor, Tensor]) -> Tensor:
        """-dV/dr ``[..., N, d]``; differentiable again wherever gradients are enabled."""
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            leaf = positions if positions.requires_grad else positions.detach().requires_grad_(True)
            energy = self.potential(leaf, attributes, edges)
            (slope,) = torch.autograd.grad(energy, leaf, create_graph=keep)
        return -slope


def all_pairs(num_bodies: int) -> tuple[Tensor, Tensor]:
    """Every pair once: two index tensors ``[N (N - 1) / 2]``."""
    i, j = torch.triu_indices(num_bodies, num_bodies, 1)
    return i, j


def total_angular_momentum(positions: Tensor, momenta: Tensor) -> Tensor:
    """sum_i r_i x p_i: ``[..., 3]`` in space, ``[...]`` in the plane."""
    if positions.shape[-1] == 2:
        return (positions[..., 0] * momenta[..., 1] - positions[..., 1] * momenta[..., 0]).sum(-1)
    return torch.linalg.cross(positions, momenta).sum(-2)

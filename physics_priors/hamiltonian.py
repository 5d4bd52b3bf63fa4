"""Motion from one learnt energy: H(q, p) is a network and its derivatives are the equations of motion.

    dq/dt = dH/dp,   dp/dt = -dH/dq           so dH/dt = 0 along the motion, whatever the weights

Greydanus, Dzamba and Yosinski, NeurIPS 32 (2019). For systems whose coordinates and momenta are given; for bodies in space see
``body_graph.py``. Units: those of q and p; H in q * p / time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HamiltonianField(nn.Module):
    """``energy``: any module ``[..., 2 n] -> [..., 1]`` of the state (q, p)."""

    def __init__(self, energy: nn.Module):
        super().__init__()
        self.energy = energy

    def forward(self, state: Tensor) -> Tensor:
        """d(q, p)/dt ``[..., 2 n]``; differentiable again wherever gradients are enabled."""
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            leaf = state if state.requires_grad else state.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.energy(leaf).sum(), leaf, create_graph=keep)
        by_q, by_p = slope.chunk(2, dim=-1)
        return torch.cat([by_p, -by_q], dim=-1)

"""Motion from one learnt Lagrangian L(q, v), for coordinates whose momenta are not known.

    d/dt dL/dv = dL/dq     solved for the acceleration:     a = (d2L/dv dv)^-1 (dL/dq - (d2L/dv dq) v)

Cranmer et al., arXiv:2003.04630; the energy v . dL/dv - L is constant along the motion. The mass matrix d2L/dv dv
must be invertible: a
``floor`` adds a small kinetic energy. Units: those of q and time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LagrangianField(nn.Module):
    """``lagrangian``: any module ``[2 n] -> [1]`` of one state (q, v), twice differentiable (tanh, softplus; not ReLU)."""

    def __init__(self, lagrangian: nn.Module, floor: float = 0.0):
        super().__init__()
        self.lagrangian, self.floor = lagrangian, floor

    def value(self, q: Tensor, v: Tensor) -> Tensor:
        """L ``[]`` of one state."""
        return self.lagrangian(torch.cat([q, v])).sum() + self.floor / 2 * (v * v).sum()

    def energy(self, q: Tensor, v: Tensor) -> Tensor:
        """``v . dL/dv - L`` ``[B]`` of states ``[B, n]``."""

        def one(q: Tensor, v: Tensor) -> Tensor:
            slope, value = torch.func.grad_and_value(self.value, argnums=1)(q, v)
            return slope @ v - value

        return torch.func.vmap(one)(q, v)

    def forward(self, q: Tensor, v: Tensor) -> Tensor:
        """Accelerations ``[B, n]`` of states ``[B, n]``."""

        def one(q: Tensor, v: Tensor) -> Tensor:
            by_q = torch.func.grad(self.value, argnums=0)(q, v)
            momentum = torch.func.grad(self.value, argnums=1)
            mass = torch.func.jacrev(momentum, argnums=1)(q, v)
            mixed = torch.func.jacrev(momentum, argnums=0)(q, v)
            return torch.linalg.solve(mass, by_q - mixed @ v)

        return torch.func.vmap(one)(q, v)

"""Velocity without divergence, in the same discrete operator that measures it.

1. From a potential: u = (d psi/dy, -d psi/dx) in the plane, u = curl A in space. Where discrete derivatives commute
   (periodic spectral
   grids) the divergence vanishes to rounding; on point clouds they do not, and what is left is of the order of the stencil.
2. By projection: the smallest change of u (in the Euclidean norm over points) that makes D u = 0 for a given
   discrete divergence D,
   u - D^T (D D^T)^+ D u, by conjugate gradients. It holds for any D, point clouds included.

References: Chorin, Math. Comput. 22, 745 (1968), for the projection; Helmholtz decomposition. Units: those of u.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .operators import Operators, curl


def from_potential(operators: Operators, potential: Tensor) -> Tensor:
    """Velocity ``[2, *points]`` from a stream function ``[*points]``, or ``[3, *points]`` from a vector potential
    ``[3, *points]``."""
    gradient = operators.gradient(potential)
    if len(gradient) == 2:
        return torch.stack([gradient[1], -gradient[0]])
    return curl(operators, potential)


def project(
    divergence: Callable[[Tensor], Tensor],
    velocity: Tensor,
    *,
    tolerance: float = 1e-13,
    max_steps: int = 5000,
) -> Tensor:
    """``velocity [d, *points]`` (float64) minus its part outside the kernel of the linear map ``divergence``.

    The transpose comes from automatic differentiation. Stops when the residual is ``tolerance`` times that at the start; raises
    ``ArithmeticError`` when it does not get there.
    """
    pulled = torch.func.vjp(divergence, velocity)
    transpose = pulled[1]
    residual = pulled[0].detach()
    start = float(residual.norm())
    potential = torch.zeros_like(residual)
    direction, square = residual, float(residual.square().sum())
    for _ in range(max_steps):
        if square**0.5 <= tolerance * start:
            (correction,) = transpose(potential)
            return velocity - correction
        (up,) = transpose(direction)
        image = divergence(up)
        step = square / float((direction * image).sum())
        potential = potential + step * direction
        residual = residual - step * image
        new = float(residual.square().sum())
        direction, square = residual + new / square * direction, new
    raise ArithmeticError(
        f"the projection stopped at {square**0.5 / start:.1e} of the divergence after {max_steps} steps, expected {tolerance:g}"
    )

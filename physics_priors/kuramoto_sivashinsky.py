"""Kuramoto-Sivashinsky equation: flame fronts and films; chaos in one dimension.

    du/dt + a u du/dx + b d2u/dx2 + c d4u/dx4 = 0            (a = b = c = 1)

Of a velocity in any dimension, where a is 1 because velocities carry: the front's slope v = grad h of
dh/dt + |grad h|^2 / 2 + b laplacian(h) + c laplacian(laplacian(h)) = 0 obeys

    dv/dt + v . grad v + b laplacian(v) + c laplacian(laplacian(v)) = 0

Sivashinsky, Acta Astronautica 4, 1177 (1977). Exact front for unit constants: u = s + (15/19) sqrt(11/19) (11 tanh^3
y - 9 tanh y),
y = sqrt(11/19)/2 (x - s t) (Kudryashov, J. Appl. Math. Mech. 52, 361 (1988)). Units: any consistent set.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .operators import Operators, advect


def residual(
    operators: Operators,
    u: Tensor,
    u_t: Tensor,
    advection: float | Tensor = 1.0,
    second: float | Tensor = 1.0,
    fourth: float | Tensor = 1.0,
) -> Tensor:
    """Shape of ``u [*points]`` on a line."""
    curvature = operators.laplacian(u)
    return (
        u_t
        + advection * u * operators.gradient(u)[0]
        + second * curvature
        + fourth * operators.laplacian(curvature)
    )


def residual_vector(
    operators: Operators,
    velocity: Tensor,
    velocity_t: Tensor,
    second: float | Tensor,
    fourth: float | Tensor,
) -> Tensor:
    """Shape of ``velocity [d, *points]``, a gradient."""
    curvature = operators.laplacian(velocity)
    carried = advect(operators, velocity, velocity)
    return velocity_t + carried + second * curvature + fourth * operators.laplacian(curvature)


def front(x: Tensor, time: float | Tensor, speed: float) -> Tensor:
    """The exact front of the equation with unit constants."""
    wave = torch.tanh((11 / 19) ** 0.5 / 2 * (x - speed * time))
    return speed + 15 / 19 * (11 / 19) ** 0.5 * (11 * wave**3 - 9 * wave)

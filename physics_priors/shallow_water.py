"""Shallow-water equations over a bottom b.

    dh/dt + div(h u) = 0
    du/dt + u . grad u + g grad(h + b) + f k x u = 0

h is the depth, u the mean velocity, f the Coriolis parameter (Vallis, *Atmospheric and Oceanic Fluid Dynamics*, ch. 3). Exact
solution: the flat surface that circles in a paraboloid (Thacker, J. Fluid Mech. 107, 499 (1981)). Units: any consistent set.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .operators import Operators, advect


def residual(
    operators: Operators,
    depth: Tensor,
    velocity: Tensor,
    depth_t: Tensor,
    velocity_t: Tensor,
    gravity: float | Tensor,
    bottom: Tensor | float = 0.0,
    coriolis: float | Tensor = 0.0,
) -> tuple[Tensor, Tensor]:
    """(mass ``[*points]``, momentum ``[d, *points]``) of ``depth [*points]`` and ``velocity [d, *points]``."""
    mass = depth_t + operators.divergence(depth * velocity)
    momentum = velocity_t + advect(operators, velocity, velocity)
    momentum = momentum + gravity * operators.gradient(depth + bottom)
    if len(velocity) == 2:
        momentum = momentum + coriolis * torch.stack([-velocity[1], velocity[0]])
    return mass, momentum


def thacker(
    coordinates: Tensor, time: float | Tensor, gravity: float, depth: float, radius: float, offset: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(depth ``[P]``, velocity ``[2, P]``, bottom ``[P]``) at ``coordinates [P, 2]``: still water ``depth`` at the
    centre, its shore at
    ``radius``, the surface displaced by ``offset``. Valid where the depth is positive."""
    x, y = coordinates[:, 0], coordinates[:, 1]
    omega = math.sqrt(2 * gravity * depth) / radius
    phase = omega * torch.as_tensor(time, dtype=coordinates.dtype) + torch.zeros_like(x)
    bottom = depth * ((x * x + y * y) / radius**2 - 1)
    surface = 2 * offset * depth / radius**2 * (x * phase.cos() - y * phase.sin() - offset / 2)
    velocity = -offset * omega * torch.stack([phase.sin(), phase.cos()])
    return surface - bottom, velocity, bottom

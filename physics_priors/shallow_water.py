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

from .integrating_factor import solve_to_times
from .operators import Operators, advect
from .spectral import PeriodicGrid


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


class ShallowWater2D:
    """Pseudo-spectral solver on a flat bottom in a periodic box, without rotation, with a viscosity that acts on the velocity.

        dh/dt + div(h u) = 0,        du/dt + u . grad u + g grad h = nu laplacian(u)

    Viscosity exactly (integrating factor), the rest by classical Runge-Kutta, dealiased by the 2/3 rule. The mean depth is
    conserved to rounding; without viscosity the energy, the mean of (h u^2 + g h^2) / 2, to the error of time steps and of
    what is cut. Small waves on still water of depth H travel at sqrt(g H).
    """

    def __init__(self, grid: PeriodicGrid, gravity: float, viscosity: float):
        self.grid, self.gravity = grid, gravity
        self.mask = grid.dealias_mask()
        damped = [torch.zeros_like(grid.k_squared)] + [viscosity * grid.k_squared] * len(grid.shape)
        self.rates = torch.stack(damped)

    def _tendency(self, modes: Tensor) -> Tensor:
        state = self.grid.inverse(modes)
        depth, velocity = state[0], state[1:]
        mass = sum(
            (1j * k * self.grid.forward(depth * u) for k, u in zip(self.grid.k, velocity, strict=True)),
            start=torch.zeros(()),
        )
        slopes = self.grid.inverse(torch.stack([1j * k * modes for k in self.grid.k]))  # [d, 1 + d, *shape]
        carried = torch.einsum("d...,dc...->c...", velocity, slopes[:, 1:])
        momentum = self.grid.forward(carried + self.gravity * slopes[:, 0])
        return -self.mask * torch.cat([mass[None], momentum])

    def solve(
        self, depth: Tensor, velocity: Tensor, times: Tensor, courant: float = 0.4
    ) -> tuple[Tensor, Tensor]:
        """(depth ``[T, *shape]``, velocity ``[T, d, *shape]``) at ``times`` from ``depth`` and ``velocity [d, *shape]`` at
        ``times[0]``; steps are limited by the Courant number of the fastest wave. ``ValueError`` where the bed falls dry."""
        modes = self.mask * self.grid.forward(torch.cat([depth[None], velocity]).double())
        states = solve_to_times(
            self.grid, modes, times, self.rates, self._tendency, self._fastest_wave, courant
        )
        return states[:, 0], states[:, 1:]

    def _fastest_wave(self, state: Tensor) -> float:
        depth, velocity = state[0], state[1:]
        if not float(depth.min()) > 0:
            raise ValueError(f"the depth is {float(depth.min()):.3g} somewhere, expected water everywhere")
        return float((velocity.norm(dim=0) + (self.gravity * depth).sqrt()).max())


def energy(depth: Tensor, velocity: Tensor, gravity: float) -> Tensor:
    """``[...]`` mean of ``(h u^2 + g h^2) / 2`` over the points of ``depth [..., *shape]``, ``velocity [..., d, *shape]`` in two
    dimensions."""
    density = (depth * velocity.square().sum(-3) + gravity * depth.square()) / 2
    return density.mean((-2, -1))

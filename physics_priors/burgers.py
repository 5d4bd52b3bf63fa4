"""Viscous Burgers equation on a periodic line and, for a velocity, in a periodic plane.

    du/dt + d(u^2/2)/dx = nu d2u/dx2

Integrating factor for viscosity, fourth-order Runge-Kutta for the flux, dealiased by the 2/3 rule. Units: any consistent
set, nu in length^2/time. The exact solution for periodic data is the Cole-Hopf transform
u = -2 nu d(log phi)/dx with phi solving the heat equation (Cole, Quart. Appl. Math. 9, 225 (1951)).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .integrating_factor import solve_to_times
from .operators import Operators, advect
from .spectral import PeriodicGrid


def residual(
    operators: Operators,
    u: Tensor,
    u_t: Tensor,
    advection: float | Tensor,
    viscosity: float | Tensor,
) -> Tensor:
    """``du/dt + a u du/dx - nu d2u/dx2`` of ``u [*points]`` on a line; a is 1 in the equation above and a constant to identify in
    inverse problems. Of a velocity field of more dimensions: ``residual_vector``."""
    return u_t + advection * u * operators.gradient(u)[0] - viscosity * operators.laplacian(u)


def residual_vector(
    operators: Operators, velocity: Tensor, velocity_t: Tensor, viscosity: float | Tensor
) -> Tensor:
    """``du/dt + u . grad u - nu laplacian(u)`` of ``velocity [d, *points]``."""
    return velocity_t + advect(operators, velocity, velocity) - viscosity * operators.laplacian(velocity)


class Burgers1D:
    """Solver on ``num_points`` of a line of ``length``."""

    def __init__(self, num_points: int, length: float, viscosity: float):
        self.grid = PeriodicGrid((num_points,), (length,))
        self.viscosity = viscosity
        self.mask = self.grid.dealias_mask()

    def _flux(self, modes: Tensor) -> Tensor:
        u = self.grid.inverse(modes)
        return -self.mask * 1j * self.grid.k[0] * self.grid.forward(u * u / 2)

    def solve(self, velocity: Tensor, times: Tensor, courant: float = 0.3) -> Tensor:
        """``[T, n]`` at ``times`` from ``velocity [n]`` at ``times[0]``."""
        modes = self.grid.forward(velocity.double()) * self.mask
        fastest = float(velocity.abs().max())  # viscosity only slows it down
        rates = self.viscosity * self.grid.k_squared
        return solve_to_times(self.grid, modes, times, rates, self._flux, lambda _: fastest, courant)


class Burgers2D:
    """Solver of du/dt + u . grad u = nu laplacian(u) for the velocity of a periodic plane, by the same method. A velocity that
    is a gradient stays one, and the Cole-Hopf transform then solves the equation."""

    def __init__(self, grid: PeriodicGrid, viscosity: float):
        self.grid, self.rates = grid, viscosity * grid.k_squared
        self.mask = grid.dealias_mask()

    def _carried(self, modes: Tensor) -> Tensor:
        velocity = self.grid.inverse(modes)
        slopes = self.grid.inverse(torch.stack([1j * k * modes for k in self.grid.k]))
        return -self.mask * self.grid.forward(torch.einsum("d...,dc...->c...", velocity, slopes))

    def solve(self, velocity: Tensor, times: Tensor, courant: float = 0.3) -> Tensor:
        """``[T, 2, n, m]`` at ``times`` from ``velocity [2, n, m]`` at ``times[0]``."""
        modes = self.mask * self.grid.forward(velocity.double())

        def speed(velocity: Tensor) -> float:
            return float(velocity.norm(dim=0).max())

        return solve_to_times(self.grid, modes, times, self.rates, self._carried, speed, courant)


def cole_hopf(velocity: Tensor, time: float, length: float, viscosity: float) -> Tensor:
    """Exact periodic solution at ``time`` from ``velocity [n]`` of zero mean at time 0, by the Cole-Hopf transform (float64)."""
    grid = PeriodicGrid((velocity.shape[0],), (length,))
    modes = grid.forward(velocity.double())
    potential = grid.inverse(
        torch.where(grid.k[0] == 0, 0.0, modes / (1j * torch.where(grid.k[0] == 0, 1.0, grid.k[0])))
    )
    phi = torch.exp(-potential / (2 * viscosity))
    later = grid.forward(phi) * torch.exp(-viscosity * grid.k_squared * time)
    return -2 * viscosity * grid.gradient(grid.inverse(later))[0] / grid.inverse(later)

"""Advection and diffusion of a scalar in a given steady, divergence-free periodic flow.

    dc/dt + div(u c) = D laplacian(c)

Diffusion exactly (integrating factor), advection by fourth-order Runge-Kutta, dealiased by the 2/3 rule; the mean of c
is conserved to rounding. Units: any consistent set, D in length^2/time.
With uniform u each Fourier mode is exp(-D k^2 t - i k . u t), the exact solution used in the tests.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .integrating_factor import solve_to_times
from .operators import Operators
from .spectral import PeriodicGrid


def residual(
    operators: Operators,
    concentration: Tensor,
    concentration_t: Tensor,
    velocity: Tensor,
    diffusivity: float | Tensor,
) -> Tensor:
    """``dc/dt + div(u c) - D laplacian(c)`` of ``concentration [*points]`` in ``velocity [d, *points]``."""
    transported = operators.divergence(velocity * concentration)
    return concentration_t + transported - diffusivity * operators.laplacian(concentration)


def residual_uniform(
    operators: Operators,
    concentration: Tensor,
    concentration_t: Tensor,
    velocity: float | Tensor,
    diffusivity: float | Tensor,
) -> Tensor:
    """``dc/dt + v dc/dx - D d2c/dx2`` of ``concentration [*points]`` on a line with one velocity v: what can be identified."""
    carried = velocity * operators.gradient(concentration)[0]
    return concentration_t + carried - diffusivity * operators.laplacian(concentration)


class AdvectionDiffusion:
    """Solver on a periodic grid; ``velocity [d, *shape]`` is constant in time."""

    def __init__(self, grid: PeriodicGrid, velocity: Tensor, diffusivity: float):
        self.grid, self.flow, self.diffusivity = grid, velocity.double(), diffusivity
        self.mask = grid.dealias_mask()

    def _advection(self, modes: Tensor) -> Tensor:
        c = self.grid.inverse(modes)
        fluxes = [1j * k * self.grid.forward(u * c) for k, u in zip(self.grid.k, self.flow, strict=True)]
        return -self.mask * sum(fluxes, start=torch.zeros(()))

    def solve(self, concentration: Tensor, times: Tensor, courant: float = 0.4) -> Tensor:
        """``[T, *shape]`` at ``times`` from the state at ``times[0]``."""
        modes = self.grid.forward(concentration.double()) * self.mask
        fastest = float(self.flow.norm(dim=0).max())
        rates = self.diffusivity * self.grid.k_squared
        return solve_to_times(self.grid, modes, times, rates, self._advection, lambda _: fastest, courant)
